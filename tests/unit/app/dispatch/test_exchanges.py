"""Which message answers which request without an id, and what no request may have."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oddwire.app.dispatch.exchanges import Exchange, Exchanges, Fate, State
from oddwire.app.dispatch.questions import Question
from oddwire.errors import ConnectionClosed, OutOfStep, QuotaExceeded, ReplyTimeout
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message
from oddwire.session.limits import Counters

ALICE = NodeId("02" + "aa" * 32)


@message(0x8D61)
class Answer(Message):
    number: int


@message(0x8D63)
class Cancel(Message):
    number: int | None = None


@message(0x8D65)
class Free(Message):
    number: Any = None


class Table:
    """The exchanges with Alice, and what they have counted."""

    def __init__(self, limit: int = 100) -> None:
        self.counters = Counters()
        self.changes = 0
        loop = asyncio.get_running_loop()
        self.exchanges = Exchanges(ALICE, loop, self.counters, limit, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def open(self, *accepted: type[Message], value: object = None, match: Any = None) -> Exchange:
        field = None if value is None else "number"
        return self.exchanges.open(Question("Ask", accepted or (Answer,), field, value, match))

    def sent(self, *accepted: type[Message], value: object = None, match: Any = None) -> Exchange:
        exchange = self.open(*accepted, value=value, match=match)
        assert exchange.state is State.STARTED
        self.exchanges.advance(exchange, State.SENT)
        return exchange

    def receive(self, found: Message) -> Fate:
        return self.exchanges.receive(found)[0]

    @property
    def late(self) -> int:
        return self.counters.dropped["late_reply"]


@pytest.fixture
async def table() -> Table:
    return Table()


# In order ----------------------------------------------------------------------------------------------


async def test_one_request_of_a_class_is_under_way_and_others_wait_in_order(table: Table) -> None:
    first, second, third, other = table.sent(), table.open(), table.open(), table.sent(Cancel)
    assert (second.state, third.state) == (State.QUEUED, State.QUEUED)
    assert table.receive(Answer(number=1)) is Fate.ANSWER
    assert first.answer.result() == Answer(number=1)
    assert (second.state, third.state) == (State.STARTED, State.QUEUED)
    await table.exchanges.turn(second)
    table.exchanges.advance(second, State.SENT)
    assert table.receive(Answer(number=2)) is Fate.ANSWER
    assert second.answer.result() == Answer(number=2)
    assert third.state is State.STARTED
    assert table.receive(Cancel()) is Fate.ANSWER
    assert other.answer.done()
    assert table.late == 0


async def test_what_comes_before_a_request_was_sent_does_not_answer_it(table: Table) -> None:
    for exchange in (table.open(), table.open(Answer, value=1), table.open(match=lambda found: True)):
        assert table.receive(Answer(number=1)) is Fate.FREE
        assert not exchange.answer.done()


async def test_an_answer_may_be_faster_than_the_transport_says_that_it_is_sent(table: Table) -> None:
    exchange = table.open()
    table.exchanges.advance(exchange, State.SENDING)
    assert table.receive(Answer(number=1)) is Fate.ANSWER
    table.exchanges.advance(exchange, State.SENT)
    table.exchanges.close(exchange)
    assert exchange.state is State.ENDED
    assert not table.exchanges.is_active


async def test_a_late_answer_is_dropped_and_the_next_request_is_its_own(table: Table) -> None:
    first, second = table.sent(), table.open()
    table.exchanges.close(first)
    assert (first.state, second.state) == (State.OVERDUE, State.QUEUED)
    assert table.receive(Answer(number=1)) is Fate.DROPPED
    assert table.late == 1
    assert second.state is State.STARTED
    table.exchanges.advance(second, State.SENT)
    assert table.receive(Answer(number=2)) is Fate.ANSWER
    assert second.answer.result() == Answer(number=2)


async def test_an_answer_in_the_moment_of_the_cancellation_is_late(table: Table) -> None:
    first = table.sent()
    first.answer.cancel()
    assert table.receive(Answer(number=1)) is Fate.DROPPED
    table.exchanges.close(first)
    assert first.state is State.ENDED
    assert table.sent().state is State.SENT


async def test_one_that_was_never_sent_is_owed_no_answer(table: Table) -> None:
    for state in (State.STARTED, State.SENDING):
        exchange = table.open()
        table.exchanges.advance(exchange, state)
        table.exchanges.close(exchange)
        assert exchange.state is State.ENDED
    assert not table.exchanges.is_active
    assert table.receive(Answer(number=1)) is Fate.FREE


async def test_one_that_leaves_the_queue_holds_up_nobody(table: Table) -> None:
    first, second, third = table.sent(), table.open(Answer, Cancel), table.open(Cancel)
    assert third.state is State.QUEUED  # behind the second one
    table.exchanges.close(second)
    assert third.state is State.STARTED
    table.receive(Answer(number=1))
    assert first.answer.done()
    assert len(table.exchanges) == 2
    for exchange in (first, third):
        table.exchanges.close(exchange)
    assert len(table.exchanges) == 0
    assert not table.exchanges.is_active


async def test_one_of_several_classes_has_all_of_them_to_itself(table: Table) -> None:
    both, answer, cancel = table.sent(Answer, Cancel), table.open(Answer), table.open(Cancel)
    assert table.receive(Cancel()) is Fate.ANSWER
    assert both.answer.result() == Cancel()
    assert (answer.state, cancel.state) == (State.STARTED, State.STARTED)
    again = table.open(Cancel, Answer)
    table.exchanges.advance(answer, State.SENT)
    table.receive(Answer(number=1))
    assert again.state is State.QUEUED
    table.exchanges.close(cancel)
    assert again.state is State.STARTED


async def test_without_the_late_answer_the_next_request_is_not_sent(table: Table) -> None:
    table.exchanges.close(table.sent())
    second = table.open()
    error = table.exchanges.too_late(second, 3.0, 0.0)
    assert isinstance(error, OutOfStep)
    assert isinstance(error, ReplyTimeout)
    assert error.timeout == 3.0
    assert str(error).startswith(f"Ask was not sent: Ask has been sent to {ALICE} before, its Answer has not come")
    assert "request(..., match=)" in str(error)
    assert "a new connection begins anew" in str(error)


async def test_behind_a_request_that_still_waits_it_is_a_matter_of_time(table: Table) -> None:
    table.sent()
    error = table.exchanges.too_late(table.open(), 3.0, 0.0)
    assert type(error) is ReplyTimeout
    assert str(error).startswith(f"Ask was not sent within 3 s: other requests to {ALICE} wait for Answer")


async def test_a_second_answer_puts_the_class_out_of_step(table: Table) -> None:
    first, second = table.sent(Answer, Cancel), table.open(Cancel)
    assert table.receive(Answer(number=1)) is Fate.ANSWER
    assert table.receive(Answer(number=1)) is Fate.FREE
    told = table.exchanges.unhandled(Answer(number=1), Fate.FREE)
    assert told.startswith("no request waits for this Answer, the peer may have answered one twice")
    assert table.exchanges.unhandled(Answer(number=1), Fate.FREE) == "", "told once"
    assert table.late == 2
    with pytest.raises(OutOfStep, match=r"Ask was not sent: 02aa.* has sent a message of class Answer that") as caught:
        table.open()
    assert caught.value.timeout == 0.0
    with pytest.raises(OutOfStep):
        table.open(Cancel, Answer)
    await table.exchanges.turn(second)  # of another class
    assert table.sent(value=1).state is State.SENT, "with a match it can be told"
    assert first.state is State.ENDED


async def test_one_that_was_queued_meanwhile_is_not_sent_either(table: Table) -> None:
    first, second = table.sent(), table.open()
    table.receive(Answer(number=1))
    table.receive(Answer(number=1))  # in the same chunk: before the second one is sent
    assert table.exchanges.unhandled(Answer(number=1), Fate.FREE)
    with pytest.raises(OutOfStep, match="Ask was not sent"):
        await table.exchanges.turn(second)
    table.exchanges.close(second)
    table.exchanges.close(first)
    assert not table.exchanges.is_active


async def test_what_was_never_asked_for_is_no_late_answer(table: Table) -> None:
    table.open()  # not sent
    assert table.exchanges.unhandled(Answer(number=1), Fate.FREE) == ""
    assert table.exchanges.unhandled(Cancel(), Fate.FREE) == ""
    assert table.late == 0


# By a field --------------------------------------------------------------------------------------------


async def test_answers_come_in_any_order(table: Table) -> None:
    asked = {number: table.sent(Answer, Cancel, value=number) for number in range(3)}
    assert table.receive(Answer(number=2)) is Fate.ANSWER
    assert table.receive(Cancel(number=0)) is Fate.ANSWER
    assert table.receive(Cancel()) is Fate.FREE
    assert table.receive(Answer(number=7)) is Fate.FREE
    assert table.receive(Answer(number=1)) is Fate.ANSWER
    found = {number: exchange.answer.result() for number, exchange in asked.items()}
    assert found == {0: Cancel(number=0), 1: Answer(number=1), 2: Answer(number=2)}
    assert not table.exchanges.is_active


async def test_two_with_one_value_go_one_after_the_other(table: Table) -> None:
    first, second, other = table.sent(value=1), table.open(value=1), table.sent(value=2)
    assert second.state is State.QUEUED
    error = table.exchanges.too_late(second, 2.0, 0.0)
    assert type(error) is ReplyTimeout
    assert str(error).endswith("wait for the same answer")
    table.receive(Answer(number=1))
    assert first.answer.done()
    assert second.state is State.STARTED
    assert not other.answer.done()


async def test_a_late_answer_goes_to_no_request_that_has_no_match(table: Table) -> None:
    matched, plain = table.sent(value=1), table.sent()
    table.exchanges.close(matched)
    assert table.receive(Answer(number=1)) is Fate.LATE
    assert not plain.answer.done()
    assert table.exchanges.unhandled(Answer(number=1), Fate.LATE) == "", "and is no reason to warn"
    assert table.late == 1
    assert table.receive(Answer(number=1)) is Fate.ANSWER, "known once"
    assert plain.answer.done()


async def test_a_retry_gets_the_late_answer(table: Table) -> None:
    table.exchanges.close(table.sent(value=1))
    again = table.sent(value=1)
    assert table.receive(Answer(number=1)) is Fate.ANSWER
    assert again.answer.done()
    assert table.receive(Answer(number=1)) is Fate.LATE
    assert not table.exchanges.is_active


async def test_the_last_64_late_ones_are_known(table: Table) -> None:
    for number in range(65):
        table.exchanges.close(table.sent(value=number + 1))
    plain = table.sent()
    assert table.receive(Answer(number=65)) is Fate.LATE
    assert table.receive(Answer(number=2)) is Fate.LATE
    assert table.receive(Answer(number=1)) is Fate.ANSWER
    assert plain.answer.done()


async def test_a_matched_answer_in_the_moment_of_the_cancellation_may_go_to_a_handler(table: Table) -> None:
    exchange = table.sent(value=1)
    exchange.answer.cancel()
    assert table.receive(Answer(number=1)) is Fate.LATE
    table.exchanges.close(exchange)
    assert not table.exchanges.is_active


async def test_a_list_in_the_field_matches_nothing(table: Table) -> None:
    exchange = table.sent(Free, value=1)
    assert table.receive(Free(number=[1])) is Fate.FREE
    assert table.receive(Free(number=1)) is Fate.ANSWER
    assert exchange.answer.done()


async def test_matched_answers_of_a_class_asked_for_by_match_alone_are_no_reason_to_warn(table: Table) -> None:
    table.sent(value=1)
    table.receive(Answer(number=1))
    assert table.exchanges.unhandled(Answer(number=1), Fate.FREE) == ""
    assert table.late == 1


# By a function -----------------------------------------------------------------------------------------


async def test_the_first_function_that_is_true_decides(table: Table) -> None:
    even = table.sent(match=lambda found: found.number % 2 == 0)
    every = table.sent(match=lambda found: True)
    again = table.sent(match=lambda found: True)
    plain = table.sent()
    assert table.receive(Answer(number=3)) is Fate.ANSWER
    assert every.answer.result() == Answer(number=3)
    assert table.receive(Answer(number=4)) is Fate.ANSWER
    assert even.answer.result() == Answer(number=4)
    assert table.receive(Cancel()) is Fate.FREE
    assert table.receive(Answer(number=4)) is Fate.ANSWER
    assert again.answer.done()
    assert table.receive(Answer(number=4)) is Fate.ANSWER
    assert plain.answer.done()


async def test_a_function_that_raises_fails_its_request_and_gives_the_message_to_no_plain_one(table: Table) -> None:
    wrong, plain = table.sent(match=lambda found: found.nonsense), table.sent()
    assert table.receive(Answer(number=1)) is Fate.FREE
    with pytest.raises(AttributeError, match="nonsense"):
        wrong.answer.result()
    assert not plain.answer.done()
    table.exchanges.close(wrong)
    assert table.receive(Answer(number=2)) is Fate.ANSWER
    assert plain.answer.result() == Answer(number=2)


async def test_a_function_that_raises_does_not_keep_others_from_their_answer(table: Table) -> None:
    wrong, right = table.sent(match=lambda found: found.nonsense), table.sent(match=lambda found: True)
    assert table.receive(Answer(number=1)) is Fate.ANSWER
    assert wrong.answer.exception() is not None
    assert right.answer.result() == Answer(number=1)


# The end -----------------------------------------------------------------------------------------------


async def test_the_end_of_the_connection_ends_all(table: Table) -> None:
    sent, queued, started = table.sent(), table.open(), table.open(Cancel)
    overdue = table.sent(Free)
    table.exchanges.close(overdue)
    waiting = asyncio.create_task(table.exchanges.turn(queued))
    await asyncio.sleep(0)
    table.exchanges.end("cable cut")
    with pytest.raises(ConnectionClosed, match="cable cut"):
        await waiting
    for exchange in (sent, started):
        with pytest.raises(ConnectionClosed, match="cable cut"):
            exchange.answer.result()
    for exchange in (sent, queued, started):
        table.exchanges.close(exchange)
    assert not table.exchanges.is_active
    assert len(table.exchanges) == 0


async def test_there_is_a_limit() -> None:
    table = Table(limit=2)
    table.sent()
    second = table.open()
    with pytest.raises(QuotaExceeded, match="2 requests to this peer wait for replies already") as caught:
        table.open()
    assert caught.value.limit == "open_requests"
    assert table.counters.exceeded["open_requests"] == 1
    table.exchanges.close(second)
    assert table.open().state is State.QUEUED


async def test_thousands_that_wait_are_not_looked_at_one_by_one(table: Table) -> None:
    many = Table(limit=20_000)
    asked = [many.sent(value=number + 1) for number in range(5000)]
    queued = [many.open() for _ in range(5000)]
    many.exchanges.advance(queued[0], State.SENT)
    for number in reversed(range(5000)):
        assert many.receive(Answer(number=number + 1)) is Fate.ANSWER
        assert asked[number].answer.done()
    for exchange, after in zip(queued, [*queued[1:], None], strict=True):
        many.exchanges.advance(exchange, State.SENT)
        assert many.receive(Answer(number=0)) is Fate.ANSWER
        assert after is None or after.state is State.STARTED


async def test_who_decides_the_path_is_told_of_changes(table: Table) -> None:
    exchange = table.sent(value=1)
    assert (table.changes, table.exchanges.is_active) == (1, True)
    table.exchanges.close(exchange)
    assert (table.changes, table.exchanges.is_active) == (1, True)  # its answer may come late
    table.receive(Answer(number=1))
    assert (table.changes, table.exchanges.is_active) == (2, False)


async def test_a_second_answer_by_the_field_is_not_for_a_request_without_a_match(table: Table) -> None:
    matched = table.sent(value=1)
    assert table.receive(Answer(number=1)) is Fate.ANSWER
    table.exchanges.close(matched)
    unmatched = table.sent()
    assert table.receive(Answer(number=1)) is Fate.LATE
    assert not unmatched.answer.done()
    assert table.receive(Answer(number=1)) is Fate.ANSWER  # a third one is nobody else's, as far as can be told
    assert unmatched.answer.result() == Answer(number=1)


async def test_an_answer_by_a_function_may_come_again_for_a_request_without_a_match(table: Table) -> None:
    matched = table.sent(match=lambda answer: True)
    assert table.receive(Answer(number=1)) is Fate.ANSWER
    table.exchanges.close(matched)
    unmatched = table.sent()
    assert table.receive(Answer(number=1)) is Fate.ANSWER
    assert unmatched.answer.done()
