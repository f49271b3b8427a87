"""From annotations to kinds, and what is said of those that mean none."""

import enum
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Optional

import pytest

from oddwire.errors import SchemaError
from oddwire.proto.keys import PublicKey, ShortChannelId
from oddwire.schema import (
    Message,
    as_text,
    bigsize,
    counted,
    fixed,
    flag,
    max_length,
    message,
    point,
    rest,
    subtype,
    tu32,
    u8,
    u16,
)
from oddwire.schema.annotations import evaluate, kind_of
from oddwire.schema.kinds import (
    PLAIN_INT,
    Anything,
    Array,
    Boolean,
    Choice,
    Fixed,
    Float,
    Integer,
    Maybe,
    Named,
    Nested,
    Octets,
    Prefixed,
    Rest,
    Sized,
    Table,
    Text,
)
from oddwire.schema.markers import apply_count, apply_max_length

U8, U16 = Integer("u8", 8), Integer("u16", 16)


class Colour(enum.Enum):
    RED = 1
    BLUE = 300


class Level(enum.IntEnum):
    LOW = -1


class Side(enum.StrEnum):
    BUY = "buy"


class Rights(enum.Flag):
    READ = 1


class Mixed(enum.Enum):
    ONE = 1
    TWO = "two"


class Half(enum.Enum):
    HALF = 0.5


class Switch(enum.Enum):
    ON = True


class Huge(enum.Enum):
    HUGE = 1 << 64


class Nothing(enum.Enum):
    pass


@subtype
class Order:
    price: u16


@message(0x8C01)
class Whole(Message):
    price: u16


class Unnumbered(Message):
    price: u16


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (int, PLAIN_INT),
        (bool, Boolean()),
        (float, Float()),
        (str, Text()),
        (bytes, Octets()),
        (Any, Anything()),
        (object, Anything()),
        (u8, U8),
        (Annotated[int, "somebody else's", U16], PLAIN_INT),
        (Annotated[str, "somebody else's"], Text()),
        (u8 | None, Maybe(U8)),
        (Optional[str], Maybe(Text())),  # noqa: UP045 - the old way to write it
        (typing.Union[None, str], Maybe(Text())),  # noqa: UP007 - likewise
        (Any | None, Anything()),
        (tuple[u8, ...], Array(U8, tuple)),
        (list[str], Array(Text(), list)),
        (Sequence[str], Array(Text(), tuple, loose=True)),
        (typing.Sequence[str], Array(Text(), tuple, loose=True)),
        (dict[str, u8], Table(U8)),
        (Mapping[str, u8], Table(U8)),
        (tuple[u8 | None, ...], Array(Maybe(U8), tuple)),
        (Order, Nested(Order.__oddwire__)),
        (Whole, Nested(Whole.__oddwire__)),
        (Colour, Choice("Colour", PLAIN_INT, {1: Colour.RED, 300: Colour.BLUE}, Colour)),
        (Level, Choice("Level", PLAIN_INT, {-1: Level.LOW}, Level)),
        (Side, Choice("Side", Text(), {"buy": Side.BUY}, Side)),
        (Annotated[Colour, u16], Choice("Colour", U16, {1: Colour.RED, 300: Colour.BLUE}, Colour)),
        (Literal["yes", "no"], Choice("Literal['yes', 'no']", Text(), {"yes": "yes", "no": "no"}, str)),
        (Literal[1, 2], Choice("Literal[1, 2]", PLAIN_INT, {1: 1, 2: 2}, int)),
        (Annotated[bytes, fixed(32)], Octets(Fixed(32))),
        (Annotated[bytes, counted(bigsize)], Octets(Prefixed(Integer("bigsize", 64, form="bigsize")))),
        (Annotated[bytes, rest], Octets(Rest())),
        (Annotated[bytes, ...], Octets(Rest())),
        (Annotated[str, max_length(9)], Text(max_length=9)),
        (Annotated[dict[str, u8], max_length(9)], Table(U8, 9)),
        (Annotated[tuple[u8, ...], counted(u16), max_length(9)], Array(U8, tuple, False, Prefixed(U16), 9)),
        (Annotated[tuple[u8, ...] | None, counted(u16)], Maybe(Array(U8, tuple, False, Prefixed(U16)))),
        (Annotated[str | None, max_length(3)], Maybe(Text(max_length=3))),
        (Annotated[str | None, flag(u8), max_length(3)], Maybe(Text(max_length=3), U8)),
        (Annotated[bytes | None, flag(u8), fixed(3)], Maybe(Octets(Fixed(3)), U8)),
        (Annotated[bytes | None, counted(u16), flag(u8)], Maybe(Octets(Prefixed(U16)), U8)),
        (Annotated[bytes | None, flag(u8), counted(u16)], Sized(Maybe(Octets(), U8), U16)),
        (Annotated[u8, counted(u16)], Sized(U8, U16)),
        (Annotated[Order | None, counted(u16)], Maybe(Sized(Nested(Order.__oddwire__), U16))),
        (Annotated[bytes, fixed(3), counted(u16)], Sized(Octets(Fixed(3)), U16)),
        (Annotated[list[u8], rest, counted(u16), max_length(3)], Sized(Array(U8, list, False, Rest(), 3), U16)),
        (Annotated[Annotated[Colour, counted(u8)], u16], Sized(kind_of(Annotated[Colour, u16]), U8)),
        (Annotated[u16, counted(u8), as_text], Sized(kind_of(Annotated[u16, as_text]), U8)),
        (Annotated[Colour | None, u16], Maybe(Choice("Colour", U16, {1: Colour.RED, 300: Colour.BLUE}, Colour))),
    ],
)
def test_kinds(annotation, kind):
    assert kind_of(annotation) == kind


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (u8 | u16, "u8 | u16: u8 and u16 are both integers in msgpack, so nothing tells them apart"),
        (tuple[u8, str], "tuple[u8, str] should be tuple[X, ...], or a @subtype"),
        (set[Annotated[str, max_length(3)]], "set[str] is not a field type"),
        (frozenset[tuple[point, ...]], "frozenset[tuple[point, ...]] is not a field type"),
        (tuple, "tuple is not a field type; write tuple[X, ...]"),
        (list, "write list[X]"),
        (dict, "write dict[str, X]"),
        (dict[int, str], "should have str keys"),
        (set, "write tuple[X, ...]"),
        (bytearray, "write bytes"),
        (complex, "oddwire knows u8 to u64, str, bytes"),
        (PublicKey, "write point"),
        (ShortChannelId, "write short_channel_id"),
        (type(None), "write X | None"),
        (Unnumbered, "Unnumbered is not a field type; decorate it with @message(type_id)"),
        (Rights, "Rights is a Flag"),
        (Mixed, "Mixed should have values that are all int or all str"),
        (Half, "Half should have values that are all int or all str"),
        (Switch, "Switch should have values that are all int or all str"),
        (Huge, "Huge should have values of 64 bits at most"),
        (Nothing, "Nothing has no members"),
        (Literal[True], "all int or all str"),
        (Annotated[Colour, u8], "Colour has the value 300, which u8 cannot hold"),
        (Annotated[Side, u8], "should stand beside an Enum of integers"),
        (Annotated[int, u8], "should stand beside an Enum of integers"),
        (Annotated[u8, fixed(3)], "u8 has no count"),
        (Annotated[bytes, fixed(3), rest], "already counted"),
        (Annotated[u8, counted(u8), fixed(3)], "already counted"),
        (Annotated[u8, counted(u8), max_length(3)], "u8 has no length to limit"),
        (Annotated[bytes, fixed(1 << 32)], "should be 0 to 4294967295"),
        (Annotated[bytes, fixed(-1)], "should be 0 to 4294967295"),
        (Annotated[bytes, counted(tu32)], "should be counted(u8) to counted(u64) or counted(bigsize)"),
        (Annotated[bytes, counted(point)], "should be counted(u8)"),
        (Annotated[u8, max_length(3)], "u8 has no length to limit"),
        (Annotated[str, max_length(-3)], "max_length should be a number from 0, not -3"),
        (3, "3 is not a field type"),
        ([], "[] is not a field type"),
    ],
)
def test_what_is_no_field_type(annotation, text):
    with pytest.raises(SchemaError) as caught:
        kind_of(annotation)
    assert text in str(caught.value)


def test_counts_by_number_and_by_name():
    assert apply_count(Octets(), 3) == Octets(Fixed(3))
    assert apply_count(Octets(), "size") == Octets(Named("size"))
    with pytest.raises(SchemaError, match="count=True should be a number"):
        apply_count(Octets(), True)
    with pytest.raises(SchemaError, match="max_length should be a number"):
        apply_max_length(Octets(), True)


def test_evaluating_strings():
    assert evaluate("tuple[u8, ...]", {"u8": u8}, {}) == tuple[u8, ...]
    assert evaluate(tuple["Order", ...], {}, {"Order": Order}) == tuple[Order, ...]
    with pytest.raises(NameError):
        evaluate("Missing", {}, {})
