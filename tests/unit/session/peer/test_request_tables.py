from __future__ import annotations

import math
import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from oddwire.errors import QuotaExceeded
from oddwire.session.peer.request_tables import HandledRequest, HandledRequests, SentRequests, SentStream
from oddwire.session.wire.frame_types import Code

FIRST = 1 << 40
U64 = (1 << 64) - 1


def make_asked(limit: int = 1024) -> SentRequests[str, int]:
    return SentRequests(FIRST, limit)


def handling_of(asking: HandledRequests[str], number: int, credit: int = 0) -> HandledRequest[str]:
    handling = asking.open(number, credit)
    assert isinstance(handling, HandledRequest)
    return handling


# The side that asks --------------------------------------------------------------------------------------------------


def test_a_reply_finds_its_request_once() -> None:
    asked = make_asked()
    one, two = asked.open("one"), asked.open("two")
    assert (one, two) == (FIRST, FIRST + 1)
    assert len(asked) == 2
    assert asked.take(two) == "two"
    assert asked.take(two) is None
    assert asked.take(one) == "one"
    assert (len(asked), asked.late, asked.unasked) == (0, 1, 0)


@pytest.mark.parametrize("number", [0, FIRST - 1, FIRST + 1, U64])
def test_answers_to_what_was_never_asked_are_counted(number: int) -> None:
    asked = make_asked()
    asked.open("one")
    assert asked.take(number) is None
    assert asked.fail(number) is None
    assert asked.stream(number) is None
    assert (len(asked), asked.late, asked.unasked) == (1, 0, 3)


def test_what_was_given_up_takes_no_late_answer() -> None:
    asked = make_asked()
    number = asked.open("one")
    assert asked.close(number) == "one"
    assert asked.close(number) is None
    assert asked.late == 0
    assert asked.take(number) is None
    assert asked.fail(number) is None
    assert asked.late == 2


def test_a_failure_ends_either() -> None:
    asked = make_asked()
    assert asked.fail(asked.open("one")) == "one"
    assert asked.fail(asked.open_stream("many", 4).id) == "many"
    assert len(asked) == 0


def test_there_may_be_so_many_at_once() -> None:
    asked = make_asked(limit=2)
    first = asked.open("one")
    asked.open_stream("many", 4)
    for ask in (lambda: asked.open("three"), lambda: asked.open_stream("three", 4)):
        with pytest.raises(QuotaExceeded, match="2 requests to this peer wait for replies already") as caught:
            ask()
        assert caught.value.limit == "open_requests"
    asked.take(first)
    assert asked.open("three") == FIRST + 2


def test_clear_gives_everything_and_goes_on_with_new_ids() -> None:
    asked = make_asked()
    asked.open("one", 5.0)
    asked.open_stream("many", 4, 3.0)
    assert sorted(asked.clear()) == ["many", "one"]
    assert (len(asked), asked.deadline) == (0, math.inf)
    assert asked.open("three") == FIRST + 2
    assert asked.take(FIRST) is None
    assert asked.late == 1


def test_what_is_past_its_deadline_ends() -> None:
    asked = make_asked()
    numbers = {name: asked.open(name, deadline) for name, deadline in [("b", 20.0), ("a", 10.0), ("never", math.inf)]}
    stream = asked.open_stream("s", 4, 15.0)
    assert asked.deadline == 10.0
    assert asked.expire(9.9) == []
    assert asked.expire(10.0) == [(numbers["a"], "a")]
    assert asked.deadline == 15.0
    asked.wait(stream)
    assert asked.expire(16.0) == []
    assert asked.deadline == 20.0
    asked.wait(stream, 18.0)
    assert asked.deadline == 18.0
    assert asked.expire(30.0) == [(numbers["b"], "b"), (stream.id, "s")]
    assert asked.deadline == math.inf
    assert len(asked) == 1


def test_expiring_is_seldom_when_requests_are_answered_in_time() -> None:
    asked = make_asked()
    looks = 0
    for tick in range(10_000):
        now = tick / 1000  # a request a millisecond, for ten seconds
        if now >= asked.deadline:
            looks += 1
            assert asked.expire(now) == []
        number = asked.open("x", now + 1.0)
        if tick >= 5:
            assert asked.take(number - 5) == "x"
    assert looks <= 10


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["open", "stream", "close", "wait", "tick"]), st.floats(0, 10))))
def test_deadlines_are_never_missed(steps: list[tuple[str, float]]) -> None:
    asked: SentRequests[int, int] = SentRequests(0, 1000)
    now, deadlines, streams = 0.0, dict[int, float](), dict[int, SentStream[int, int]]()
    for step, value in steps:
        if step == "open":
            deadlines[asked.open(0, now + value)] = now + value
        elif step == "stream":
            stream = asked.open_stream(0, 1, now + value)
            deadlines[stream.id], streams[stream.id] = now + value, stream
        elif step == "close" and deadlines:
            number = next(iter(deadlines))
            del deadlines[number]
            streams.pop(number, None)
            asked.close(number)
        elif step == "wait" and streams:
            stream = next(iter(streams.values()))
            asked.wait(stream, now + value)
            deadlines[stream.id] = now + value
        elif step == "tick":
            now += value
            past = {number for number, deadline in deadlines.items() if deadline <= now}
            if past:
                assert asked.deadline <= now
            assert {number for number, _ in asked.expire(now)} == past
            for number in past:
                del deadlines[number]
                streams.pop(number, None)
        assert asked.deadline <= min(deadlines.values(), default=math.inf)


def test_a_stream_can_be_looked_for() -> None:
    asked = make_asked()
    stream = asked.open_stream("s", 4)
    assert asked.find(stream.id) is asked.stream(stream.id) is stream
    assert asked.find(asked.open("one")) is None
    assert (asked.late, asked.unasked) == (0, 0)


# Streams -------------------------------------------------------------------------------------------------------------


def test_parts_come_out_as_they_went_in() -> None:
    stream: SentStream[str, int] = make_asked().open_stream("s", 4)
    assert [stream.push(number) for number in range(4)] == [True] * 4
    assert len(stream) == 4
    assert [stream.pop() for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(IndexError):
        stream.pop()


def test_a_part_without_credit_is_refused() -> None:
    stream: SentStream[str, int] = make_asked().open_stream("s", 2)
    assert [stream.push(number) for number in range(3)] == [True, True, False]
    assert len(stream) == 2
    stream.pop()
    assert not stream.push(3), "used, but not granted anew"
    assert stream.grant() == 3
    assert stream.push(3)


@pytest.mark.parametrize(
    ("credit", "grants"),
    [(1, [2, 3, 4, 5]), (2, [3, 4, 5, 6]), (3, [5, 7]), (4, [6, 8]), (5, [8])],
)
def test_credit_is_granted_in_batches(credit: int, grants: list[int]) -> None:
    stream: SentStream[str, int] = make_asked().open_stream("s", credit)
    given = []
    for number in range(4):
        assert stream.push(number)
        stream.pop()
        value = stream.grant()
        if value is not None:
            given.append(value)
    assert given == grants
    assert stream.grant() is None


@given(st.integers(1, 40), st.randoms(use_true_random=False))
def test_a_stream_never_stalls_and_never_holds_more_than_its_credit(credit: int, rng: random.Random) -> None:
    stream: SentStream[str, int] = make_asked().open_stream("s", credit)
    asking: HandledRequests[str] = HandledRequests(1)
    handling = handling_of(asking, 7, credit)
    got: list[int] = []
    while len(got) < 200:
        if rng.random() < 0.5 and handling.sent < handling.allowed:
            assert stream.push(handling.sent), "never refused what was granted"
            handling.sent += 1
        elif len(stream):
            got.append(stream.pop())
            value = stream.grant()
            if value is not None:
                assert asking.grant(7, value) is handling
        else:
            assert handling.sent < handling.allowed, "with nothing waiting, there is credit"
        assert len(stream) <= credit
        assert handling.allowed <= len(got) + credit
    assert got == list(range(200))


# The side that answers -----------------------------------------------------------------------------------------------


def test_a_request_is_open_until_it_is_answered() -> None:
    asking: HandledRequests[str] = HandledRequests(4)
    handling = handling_of(asking, 7)
    assert (handling.id, handling.streams, handling.handle) == (7, False, None)
    assert len(asking) == 1
    assert asking.close(handling)
    assert not asking.close(handling)
    assert len(asking) == 0


def test_an_id_that_is_open_stays_with_the_first() -> None:
    asking: HandledRequests[str] = HandledRequests(4)
    first = handling_of(asking, 7)
    assert asking.open(7) is None
    assert asking.open(7, 16) is None
    assert (len(asking), asking.repeated) == (1, 2)
    assert asking.close(first)


def test_an_id_may_come_again_later_but_the_old_handler_cannot_end_it() -> None:
    asking: HandledRequests[str] = HandledRequests(4)
    first = handling_of(asking, 7)
    assert asking.cancel(7) is first
    second = handling_of(asking, 7)
    assert not asking.close(first)
    assert asking.close(second)


def test_too_many_at_once_are_refused() -> None:
    asking: HandledRequests[str] = HandledRequests(2)
    first = handling_of(asking, 1)
    handling_of(asking, 2)
    assert asking.open(3) is Code.QUOTA
    assert asking.open(2) is None, "it is not even new"
    asking.close(first)
    handling_of(asking, 3)


def test_cancelling_gives_what_is_to_be_stopped_once() -> None:
    asking: HandledRequests[str] = HandledRequests(2)
    handling = handling_of(asking, 1)
    handling.handle = "task"
    assert asking.cancel(1) is handling
    assert asking.cancel(1) is None
    assert asking.cancel(99) is None
    assert asking.late == 2


def test_credit_only_grows() -> None:
    asking: HandledRequests[str] = HandledRequests(2)
    handling = handling_of(asking, 1, 16)
    assert handling.streams
    for value, allowed, changed in [(20, 20, True), (20, 20, False), (5, 20, False), (U64, U64, True), (0, U64, False)]:
        assert asking.grant(1, value) is (handling if changed else None)
        assert handling.allowed == allowed
    assert asking.late == 0


def test_credit_for_nothing_is_counted() -> None:
    asking: HandledRequests[str] = HandledRequests(2)
    handling = handling_of(asking, 1)
    assert asking.grant(1, 5) is None, "it is no stream"
    assert asking.grant(2, 5) is None
    assert (asking.late, handling.allowed) == (2, 0)


def test_clear_gives_everything() -> None:
    asking: HandledRequests[str] = HandledRequests(2)
    both = [handling_of(asking, 1), handling_of(asking, 2, 4)]
    assert asking.clear() == both
    assert len(asking) == 0
    assert not asking.close(both[0])


def test_what_its_caller_does_not_wait_for_ends() -> None:
    asking: HandledRequests[str] = HandledRequests(5)
    handlings = [asking.open(number, 0, deadline) for number, deadline in [(1, 20.0), (2, 10.0), (3, math.inf)]]
    stream = asking.open(4, 16, 15.0)
    assert isinstance(stream, HandledRequest)
    assert asking.deadline == 10.0
    assert asking.expire(9.9) == []
    assert asking.expire(10.0) == [handlings[1]]
    assert asking.deadline == 15.0
    asking.wait(stream, 25.0)
    assert asking.expire(15.0) == []
    assert asking.deadline == 20.0
    asking.wait(stream, 18.0)
    assert asking.deadline == 18.0
    assert asking.expire(30.0) == [handlings[0], stream]
    assert (asking.deadline, len(asking)) == (math.inf, 1)
    assert not asking.close(stream)


def test_a_million_requests_take_no_more_than_the_limit() -> None:
    asking: HandledRequests[str] = HandledRequests(64)
    for number in range(64):
        asking.open(number)
    tracemalloc.start()
    try:
        refused = sum(asking.open(number) is Code.QUOTA for number in range(64, 1_000_000))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused == 1_000_000 - 64
    assert len(asking) == 64
    assert held < 10_000


ids = st.one_of(st.integers(0, 12), st.integers(0, U64))


class HostilePeer(RuleBasedStateMachine):
    """Whatever a peer sends, what is open is what it should be, and within the limits."""

    def __init__(self) -> None:
        super().__init__()
        self.handled: HandledRequests[str] = HandledRequests(5)
        self.open: dict[int, HandledRequest[str]] = {}
        self.asked: SentRequests[int, int] = SentRequests(5, 5)
        self.mine: set[int] = set()
        self.seen = 0

    @rule(number=ids, credit=st.sampled_from([0, 0, 1, 16, 0xFFFFFFFF]))
    def request(self, number: int, credit: int) -> None:
        got: Any = self.handled.open(number, credit)
        if number in self.open:
            assert got is None
        elif len(self.open) == 5:
            assert got is Code.QUOTA
        else:
            assert (got.id, got.allowed, got.streams) == (number, credit, credit > 0)
            self.open[number] = got

    @rule(number=ids)
    def cancel(self, number: int) -> None:
        assert self.handled.cancel(number) is self.open.pop(number, None)

    @rule(number=ids, value=st.integers(0, U64))
    def grant(self, number: int, value: int) -> None:
        before = self.open[number].allowed if number in self.open else 0
        got = self.handled.grant(number, value)
        if got is not None:
            assert got is self.open[number]
            assert got.streams
            assert got.allowed == value > before
        elif number in self.open:
            assert self.open[number].allowed == before

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.open)))
        assert self.handled.close(self.open.pop(number))

    @precondition(lambda self: len(self.mine) < 5)
    @rule()
    def ask(self) -> None:
        number = self.asked.open(self.seen)
        assert number == 5 + self.seen
        self.mine.add(number)
        self.seen += 1

    @rule(number=ids)
    def reply(self, number: int) -> None:
        entry = self.asked.take(number)
        assert entry == (number - 5 if number in self.mine else None)
        self.mine.discard(number)

    @invariant()
    def what_is_open_is_known(self) -> None:
        assert len(self.handled) == len(self.open) <= 5
        assert len(self.asked) == len(self.mine) <= 5


TestHostilePeer = HostilePeer.TestCase
TestHostilePeer.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_who_has_its_answer_may_ask_again_before_the_sending_of_that_has_returned() -> None:
    """Where a host node is asked to send, the peer may be quicker than the node's word that it has."""
    asking: HandledRequests[str] = HandledRequests(2)
    one, two = handling_of(asking, 1), handling_of(asking, 2)
    assert asking.open(3) is Code.QUOTA
    asking.answer(one)
    asking.answer(one)
    three = handling_of(asking, 3)
    assert asking.open(4) is Code.QUOTA
    asking.answer(two)
    handling_of(asking, 4)
    asking.answer(three)
    assert asking.open(5) is Code.QUOTA, "of those that are being answered there are not more than of the others"
    assert asking.close(one)
    handling_of(asking, 5)
    assert asking.cancel(2) is two
    asking.clear()
    for number in (6, 7):
        handling_of(asking, number)
    assert asking.open(8) is Code.QUOTA
