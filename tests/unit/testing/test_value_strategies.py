"""Strategies for scalars, limits and validators: all they draw can be sent, and nothing is out of reach."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from oddwire import (
    Message,
    NodeId,
    SchemaError,
    field,
    message,
    rest,
    scalar,
    schema_of,
    subtype,
    u8,
    u16,
    u64,
    validates,
)
from oddwire.codecs.registry import Registry
from oddwire.schema import bigsize, counted, max_length
from oddwire.schema.annotations import kind_of
from oddwire.testing import messages
from oddwire.testing.strategies import register_strategy, values
from oddwire.testing.value_strategies import is_valid, size_within

Uuid = Annotated[UUID, scalar("uuid", python=UUID, wire=str)]
Even = Annotated[int, scalar("even", python=int, size=1)]
Half = Annotated[int, scalar("half", python=int, wire=u8, load=lambda number: number // (number % 2 == 0), dump=int)]


class Colour(Enum):
    RED = 1


Level = Annotated[Colour, scalar("level", python=Colour, wire=Annotated[Colour, u8])]


@subtype
class Range:
    low: u8
    high: u8

    @validates
    def check_order(self) -> None:
        if self.low > self.high:
            raise ValueError("should have low below high")


class Shared(Message):
    range: Range
    node: NodeId
    seconds: Annotated[datetime, u64]
    small: u8 = field(gt=3, le=5)
    both: Annotated[u8, field(ge=2)] = field(lt=5)
    word: str = field(pattern="[ab]{2,}", length=(1, 4))
    short: Annotated[str, counted(u8)] = field(length=(1, 4))
    capped: Annotated[str, max_length(3)] = field(pattern="[a-z]*")
    data: bytes = field(length=3)
    items: tuple[Annotated[u16, field(ge=7)], ...] = field(length=(2, 3))
    half: Half
    uuid: Uuid


@message(0x8C01)
class Packed(Shared):
    at: datetime
    amount: Decimal = field(ge=Decimal(0))
    rate: float = field(ge=0.5, lt=1)
    table: dict[str, u8] = field(length=(1, 2))
    whole: int = field(gt=-3)


@message(0x8C03, codec="bolt")
class Positional(Shared):
    size: u8 = field(ge=1)
    counted: bytes = field(count="size", length=(2, 4))
    last: Annotated[tuple[bigsize, ...], rest] = field(length=(0, 2))


registry = Registry()
registry.register(Packed)
registry.register(Positional)
register_strategy(Uuid, st.uuids())


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None)
@given(st.one_of(messages(Packed), messages(Positional)))
def test_what_it_makes_can_be_sent(made: Message) -> None:
    assert registry.decode(registry.encode(made)) == made


@pytest.mark.parametrize(
    ("annotation", "wanted"),
    [
        (Annotated[u8, field(gt=3, le=5)], 4),
        (Annotated[u8, field(gt=3, le=5)], 5),
        (Annotated[float, field(gt=0, le=1)], 1.0),
        (Annotated[str, field(length=(1, 2))], "é"),
        (Annotated[str, field(pattern="a|b")], "b"),
        (Annotated[bytes, field(length=1)], b"\xff"),
        (Annotated[dict[str, u8], field(length=1)], {"": 0}),
        (Half, 0),
        (NodeId, NodeId(b"\3" + bytes(32))),
        (Decimal, Decimal(0)),
    ],
)
def test_reaches_what_is_wanted(annotation: Any, wanted: Any) -> None:
    fast = settings(phases=[Phase.generate, Phase.shrink], max_examples=20_000, deadline=None)
    assert find(values(kind_of(annotation)), lambda value: value == wanted, settings=fast) == wanted


def test_registered_strategies_are_used_with_limits_too() -> None:
    register_strategy(Even, st.integers(0, 100).map(lambda number: 2 * number))

    @message(0x8C05)
    class Numbers(Message):
        one: Even
        many: tuple[Even, ...]
        small: Even | None = None
        few: Even = field(ge=5)

    @settings(max_examples=30)
    @given(messages(Numbers))
    def drawn(made: Numbers) -> None:
        assert all(number % 2 == 0 for number in (made.one, *made.many, made.small or 0, made.few))

    drawn()
    assert values(kind_of(Level)) is not values(kind_of(Even))  # neither can be hashed
    with pytest.raises(SchemaError):
        register_strategy(set, st.none())


def test_helpers() -> None:
    assert is_valid(Range.__oddwire__, Range(low=1, high=1))  # type: ignore[attr-defined]
    assert not is_valid(Range.__oddwire__, Range(low=2, high=1))  # type: ignore[attr-defined]
    kind = schema_of(Positional).field("counted").kind  # type: ignore[union-attr]
    assert [size_within(kind, drawn, 8) for drawn in (0, 3, 9)] == [2, 3, 4]
