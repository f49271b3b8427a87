"""What each codec cannot carry is refused when the class is made, naming module, class and field."""

from enum import Enum
from typing import Annotated, Any

import pytest
from tests.support.classes import made

from oddwire.errors import SchemaError
from oddwire.schema import (
    bigsize,
    counted,
    field,
    fixed,
    flag,
    point,
    rest,
    s8,
    schema_of,
    subtype,
    tagged,
    tu16,
    tu64,
    u8,
    u16,
    u32,
)
from oddwire.schema.rules import check_alone


class Colour(Enum):
    RED = 1


Open = made("subtype", data=Annotated[bytes, rest])
Closed = made("subtype", number=u8)
Empty = made("subtype")
Records = made("subtype", value=(u8 | None, field(tlv=1, default=None)))
Truncated = made("subtype", number=u8, value=tu64)
Plain = made("subtype", number=int)


@pytest.mark.parametrize(
    "contents",
    [
        {"a": u8, "b": Annotated[bytes, rest]},
        {"a": u8, "b": Annotated[tuple[point, ...], rest]},
        {"a": u8, "b": Open},
        {"a": u8, "b": Records},
        {"a": Closed, "b": u8},
        {"a": tuple[Closed, ...]},
        {"a": (tu64, field(tlv=1)), "b": (Truncated, field(tlv=2)), "c": u8},
        {"a": (Empty, field(tlv=1)), "b": (Open, field(tlv=2)), "c": (Records, field(tlv=3))},
        {"a": u8, "b": (tuple[u16, ...], field(count="a"))},
        {"a": Annotated[Colour, u8], "b": Annotated[Colour, bigsize]},
        {"a": Annotated[tuple[Annotated[bytes, fixed(3)], ...], counted(u32)]},
        {},
    ],
)
def test_what_bolt_can_carry(contents):
    made("bolt", **contents)


@pytest.mark.parametrize(
    ("contents", "text"),
    [
        ({"a": int}, "Wrong.a: bolt needs to know the size of an int: write u64, s64, tu64, bigsize"),
        ({"a": float}, "Wrong.a: bolt cannot carry float: BOLT 1 has no type for it"),
        ({"a": dict[str, u8]}, "Wrong.a: bolt cannot carry dict"),
        ({"a": Any}, "Wrong.a: bolt cannot carry plain value"),
        ({"a": u8 | None}, "Wrong.a: bolt has no None among positional fields: make it a TLV record, field(tlv=N)"),
        ({"a": tuple[u8 | None, ...]}, "Wrong.a: bolt cannot carry u8 or None: only a whole TLV record can be None"),
        ({"a": Colour}, "Wrong.a: bolt needs to know how Colour travels: write Annotated[Colour, u8]"),
        ({"a": Annotated[Colour, tu16]}, "Wrong.a: Colour should travel as u8 to u64"),
        ({"a": tu16}, "Wrong.a: tu16 should be the last value of a TLV record (BOLT 1): write u16"),
        ({"a": tuple[tu16, ...]}, "may take no bytes at all"),
        ({"a": (tuple[tu16, ...], field(tlv=1))}, "may take no bytes at all"),
        ({"a": Truncated}, "Part.value: tu64 should be the last value of a TLV record"),
        ({"a": Annotated[bytes, rest], "b": u8}, "Wrong.a: takes the rest of the message, so it should be the last"),
        ({"a": Annotated[bytes, ...], "b": (u8, field(tlv=1))}, "Wrong.a: takes the rest of the message"),
        ({"a": Open, "b": u8}, "Wrong.a: Part.data takes the rest of what holds it, but b follows"),
        ({"a": tuple[Open, ...]}, "may take no bytes at all"),
        (
            {"a": Records, "b": u8},
            "Wrong.a: Part ends in a TLV stream, which should come last in what",
        ),
        ({"a": tuple[Empty, ...]}, "Wrong.a: an element, Part, may take no bytes at all"),
        ({"a": tuple[Annotated[bytes, fixed(0)], ...]}, "may take no bytes at all"),
        ({"a": Plain}, "Part.number: bolt needs to know the size of an int"),
        ({"a": (u8, field(tlv=1)), "b": (u8, field(tlv=1))}, "Wrong.b: TLV record 1 is 'a' already"),
        ({"a": (bytes, field(count="b"))}, "Wrong.a: count='b' should name an earlier field of type u8 to u64"),
        ({"a": s8, "b": (bytes, field(count="a"))}, "Wrong.b: count='a' should name an earlier field of type u8"),
        ({"a": str, "b": (bytes, field(count="a"))}, "Wrong.b: count='a' should name an earlier field"),
        ({"a": u8, "b": (bytes, field(count="a", tlv=1))}, "Wrong.b: count='a' is not for TLV records"),
        ({"a": (u8, field(tlv=1)), "b": (bytes, field(count="a"))}, "Wrong.b: count='a' should name an earlier field"),
    ],
)
def test_what_bolt_cannot_carry(contents, text):
    with pytest.raises(SchemaError) as caught:
        made("bolt", **contents)
    assert text in str(caught.value)
    assert str(caught.value).startswith(f"{__name__}.")


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_tlv_records_are_for_bolt(codec):
    with pytest.raises(SchemaError, match=r"Wrong.a: field\(tlv=1\) is for codec='bolt'"):
        made(codec, a=(u8, field(tlv=1)))
    made(codec, a=Records)  # a subtype may be part of messages of any codec


@pytest.mark.parametrize("contents", [{}, {"a": str}, {"a": bytes, "b": bytes}, {"a": bytes | None}])
def test_raw_has_one_field_of_bytes(contents):
    with pytest.raises(SchemaError, match="Wrong: codec='raw' should have exactly one field, of bytes"):
        made("raw", **contents)
    made("raw", data=bytes)


def test_another_codec_has_rules_of_its_own():
    assert schema_of(made("someone-elses", a=(float, field(tlv=1)))).codec == "someone-elses"


@subtype(tag=1)
class One:
    value: u8


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (str | bytes, "json cannot carry str or bytes"),
        (tuple[str | bytes | None, ...], "json cannot carry str or bytes"),
        (dict[str, str | bytes], "json cannot carry str or bytes"),
        (made("subtype", number=str | bytes), "Part.number: json cannot carry str or bytes"),
        (Annotated[made("subtype", number=str | bytes), tagged(u8, tags=None)], "has no tag"),
    ],
)
def test_unions_that_json_cannot_tell_apart(annotation, text):
    with pytest.raises(SchemaError) as caught:
        made("json", a=annotation)
    assert text in str(caught.value)


def test_unions_that_json_can_tell_apart():
    assert made("json", a=str | int, b=One | str, c=Annotated[One, tagged(u8)], d=tuple[One, ...])
    assert made("msgpack", a=str | bytes)


@pytest.mark.parametrize(
    ("size", "data", "text"),
    [
        (str, (bytes, field(count="size")), "should name an earlier field of type u8 to u64 or bigsize"),
        (s8, (bytes, field(count="size")), "should name an earlier field of type u8 to u64 or bigsize"),
        (u8, (bytes, field(count="size", tlv=1)), "is not for TLV records, which know their length"),
        (u8, (Annotated[bytes | None, flag(u8)], field(count="size")), "is not for what a flag leaves out"),
        ((u8, field(tlv=1)), (u8, field(tlv=1)), "TLV record 1 is 'size' already: choose another number"),
    ],
)
def test_counts_by_name_and_numbers_of_records(size, data, text):
    with pytest.raises(SchemaError, match=text):
        made("bolt", size=size, data=data)


def test_a_class_in_a_union_in_itself_needs_a_tag():
    with pytest.raises(SchemaError, match=r"Itself\.more: Itself or One: Itself has no tag"):

        @subtype
        class Itself:
            more: tuple[Annotated["Itself | One", tagged(u8)], ...]


def test_subtypes_by_themselves():
    check_alone(Records.__oddwire__)
    with pytest.raises(SchemaError, match=r"Part\.number: bolt needs to know the size of an int"):
        check_alone(Plain.__oddwire__)
