"""What a request asks for, and what cannot tell which answer is the one."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from oddwire.app.dispatch.questions import Question, check_function, question_of
from oddwire.errors import EncodeError
from oddwire.schema import Message, message, u64


@message(0x8D71)
class Answer(Message):
    swap_id: str
    fee: u64


@message(0x8D73)
class Other(Message):
    swap_id: int


@message(0x8D75)
class Bare(Message): ...


@message(0x8D7B)
class Cancel(Message):
    swap_id: str | None = None


@message(0x8D77, replies=Answer, match="swap_id")
class Ask(Message):
    swap_id: str
    number: int = 0
    anything: Any = None
    perhaps: str | None = None


@message(0x8D79, name="Please")
class Plain(Message):
    swap_id: str = "a"


def test_what_the_class_declares() -> None:
    question = question_of(Ask(swap_id="a"), (Answer,), None)
    assert question == Question("Ask", (Answer,), "swap_id", "a")
    assert question.slots == ((Answer, "swap_id", "a"),)
    assert not question.in_order
    assert question.accepts(Answer(swap_id="a", fee=1))
    assert not question.accepts(Answer(swap_id="b", fee=1))
    assert not question.accepts(Other(swap_id=1))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Answer(swap_id="a", fee=1), True),
        (Answer(swap_id="b", fee=1), False),
        (Cancel(swap_id="a"), True),
        (Cancel(), False),
        (Ask(swap_id="a"), False),
        (Bare(), False),
        (None, False),
    ],
)
def test_what_answers_by_the_field(reply: Any, expected: bool) -> None:
    assert question_of(Ask(swap_id="a"), (Answer, Cancel), "swap_id").accepts(reply) is expected


def test_what_is_passed_comes_first() -> None:
    function = functools.partial(lambda wanted, found: found.fee == wanted, 7)
    question = question_of(Ask(swap_id="a"), (Answer,), function)
    assert (question.field, question.match, question.slots) == (None, function, ())
    assert question.accepts(Answer(swap_id="b", fee=7))
    assert not question.accepts(Answer(swap_id="a", fee=1))
    assert question_of(Plain(), (Answer,), "swap_id").value == "a"


def test_without_any_match_the_order_decides() -> None:
    question = question_of(Plain(), (Answer, Other), None)
    assert question == Question("Please", (Answer, Other))
    assert question.in_order
    assert question.slots == (Answer, Other)
    assert question.wanted == "Answer or Other"
    assert question.accepts(Answer(swap_id="b", fee=1))


@pytest.mark.parametrize(
    ("request_", "accepted", "match", "text"),
    [
        (Plain(), (Answer,), "id", "match='id': Please has no such field; it has swap_id"),
        (Bare(), (Answer,), "id", "match='id': Bare has no such field; it has none"),
        (Ask(swap_id="a"), (Answer,), "number", f"its reply {__name__}.Answer has no field 'number'"),
        (Ask(swap_id="a"), (Other,), None, "'swap_id' is str in Ask and int in"),
        (Ask(swap_id="a"), (Answer, Bare), None, f"its reply {__name__}.Bare has no field 'swap_id'; it has none"),
        (Ask(swap_id="a"), (Answer, Bare), None, "a function can tell, too: match=lambda reply: ..."),
    ],
)
def test_fields_that_cannot_tell(request_: Message, accepted: tuple[type[Message], ...], match: Any, text: str) -> None:
    with pytest.raises(EncodeError) as caught:
        question_of(request_, accepted, match)
    assert text in str(caught.value)


def test_values_that_cannot_tell() -> None:
    @message(0x8D7B)
    class Loose(Message):
        anything: Any = None
        perhaps: str | None = None

    with pytest.raises(EncodeError, match=r"Ask.perhaps is None: it should tell which reply is the one"):
        question_of(Ask(swap_id="a"), (Loose,), "perhaps")
    question = question_of(Ask(swap_id="a", anything=[1]), (Loose,), "anything")
    with pytest.raises(EncodeError, match=r"Ask.anything, its match, should be a single value, not list"):
        _ = question.slots


async def never(found: Message) -> bool:
    return False


@pytest.mark.parametrize(
    ("match", "told"), [(7, "not 7"), ("swap_id", "not 'swap_id'"), (never, "not an async function")]
)
def test_what_is_no_function(match: Any, told: str) -> None:
    should = "wait_for(): match should be a function of the message that returns whether it is the one, "
    with pytest.raises(TypeError) as caught:
        check_function("wait_for()", match)
    assert str(caught.value) == should + told


def test_what_a_request_is_not_matched_by() -> None:
    with pytest.raises(TypeError, match=r"request\(\): match should be a function .*, or the name of a field, not 7"):
        question_of(Plain(), (Answer,), 7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not an async function"):
        question_of(Plain(), (Answer,), never)
