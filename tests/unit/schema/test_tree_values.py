"""Single values of trees, each check by itself: what is sent or received, and the words for what is wrong."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest

from oddwire.errors import EncodeError, MalformedMessage, ValueOutOfRange
from oddwire.schema import as_text, fixed, max_length, point, s8, sciddir_or_pubkey, u64
from oddwire.schema.annotations import kind_of
from oddwire.schema.forms import JSON, MSGPACK
from oddwire.schema.kinds import Float, Octets
from oddwire.schema.tree_values import (
    badly_led,
    check_anything,
    check_array,
    check_choice,
    check_fit,
    check_length,
    check_surrogates,
    dump_float,
    dump_text,
    load_choice,
    load_float,
    load_opaque,
    unhex,
    unquote,
)


@pytest.mark.parametrize(
    ("annotation", "length", "text"),
    [
        (Annotated[bytes, fixed(2)], 1, "bytes should be 2 bytes, not 1"),
        (Annotated[str, max_length(2)], 3, "str should be at most 2 characters, not 3"),
        (Annotated[tuple[s8, ...], fixed(2)], 3, "tuple should be 2 elements, not 3"),
        (Annotated[dict[str, s8], max_length(1)], 2, "dict should be at most 1 keys, not 2"),
    ],
)
def test_lengths(annotation, length, text):
    with pytest.raises(ValueOutOfRange, match=text):
        check_length(kind_of(annotation), length, "$.x")
    with pytest.raises(MalformedMessage, match=text) as caught:
        check_fit(kind_of(annotation), length, "$.x")
    assert caught.value.path == "$.x"


def test_lengths_that_fit():
    check_length(kind_of(Annotated[str, fixed(2)]), 1, "$")  # it counts bytes: bolt's business
    check_fit(kind_of(Annotated[bytes, max_length(2)]), 2, "$")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "should start with 00 to 03, not end there"),
        (b"\4", "should start with 00 to 03, not 04"),
        (b"\1" + bytes(7), "should be 9 bytes after 01, not 8"),
        (b"\1" + bytes(8), ""),
        (b"\2" + bytes(32), ""),
    ],
)
def test_bytes_whose_first_says_how_many_there_are(data, text):
    assert badly_led(kind_of(sciddir_or_pubkey), data).removeprefix("sciddir_or_pubkey ") == text
    assert badly_led(Octets(), data) == ""


def test_classes_of_arrays():
    check_array(kind_of(tuple[s8, ...]), (), "$")
    with pytest.raises(EncodeError, match="should be tuple, not list"):
        check_array(kind_of(tuple[s8, ...]), [], "$")


def test_choices():
    kind = kind_of(Literal["yes", "no"])
    assert check_choice(kind, "yes", "$") == load_choice(kind, "yes", "$") == "yes"
    with pytest.raises(ValueOutOfRange, match="should be one of 'yes', 'no', not 'maybe'"):
        check_choice(kind, "maybe", "$")
    with pytest.raises(MalformedMessage, match="should be one of 'yes', 'no', not 'maybe'"):
        load_choice(kind, "maybe", "$")


@pytest.mark.parametrize("value", [1, 1.5, -(2**53)])
def test_floats(value):
    assert dump_float(Float(), value, "$") == load_float(Float(), value, "$") == value


@pytest.mark.parametrize("value", ["1", True, float("nan"), float("inf"), 2**53 + 1, 10**400])
def test_what_is_no_float(value):
    with pytest.raises(EncodeError):
        dump_float(Float(), value, "$")
    with pytest.raises(MalformedMessage):
        load_float(Float(), value, "$")


def test_strings():
    assert dump_text(kind_of(str), "é", "$") == "é"
    check_surrogates("é", JSON, "$")
    with pytest.raises(ValueOutOfRange, match="lone surrogate"):
        dump_text(kind_of(str), "\ud800", "$")
    with pytest.raises(EncodeError, match="should be str, not nil"):
        dump_text(kind_of(str), None, "$")
    with pytest.raises(MalformedMessage, match="lone surrogate"):
        check_surrogates("\ud800", JSON, "$")


def test_digits():
    kind = kind_of(Annotated[u64, as_text])
    assert unquote(kind, "-12", "$") == -12
    for wrong in (12, "1.0", "+1", "", None):
        with pytest.raises(MalformedMessage, match="u64 should be a string of digits, not"):
            unquote(kind, wrong, "$")
    with pytest.raises(MalformedMessage, match="u64 should be a string of digits without a 0 before them, not 012"):
        unquote(kind, "012", "$")


def test_hex_digits():
    assert unhex(Octets(), "00fF", "$") == b"\0\xff"
    for wrong in ("0", "0 0 ", "0x00", 7, None):
        with pytest.raises(MalformedMessage, match="bytes should be hex digits, not"):
            unhex(Octets(), wrong, "$")


def test_objects_of_fixed_size():
    key = "02" + "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    kind = kind_of(point)
    assert load_opaque(kind, key, JSON, "$") == load_opaque(kind, bytes.fromhex(key), MSGPACK, "$")
    with pytest.raises(MalformedMessage, match="should be point, not str"):
        load_opaque(kind, key, MSGPACK, "$")
    with pytest.raises(MalformedMessage, match="should be 33 bytes starting with 02 or 03"):
        load_opaque(kind, bytes(33), MSGPACK, "$")


def nested(depth):
    return [] if depth == 1 else [nested(depth - 1)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (nested(33), "nests more than 32 levels deep"),
        ([{"a": nested(31)}], "nests more than 32 levels deep"),
        ({1: 2}, "keys should be str"),
        ([2**64], "64 bits at most"),
        ([float("nan")], "should be finite"),
        ({"\ud800": 1}, "lone surrogate"),
        ([object()], "msgpack cannot carry object"),
    ],
)
def test_what_nothing_can_carry(value, text):
    assert text in check_anything(value, MSGPACK)


def test_what_anything_can_be():
    assert check_anything(nested(32), MSGPACK) == ""
    assert check_anything({"a": [b"x", None, -1.5, "é", True]}, MSGPACK) == ""
