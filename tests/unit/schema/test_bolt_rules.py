"""Where bolt's errors say a field is: the one to change, also of classes in one another, with a remedy that works."""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum
from typing import Annotated, Any

import pytest

from oddwire.errors import SchemaError
from oddwire.schema import (
    Message,
    UnknownVariant,
    bigsize,
    bool8,
    counted,
    field,
    fixed,
    flag,
    message,
    rest,
    subtype,
    tagged,
    tu64,
    u8,
    u16,
)
from oddwire.schema.bolt_rules import BoltRules


@subtype(tag=1)
class Stream:
    value: tu64 | None = field(tlv=1, default=None)


@subtype(tag=2)
class Ending:
    size: u8
    stream: Stream


@subtype(tag=3)
class Resting:
    data: Annotated[bytes, rest]


@subtype(tag=4)
class Rate:
    rate: float


@subtype
class Middle:
    before: u8
    rate: Rate
    after: u8


@subtype
class Wrong:
    stream: Stream
    after: u8


def declared(**annotations: Any) -> type[Message]:
    body = {"__annotations__": annotations, "__module__": __name__, "__qualname__": "M"}
    return message(0x8C01, codec="bolt")(type(Message)("M", (Message,), body))


STREAM = "ends in a TLV stream, which should come last in what holds it, but"


@pytest.mark.parametrize(
    ("annotation", "where", "text", "remedy"),
    [
        (Stream, "M.a", f"Stream {STREAM} b follows", Annotated[Stream, counted(u16)]),
        (Ending, "M.a", f"Stream {STREAM} b follows", Annotated[Ending, counted(u16)]),
        (
            Annotated[Stream | None, flag(u8)],
            "M.a",
            f"Stream {STREAM} b follows",
            Annotated[Stream | None, counted(u16), flag(u8)],
        ),
        (tuple[Ending, ...], "M.a", f"Stream {STREAM} perhaps another one follows", None),
        (list[Resting | None], "M.a", "bolt cannot carry Resting or None: only a whole TLV record", None),
        (Resting, "M.a", "Resting.data takes the rest of what holds it, but b follows", None),
        (Annotated[bytes, rest], "M.a", "takes the rest of the message, so it should be the last field", None),
        (Annotated[Stream | Ending, tagged(u8)], "M.a", f"Stream {STREAM} b follows", None),
        (Annotated[Resting | UnknownVariant, tagged(u8)], "M.a", "an UnknownVariant takes the rest", None),
        (Rate, "M.a: Rate.rate", "bolt cannot carry float: BOLT 1 has no type for it", None),
        (tuple[Middle, ...], "M.a: Rate.rate", "bolt cannot carry float: BOLT 1 has no type for it", None),
        (Wrong, "M.a: Wrong.stream", f"Stream {STREAM} after follows", None),
    ],
)
def test_the_field_to_change_is_named(annotation, where, text, remedy):
    with pytest.raises(SchemaError) as caught:
        declared(a=annotation, b=u8)
    assert str(caught.value).startswith(f"{__name__}.{where}: {text}")
    if remedy is not None:
        assert declared(a=remedy, b=u8)


@pytest.mark.parametrize(
    ("annotation", "remedy", "meant"),
    [
        (Stream, "Annotated[Stream, counted(u16)]", Annotated[Stream, counted(u16)]),
        (
            Annotated[Resting | None, flag(bigsize)],
            "Annotated[Resting | None, counted(u16), flag(bigsize)]",
            Annotated[Resting | None, counted(u16), flag(bigsize)],
        ),
        (
            Annotated[Stream | None, flag(bool8)],
            "Annotated[Stream | None, counted(u16), flag(bool8)]",
            Annotated[Stream | None, counted(u16), flag(bool8)],
        ),
        (
            tuple[Ending, ...],
            "tuple[Annotated[Ending, counted(u16)], ...]",
            tuple[Annotated[Ending, counted(u16)], ...],
        ),
        (list[Ending], "list[Annotated[Ending, counted(u16)]]", list[Annotated[Ending, counted(u16)]]),
        (
            Annotated[Stream | Ending, tagged(u8)],
            "Annotated[Stream | Ending, tagged(u8, length=bigsize)]",
            Annotated[Stream | Ending, tagged(u8, length=bigsize)],
        ),
    ],
)
def test_remedies_are_as_one_writes_them_and_help(annotation, remedy, meant):
    with pytest.raises(SchemaError) as caught:
        declared(a=annotation, b=u8)
    assert str(caught.value).endswith(f": put its size in front, {remedy}")
    assert declared(a=meant, b=u8)


def test_what_ends_the_message_may_end_in_anything():
    assert declared(a=u8, b=Ending)
    assert declared(a=u8, b=Annotated[Resting | UnknownVariant, tagged(u8)])
    with pytest.raises(SchemaError, match=r"M\.b: tu64 should be the last value of a TLV record \(BOLT 1\): write u64"):
        declared(a=u8, b=tu64)


def test_records_of_the_message_follow_its_last_field():
    body = {
        "__annotations__": {"a": Ending, "b": u8 | None},
        "b": field(tlv=1, default=None),
        "__module__": __name__,
        "__qualname__": "M",
    }
    with pytest.raises(SchemaError, match=r"M\.a: Stream ends in .*, but a TLV stream follows"):
        message(0x8C01, codec="bolt")(type(Message)("M", (Message,), body))


def test_a_subtype_by_itself():
    BoltRules(Ending.__oddwire__).check(Ending.__oddwire__, "record")
    with pytest.raises(SchemaError, match=r"test_bolt_rules\.Rate\.rate: bolt cannot carry float"):
        BoltRules(Rate.__oddwire__).check(Rate.__oddwire__, "record")


class Side(IntEnum):
    BUY = 1


@subtype
class Large:
    data: Annotated[bytes, fixed(300)]


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "bolt needs to know the size of an int"),
        (tuple[tu64, ...], "an element, tu64, may take no bytes at all"),
        (Side, "bolt needs to know how Side travels: write Annotated[Side, u8]"),
        (Annotated[Side, tu64], "Side should travel as u8 to u64, s8 to s64 or bigsize"),
        (Annotated[Large, counted(u8)], "Large takes 300 bytes or more, but u8 counts to 255 only"),
        (Annotated[Side | None, flag(u8)], "bolt needs to know how Side travels"),
        (dict[str, u8], "bolt cannot carry dict: BOLT 1 has no type for it"),
        (Any, "bolt cannot carry plain value: BOLT 1 has no type for it"),
        (u8 | None, "bolt has no None among positional fields"),
        (str | int, "bolt cannot carry str or int: it writes no types"),
        (Decimal, "bolt cannot carry Decimal: "),
        (Annotated[float, field(ge=1)], "bolt cannot carry float"),
        (Annotated[Stream | Ending, tagged("is")], "bolt needs to know how the tag of Stream or Ending is written"),
        (
            Annotated[Large, tagged(u8, length=u8, tags={Large: 1})],
            "Large takes 300 bytes or more, but length=u8",
        ),
        (Annotated[Rate | Ending, tagged(u8, length=u8)], "Rate.rate: bolt cannot carry float"),
    ],
)
def test_what_bolt_cannot_carry(annotation, text):
    with pytest.raises(SchemaError) as caught:
        declared(a=annotation, b=u8)
    assert f"M.a: {text}" in str(caught.value)


def test_limits_stand_in_no_remedys_way():
    with pytest.raises(SchemaError, match=r"in front, tuple\[Annotated\[Ending, counted\(u16\)\], \.\.\.\]$"):
        declared(a=Annotated[tuple[Ending, ...], field(length=(1, 2))], b=u8)
