"""Types of fields, and changes of messages, for `schema_pairs`: every pair of two types is a change of a field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple

from tests.support.schema_pairs import made, part

from oddwire import (
    NodeId,
    SchemaError,
    UnknownVariant,
    as_text,
    bigsize,
    bool8,
    counted,
    field,
    fixed,
    flag,
    max_length,
    point,
    rest,
    s8,
    s16,
    s64,
    scalar,
    sciddir_or_pubkey,
    sha256,
    short_channel_id,
    tagged,
    tu32,
    tu64,
    u8,
    u16,
    u32,
    u64,
)

__all__ = ["TYPES", "Change", "Slot", "build", "one_field"]


class Side(Enum):
    BUY = 1
    SELL = 2


class Sides(Enum):
    BUY = 1
    SELL = 2
    HOLD = 3


class Asset(Enum):
    EUR = "eur"
    USD = "usd"


class Euro(Enum):
    EUR = "eur"


class Even(int):
    """An integer that is a scalar of its own."""

    def __new__(cls, value: int = 0) -> Even:
        if value % 2:
            raise ValueError("should be even")
        return int.__new__(cls, value)


A = part("A", {"x": u16})
A_ODD = part("A", {"x": u16, "n": (u8 | None, field(tlv=1, default=None))})
A_EVEN = part("A", {"x": u16, "n": (u8 | None, field(tlv=2, default=None))})
A_WIDE = part("A", {"x": u32})
A_MORE = part("A", {"x": u16, "n": (u8 | None, None)})
A_NEEDS = part("A", {"x": u16, "n": u8 | None})
B = part("B", {"s": str}, tag=1)
C = part("C", {"x": u16}, tag=0)
D = part("D", {"x": u16}, tag=2)

TYPES: tuple[Any, ...] = (
    *(u8, u16, u32, u64, s8, s16, s64, tu32, tu64, bigsize, int, bool, bool8, float, str, bytes),
    *(Annotated[u64, as_text], Annotated[u8, as_text]),
    *(Annotated[bytes, fixed(2)], Annotated[bytes, fixed(33)], Annotated[bytes, rest], Annotated[str, rest]),
    *(Annotated[bytes, counted(u8)], Annotated[str, counted(bigsize)], Annotated[str, fixed(3)]),
    *(Annotated[str, max_length(80)], Annotated[bytes, max_length(2)]),
    *(sha256, point, short_channel_id, sciddir_or_pubkey, NodeId),
    *(datetime, Annotated[datetime, u32], Annotated[datetime, u64], Decimal),
    Annotated[Even, scalar("even", python=Even, wire=u16, load=Even, dump=int)],
    Annotated[int, scalar("sat", python=int, size=3)],
    *(Annotated[u16, field(ge=1)], Annotated[u16, field(ge=1, le=10)], Annotated[u16, field(gt=1, lt=300)]),
    *(Annotated[float, field(ge=0.0)], Annotated[Decimal, field(ge=Decimal(1))]),
    *(Annotated[str, field(length=(1, 5))], Annotated[bytes, field(length=2)]),
    *(Annotated[str, field(pattern="[a-z]+")], Annotated[str, field(pattern="[a-z0-9]*")]),
    *(tuple[u8, ...], list[u8], tuple[u16, ...], Annotated[tuple[u8, ...], counted(bigsize)]),
    *(Annotated[tuple[u8, ...], max_length(2)], Annotated[tuple[u8, ...], fixed(2)]),
    *(Annotated[list[u8], field(length=(1, 3))], tuple[str, ...], dict[str, u8], dict[str, str]),
    *(Annotated[Side, u8], Annotated[Sides, u8], Annotated[Side, u16], Side, Sides, Asset, Euro),
    *(Literal["eur", "usd"], Literal["eur", "usd", "gbp"], Annotated[Literal[1, 2, 3], u8]),
    *(A, A_ODD, A_EVEN, A_WIDE, A_MORE, A_NEEDS, tuple[A, ...], tuple[A_WIDE, ...]),
    *(Annotated[A, counted(u16)], Annotated[A_ODD, counted(u16)], Annotated[A_EVEN, counted(u16)]),
    *(Annotated[A, counted(u8)], Annotated[tuple[A, ...], rest, counted(u16)]),
    *(Annotated[C | B, tagged(u8)], Annotated[C | B, tagged(u8, length=u8)], Annotated[B, tagged(u8, length=u8)]),
    *(Annotated[C | B | D, tagged(u8, length=u8)], Annotated[B | UnknownVariant, tagged(u8, length=u8)]),
    *(Annotated[C | B | UnknownVariant, tagged(u8, length=u8)], Annotated[C | B, tagged(u8, key="kind")]),
    *(Annotated[C | B, tagged(u8, length=u8, tags={C: 5, B: 1})], Annotated[A_ODD, tagged(u8, tags={A_ODD: 0})]),
    *(str | int, str | int | None, int | float, str | bytes, Any),
    *(u8 | None, u16 | None, str | None, A_ODD | None),
    *(Annotated[u8 | None, flag(u8)], Annotated[u8 | None, flag(u16)], Annotated[u8 | None, flag(bool8)]),
    *(Annotated[A | None, flag(u8)], Annotated[A_ODD | None, flag(u8)]),
)


def one_field(codec: str) -> Iterator[Any]:
    """Yield messages of one field, or of two: of each type, in each way that a codec has."""
    for type_ in TYPES:
        is_optional = "None" in str(type_)
        shapes: list[dict[str, Any]] = [{"x": type_}]
        if codec == "bolt":
            shapes += [{"x": (type_, field(tlv=1))}, {"x": (type_, field(tlv=2))}, {"x": type_, "z": u8}]
            shapes += [{"x": (type_, field(tlv=1, default=None))}] if is_optional else []
        elif is_optional:
            shapes.append({"x": (type_, None)})
        for shape in (*shapes, *(_special(codec) if type_ is u8 else ())):
            try:
                yield made(codec, shape)
            except SchemaError:
                continue


def _special(codec: str) -> Iterator[dict[str, Any]]:
    if codec == "bolt":
        yield from ({"x": (u8, field(tlv=1, default=5))}, {"x": (u8 | None, field(tlv=1, default=5))})
        yield {"y": (u8, field(tlv=1, default=5))}
    else:
        yield from ({"x": (u8 | None, 5)}, {"x": (u8, field(key="k"))}, {"k": u8})
    yield from ({"x": (u8, 5)}, {}, {"y": u8}, {"y": u8, "x": u8}, {"x": u8, "y": u8})


class Slot(NamedTuple):
    """A field of a message that is changed."""

    name: str
    type: Any
    default: Any = ...
    tlv: int | None = None
    key: str | None = None


Change = tuple[str, Sequence[Slot]]


def build(codec: str, slots: Sequence[Slot], **arguments: Any) -> Any:
    """Return the message of these fields. Raises `SchemaError`, and `ValueError` for two fields of one name."""
    fields = {}
    for slot in slots:
        if slot.name in fields:
            raise ValueError(slot.name)
        given: dict[str, Any] = {} if slot.default is ... else {"default": slot.default}
        given |= {} if slot.tlv is None or codec != "bolt" else {"tlv": slot.tlv}
        given |= {} if slot.key is None or codec == "bolt" else {"key": slot.key}
        fields[slot.name] = (slot.type, field(**given)) if given else slot.type
    return made(codec, fields, **arguments)
