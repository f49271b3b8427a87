"""What decoded messages weigh, against what Python really takes for them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from tests.support.weighing import check_weight

from oddwire.schema import Message, field, message, point, rest, scalar, schema_of, subtype, u8, u16, u32, u64
from oddwire.schema.weight import weigher


class Word:
    def __init__(self, text: str) -> None:
        self.text = text + ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Word) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


@subtype
class Empty:
    pass


@subtype
class Flat:
    number: u32
    name: str


@subtype
class Holder:
    inner: list[Flat]


@message(0x8C01)
class Scalars(Message):
    one: u64
    two: bool
    three: float
    text: str
    data: bytes
    four: Flat
    five: u64 | None = None


@message(0x8C03)
class Empties(Message):
    items: list[Empty]


@message(0x8C05)
class Flats(Message):
    items: tuple[Flat, ...]


@message(0x8C07)
class Deep(Message):
    items: list[list[list[u64]]]
    holders: dict[str, Holder] = field(default_factory=dict)


@message(0x8C09)
class Numbers(Message):
    items: list[u32]


@message(0x8C0B)
class Bytes(Message):
    items: list[u8]


@message(0x8C0D)
class Texts(Message):
    items: list[str]
    data: list[bytes | None]


@message(0x8C0F)
class Map(Message):
    items: dict[str, u64]


@message(0x8C11)
class Free(Message):
    items: Any


@message(0x8C13, codec="json")
class Written(Message):
    items: list[Any]


@message(0x8C15, codec="bolt")
class Wire(Message):
    items: Annotated[list[u16], rest]


@message(0x8C21)
class Scalar(Message):
    times: list[datetime]
    sats: tuple[Annotated[u32, field(ge=1)], ...]
    words: tuple[Annotated[Word, scalar("word", python=Word, wire=str, dump=lambda word: word.text)], ...]


WORST = [
    Empties(items=[Empty()] * 4000),
    Flats(items=(Flat(number=1 << 30, name="a long enough name"),) * 2000),
    Deep(
        items=[[[1 << 40] * 3] * 5] * 200,
        holders={f"{n}": Holder(inner=[Flat(number=n, name="n")]) for n in range(500)},
    ),
    Numbers(items=list(range(1 << 20, (1 << 20) + 5000))),
    Bytes(items=[7] * 20_000),
    Texts(items=[f"text {n}" for n in range(3000)], data=[b"some data", None] * 1000),
    Map(items={f"key {n}": n << 20 for n in range(3000)}),
    Free(items={"a": [1 << 40, "x", [], {}, None, [[["deep"]]]] * 500, "b": {f"{n}": [n] for n in range(1000)}}),
    Written(items=[[[]] * 10] * 500),
    Wire(items=list(range(300, 20_000))),
    Scalar(
        times=[datetime(2024, 1, 31, tzinfo=UTC)] * 1000,
        sats=tuple(range(1 << 20, (1 << 20) + 1000)),
        words=tuple(Word("a long word" * n) for n in range(50)),
    ),
]


@pytest.mark.parametrize("whole", WORST, ids=lambda whole: type(whole).__name__)
def test_a_weight_is_about_what_python_takes(whole: Message) -> None:
    check_weight(whole)


def test_what_cannot_be_carried_weighs_something_all_the_same() -> None:
    broken = Scalar(times=[], sats=(), words=(5,))  # type: ignore[arg-type]
    weigh = weigher(schema_of(Scalar))
    assert weigh is not None
    assert weigh(broken) > 200


def test_what_does_not_grow_needs_no_weighing() -> None:
    assert weigher(schema_of(Scalars)) is None


def test_what_is_absent_weighs_nothing() -> None:
    @message(0x8C17)
    class Perhaps(Message):
        items: list[u64] | None = None
        where: point | None = None

    weigh = weigher(schema_of(Perhaps))
    assert weigh is not None
    assert weigh(Perhaps()) < 500 < weigh(Perhaps(items=[1 << 40] * 20)) < 2000
