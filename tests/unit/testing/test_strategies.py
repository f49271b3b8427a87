from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from oddwire.codecs.registry import Registry
from oddwire.schema import Message, counted, field, fixed, max_length, message, point, subtype, tu16, u8, u64
from oddwire.schema.kinds import Integer, Kind
from oddwire.testing import messages
from oddwire.testing.strategies import values


class Side(Enum):
    BUY = "buy"
    SELL = "sell"


@subtype
class Part:
    number: u8


@message(0x8C01)
class Plain(Message):
    text: Annotated[str, max_length(3)]
    key: point
    side: Side
    parts: tuple[Part, ...]
    anything: Any
    maybe: u64 | None = None


@message(0x8C03, codec="bolt")
class Positional(Message):
    size: u8
    data: bytes = field(count="size")
    numbers: tuple[u8, ...] = field(count="size")
    four: Annotated[bytes, fixed(4)]
    name: Annotated[str, counted(u8)]
    default: tu16 | None = field(tlv=1, default=7)


registry = Registry()
registry.register(Plain)
registry.register(Positional)


@given(st.one_of(messages(Plain), messages(Positional)))
def test_what_it_makes_can_be_sent(made: Message) -> None:
    assert registry.decode(registry.encode(made)) == made


@given(messages(Positional, max_size=2))
def test_counts_agree_and_sizes_are_bounded(made: Positional) -> None:
    assert made.size == len(made.data) == len(made.numbers) <= 2
    assert len(made.four) == 4
    assert len(made.name) <= 2
    assert made.default is not None


@pytest.mark.parametrize(
    "wanted",
    [
        lambda made: made.text == "",
        lambda made: len(made.text) == 3,
        lambda made: made.side is Side.SELL,
        lambda made: len(made.parts) > 1,
        lambda made: made.maybe is None,
        lambda made: made.maybe is not None and made.maybe > 1 << 32,
        lambda made: isinstance(made.anything, dict) and made.anything,
    ],
)
def test_reaches_the_corners(wanted: Any) -> None:
    assert wanted(find(messages(Plain), wanted, settings=settings(phases=[Phase.generate], max_examples=2000)))


@given(messages(Plain))
def test_keeps_within_limits(made: Plain) -> None:
    assert len(made.text) <= 3


@given(messages(Plain, text=st.just("eur")))
def test_fields_may_be_given(made: Plain) -> None:
    assert made.text == "eur"


def test_refuses_fields_and_kinds_there_are_not() -> None:
    with pytest.raises(TypeError, match=r"Plain has no field 'texts'"):
        messages(Plain, texts=st.just("eur"))

    class Strange(Kind): ...

    with pytest.raises(TypeError, match=r"no strategy for kind .*Strange"):
        values(Strange())


@given(values(Integer("s16", 16, signed=True)))
def test_makes_values_of_one_kind(value: int) -> None:
    assert -(1 << 15) <= value < 1 << 15
