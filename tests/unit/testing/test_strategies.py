from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from oddwire.codecs.registry import Registry
from oddwire.schema import (
    Message,
    counted,
    field,
    fixed,
    flag,
    max_length,
    message,
    point,
    rest,
    subtype,
    tu16,
    u8,
    u64,
)
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


@subtype
class Node:
    key: point
    children: tuple[Node, ...] = ()
    following: Annotated[Node | None, flag(u8)] = None


@message(0x8C05, codec="bolt")
class Boxes(Message):
    node: Node
    maybe: Annotated[u64 | None, flag(u8)]
    sized: Annotated[tuple[Node, ...], rest, counted(u8)]
    boxes: Boxes | None = field(tlv=1)
    filled: u8 | None = field(tlv=3, default=9)


@message(0x8C07)
class Tree(Message):
    anything: Any
    table: dict[str, Tree]
    nodes: list[Node | None]


registry = Registry()
for cls in (Plain, Positional, Boxes, Tree):
    registry.register(cls)


@given(st.one_of(messages(Plain), messages(Positional), messages(Boxes), messages(Tree), messages(Tree, max_size=0)))
def test_what_it_makes_can_be_sent(made: Message) -> None:
    assert registry.decode(registry.encode(made)) == made


@given(messages(Positional, max_size=2))
def test_counts_agree_and_sizes_are_bounded(made: Positional) -> None:
    assert made.size == len(made.data) == len(made.numbers) <= 2
    assert len(made.four) == 4
    assert len(made.name) <= 2
    assert made.default is not None


@given(messages(Boxes))
def test_what_is_behind_a_size_fits_into_it(made: Boxes) -> None:
    assert len(made.sized) <= 255 // 36
    assert made.filled is not None, "an absent record means the default"


@pytest.mark.parametrize(
    "wanted",
    [
        lambda made: made.node.children and made.node.children[0].children,
        lambda made: made.node.following and made.node.following.following,
        lambda made: made.maybe is None,
        lambda made: made.maybe is not None and len(made.sized) > 1,
        lambda made: made.boxes is None,
        lambda made: made.boxes is not None and made.boxes.boxes is not None,
    ],
)
def test_reaches_into_classes_in_themselves(wanted: Any) -> None:
    assert wanted(find(messages(Boxes), wanted, settings=settings(phases=[Phase.generate], max_examples=2000)))


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
