"""Markers beside a type: what each may be given, where it stands, and what is said otherwise."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Annotated, Any

import pytest

from oddwire.errors import SchemaError
from oddwire.schema import (
    Message,
    as_text,
    bigsize,
    counted,
    field,
    fixed,
    flag,
    max_length,
    message,
    rest,
    s8,
    scalar,
    subtype,
    tagged,
    tu16,
    u8,
    u16,
    u64,
    validates,
)
from oddwire.schema.annotations import kind_of
from oddwire.schema.kinds import Array, Fixed, Maybe, Named, Octets, Prefixed, Rest, Sized
from oddwire.schema.markers import (
    apply_as_text,
    apply_count,
    apply_flag,
    apply_integer,
    apply_limits,
    apply_max_length,
    integer_of,
    misplaced,
)
from oddwire.schema.value_kinds import Limited, Limits


class Side(IntEnum):
    BUY = 1
    SELL = 300


@subtype(tag=0)
class Lot:
    size: u8


@subtype(tag=1)
class Hop:
    fee: u8


def refused(annotation: Any, **default: Any) -> str:
    """Return what is said of a class with this annotation, and this default, if any."""
    body = {"__annotations__": {"value": annotation}, "__module__": __name__, "__qualname__": "Refused"}
    with pytest.raises(SchemaError) as caught:
        message(0x8C01)(type(Message)("Refused", (Message,), {**body, **default}))
    text = str(caught.value)
    assert text.startswith(f"{__name__}.Refused.value: ")
    return text.partition(": ")[2]


@pytest.mark.parametrize("base", [Lot, bytes, int, Lot | None, Lot | Hop, tuple[Lot, ...]])
@pytest.mark.parametrize(
    ("marker", "example"),
    [
        (counted, "Annotated[Order, counted(u16)]"),
        (fixed, "Annotated[bytes, fixed(32)]"),
        (flag, "Annotated[Order | None, flag(u8)]"),
        (max_length, "Annotated[str, max_length(80)]"),
        (tagged, "Annotated[Single | Disjoint, tagged(bigsize)]"),
        (field, "Annotated[u16, field(ge=1)]"),
        (scalar, "Annotated[int, scalar('sat', python=int, size=8)]"),
    ],
)
def test_a_marker_without_its_parentheses(base, marker, example):
    text = f"{marker.__name__} needs an argument, in parentheses: {example}"
    assert refused(Annotated[base, marker]) == text
    assert refused(tuple[Annotated[base, marker], ...]) == text


@pytest.mark.parametrize("function", [subtype, message, validates])
def test_functions_that_are_no_markers(function):
    assert refused(Annotated[int, function]) == f"{function.__name__} has no place beside a type"


def test_what_other_tools_have_there_is_ignored():
    assert kind_of(Annotated[bytes, print, len, re.compile, "text", 7, Side]) == Octets()


def test_a_marker_with_parentheses_that_has_none():
    with pytest.raises(SchemaError, match=r"^rest has no parentheses: Annotated\[bytes, rest\]$"):
        rest()
    with pytest.raises(SchemaError, match=r"^as_text has no parentheses: Annotated\[u64, as_text\]$"):
        as_text()


MARKERS = [counted(u8), fixed(2), flag(u8), max_length(2), tagged(u8), rest, as_text, counted, fixed, tagged]


@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_in_another_place(marker):
    assert "stands beside a type: Annotated[" in refused(marker)
    for base in (u8, bytes, Any):
        assert "stands beside a type: Annotated[" in refused(base, value=marker)
        assert refused(base, value=marker).endswith(", and not in place of a default")
    assert misplaced(7) == misplaced(print) == misplaced(validates) == ""


def test_field_without_its_parentheses_in_place_of_a_default():
    assert refused(u8, value=field) == "field needs its parentheses: = field(default=..., tlv=...)"


@pytest.mark.parametrize("given", [16, "u8", None, s8, tu16, int, rest, counted, u64.__metadata__, [], {}])
def test_what_counted_cannot_be_given(given):
    text = refused(Annotated[Lot, counted(given)])
    shown = {s8: "s8", tu16: "tu16", int: "int", counted: "counted"}.get(given if callable(given) else "")
    assert text.startswith(
        f"counted({shown or repr(given)[:100]}) should be counted(u8) to counted(u64) or counted(big"
    )
    assert ("fixed(16)" in text) is (given == 16)


@pytest.mark.parametrize("given", ["2", True, 1.5, None, u8, [], counted(u8)])
def test_what_fixed_cannot_be_given(given):
    text = refused(Annotated[bytes, fixed(given)])
    assert "should be a number of bytes or elements, fixed(32) say" in text
    assert ("counted(u16)" in text) is (given is u8)


@pytest.mark.parametrize("given", [8, "u8", s8, tu16, None, flag])
def test_what_flag_cannot_be_given(given):
    assert "should be flag(u8) to flag(u64), flag(bigsize) or flag(bool8)" in refused(
        Annotated[Lot | None, flag(given)]
    )


@pytest.mark.parametrize("given", ["3", True, -1, None, 1.5, u8])
def test_what_max_length_cannot_be_given(given):
    assert "max_length should be a number from 0, not " in refused(Annotated[bytes, max_length(given)])


@pytest.mark.parametrize("given", [1.5, True, [], {}, b"x", counted])
def test_what_count_cannot_be_given(given):
    text = "should be a number, u8 to u64, bigsize, rest, or the name of an earlier field"
    assert refused(bytes, value=field(count=given)).endswith(text)


@pytest.mark.parametrize("annotation", [Annotated[u8, tagged(u8)], Annotated[Lot | Hop, tagged(u8), tagged(u8)]])
def test_tags_beside_what_has_none(annotation):
    assert refused(annotation).endswith(": leave the last tagged(...) away")


def test_kinds_that_markers_make():
    u16_kind = integer_of(u16)
    assert apply_count(Octets(), counted(u16)) == Octets(Prefixed(u16_kind))
    assert apply_count(Octets(), "size") == Octets(Named("size"))
    assert apply_count(Octets(), ...) == apply_count(Octets(), rest) == Octets(Rest())
    assert apply_count(Octets(Fixed(2)), u16) == Sized(Octets(Fixed(2)), u16_kind)
    assert apply_count(kind_of(Lot), counted(bigsize)) == Sized(kind_of(Lot), integer_of(bigsize))
    assert apply_flag(Maybe(Octets()), u16) == Maybe(Octets(), u16_kind)
    assert apply_max_length(Maybe(Octets()), 3) == Maybe(Octets(max_length=3))
    assert apply_as_text(Maybe(kind_of(u8))).inner.quoted
    assert apply_integer(Maybe(kind_of(Side)), u16_kind).inner.base == u16_kind
    assert apply_limits(Octets(), Limits()) == Octets()
    assert apply_limits(Maybe(kind_of(u8)), Limits(ge=1)) == Maybe(Limited(kind_of(u8), Limits(ge=1)))
    limited = Limited(kind_of(Lot), Limits())
    assert apply_count(limited, counted(u16)) == Sized(limited, u16_kind)
    assert apply_count(Limited(Array(kind_of(u8), tuple), Limits()), 2).inner.count == Fixed(2)
    with pytest.raises(SchemaError, match="has the value 300, which u8 cannot hold"):
        apply_integer(kind_of(Side), integer_of(u8))
    with pytest.raises(SchemaError, match="is already counted: give one count"):
        apply_count(apply_count(Octets(), u16), u16)


@pytest.mark.parametrize(
    ("default", "text"),
    [
        (field(default_factory=None), "should have a default, or a default_factory that can be called, not both"),
        (field(default_factory=3), "should have a default, or a default_factory that can be called, not both"),
        (
            field(default_factory=lambda _: 0),
            "its default_factory, which takes no arguments, raised TypeError: ",
        ),
        (field(default_factory=lambda: 1 / 0), "raised ZeroDivisionError: division by zero"),
        (field(default_factory=str), "the default does not fit: should be u8, not str"),
    ],
)
def test_factories_of_defaults(default, text):
    assert text in refused(u8, value=default)


@pytest.mark.parametrize("argument", [{"name": 5}, {"name": ""}, {"name": []}, {"spec": "yes"}, {"spec": 1}])
def test_what_a_message_cannot_be_given(argument):
    class Wrong(Message):
        size: u8

    with pytest.raises(SchemaError, match=f"Wrong: {next(iter(argument))} should be (a text|True or False), not "):
        message(0x8C01, **argument)(Wrong)
