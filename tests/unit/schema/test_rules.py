"""What each codec cannot carry is refused when the class is made, naming module, class and field."""

import types
from enum import Enum
from typing import Annotated, Any

import pytest

from oddwire.errors import SchemaError
from oddwire.schema import (
    Message,
    bigsize,
    counted,
    declare,
    field,
    fixed,
    point,
    rest,
    s8,
    schema_of,
    sha256,
    subtype,
    tu16,
    tu64,
    u8,
    u16,
    u32,
    u64,
)
from oddwire.schema.annotations import kind_of
from oddwire.schema.rules import count_of, least_size, takes_rest


class Colour(Enum):
    RED = 1


def made(codec, /, **contents):
    annotations = {name: value[0] if isinstance(value, tuple) else value for name, value in contents.items()}
    defaults = {name: value[1] for name, value in contents.items() if isinstance(value, tuple)}
    body = {"__annotations__": annotations, "__module__": __name__, **defaults}
    if codec == "subtype":
        return subtype(type("Part", (), body))
    return declare(types.new_class("Wrong", (Message,), exec_body=lambda ns: ns.update(body)), 0x8C01, codec=codec)


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
        ({"a": Open, "b": u8}, "Part.data: takes the rest of the message"),
        ({"a": tuple[Open, ...]}, "may take no bytes at all"),
        ({"a": Records, "b": u8}, "Part.value: a TLV stream should come last in what holds it"),
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


@pytest.mark.parametrize(
    ("annotation", "size"),
    [
        *[(u8, 1), (u16, 2), (u64, 8), (bigsize, 1), (tu64, 0), (bool, 1), (sha256, 32), (point, 33)],
        *[(bytes, 2), (Annotated[bytes, counted(bigsize)], 1), (Annotated[bytes, rest], 0), (str, 2)],
        *[(tuple[u64, ...], 2), (Annotated[tuple[u64, ...], fixed(3)], 24), (Annotated[Colour, u16], 2)],
        *[(Closed, 1), (Empty, 0), (Records, 0), (Truncated, 1)],
    ],
)
def test_the_least_bytes_a_value_takes(annotation, size):
    assert least_size(kind_of(annotation)) == size


def test_how_bytes_are_counted_where_nothing_is_said():
    kind = kind_of(bytes)
    assert count_of(kind) == kind_of(Annotated[bytes, counted(u16)]).count
    assert count_of(kind, is_record=True) == rest
    assert count_of(kind_of(Annotated[bytes, fixed(3)]), is_record=True) == fixed(3)


@pytest.mark.parametrize(("part", "rests"), [(Open, True), (Closed, False), (Empty, False), (Records, True)])
def test_what_takes_all_the_rest(part, rests):
    assert takes_rest(part.__oddwire__) is rests
    assert takes_rest(schema_of(made("bolt", a=u8, b=part))) is rests
