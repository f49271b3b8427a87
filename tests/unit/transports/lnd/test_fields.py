from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwire.transports.lnd.calls import CALLS
from oddwire.transports.lnd.fields import (
    BOOL,
    BYTES,
    I32,
    I64,
    STRING,
    U32,
    U64,
    Enum,
    Field,
    MapOf,
    Shape,
    WireError,
    read_varint,
    varint,
)

COLOR = Enum(RED=0, GREEN=1, BLUE=5)
INNER = Shape("inner", Field(1, "text", STRING), Field(2, "count", I32))
ALL = Shape(
    "all",
    Field(1, "flag", BOOL),
    Field(2, "small", U32),
    Field(3, "signed", I32),
    Field(4, "large", U64),
    Field(5, "difference", I64),
    Field(6, "text", STRING),
    Field(7, "data", BYTES),
    Field(8, "color", COLOR),
    Field(9, "inner", INNER),
    Field(10, "texts", STRING, repeated=True),
    Field(11, "inners", INNER, repeated=True),
    Field(12, "numbers", MapOf(U32, INNER)),
    Field(300, "blobs", MapOf(STRING, BYTES)),
)
SHAPES = [ALL, *{id(shape): shape for call in CALLS.values() for shape in (call.request, call.answer)}.values()]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
blobs = st.binary(max_size=8).map(lambda data: base64.b64encode(data).decode())
inners = st.fixed_dictionaries({"text": texts, "count": st.integers(-(2**31), 2**31 - 1)})
messages = st.fixed_dictionaries(
    {
        "flag": st.booleans(),
        "small": st.integers(0, 2**32 - 1),
        "signed": st.integers(-(2**31), 2**31 - 1),
        "large": st.integers(0, 2**64 - 1).map(str),
        "difference": st.integers(-(2**63), 2**63 - 1).map(str),
        "text": texts,
        "data": blobs,
        "color": st.sampled_from(["RED", "GREEN", "BLUE", 2, 7, -1]),
        "inner": st.none() | inners,
        "texts": st.lists(texts, max_size=3),
        "inners": st.lists(inners, max_size=3),
        "numbers": st.dictionaries(st.integers(0, 2**32 - 1).map(str), inners, max_size=3),
        "blobs": st.dictionaries(texts, blobs, max_size=3),
    }
)
ZERO = {
    "flag": False,
    "small": 0,
    "signed": 0,
    "large": "0",
    "difference": "0",
    "text": "",
    "data": "",
    "color": "RED",
    "inner": None,
    "texts": [],
    "inners": [],
    "numbers": {},
    "blobs": {},
}


@given(messages)
def test_what_is_written_is_read(message):
    assert ALL.decode(ALL.encode(message)) == message


@given(st.integers(0, 2**64 - 1))
def test_a_varint_is_read_as_written(number):
    data = varint(number)
    assert read_varint(data, 0) == (number, len(data))


@given(
    messages, st.lists(st.tuples(st.integers(13, 299), st.integers(0, 2**64 - 1) | st.binary(max_size=9)), max_size=4)
)
def test_unknown_fields_are_skipped(message, unknown):
    pieces = b""
    for number, value in unknown:
        if isinstance(value, int):
            pieces += varint(number << 3) + varint(value)
        elif len(value) == 8:
            pieces += varint(number << 3 | 1) + value
        elif len(value) == 4:
            pieces += varint(number << 3 | 5) + value
        else:
            pieces += varint(number << 3 | 2) + varint(len(value)) + value
    assert ALL.decode(pieces + ALL.encode(message)) == message
    assert ALL.decode(ALL.encode(message) + pieces) == message


@given(st.sampled_from(SHAPES), st.binary(max_size=64))
def test_any_bytes_give_a_message_or_one_kind_of_error(shape, data):
    with contextlib.suppress(WireError):
        message = shape.decode(data)
        assert shape.decode(shape.encode(message)) == message


@given(messages, st.data())
def test_damaged_bytes_give_a_message_or_one_kind_of_error(message, data):
    raw = bytearray(ALL.encode(message) or b"\0")
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    with contextlib.suppress(WireError):
        message = ALL.decode(damaged)
        assert ALL.decode(ALL.encode(message)) == message


def test_zero_values_take_no_bytes_and_are_there_when_read():
    assert ALL.decode(b"") == ZERO
    assert ALL.encode(ZERO) == b""
    assert ALL.encode({}) == b""


def test_a_message_that_is_there_and_empty_is_not_one_that_is_not_there():
    assert ALL.decode(ALL.encode({"inner": {}}))["inner"] == {"text": "", "count": 0}
    assert ALL.decode(b"\x62\x00")["numbers"] == {"0": {"text": "", "count": 0}}


@pytest.mark.parametrize(
    ("values", "data"),
    [
        ({"flag": True}, "0801"),
        ({"small": 150}, "109601"),
        ({"signed": -2}, "18feffffffffffffffff01"),
        ({"large": "18446744073709551615"}, "20ffffffffffffffffff01"),
        ({"large": 7}, "2007"),
        ({"text": "testing"}, "320774657374696e67"),
        ({"data": b"\xff"}, "3a01ff"),
        ({"data": "_w=="}, "3a01ff"),
        ({"color": "BLUE"}, "4005"),
        ({"inner": {"count": 150}}, "4a03109601"),
        ({"texts": ["a", ""]}, "520161" + "5200"),
        ({"numbers": {"3": {"count": 1}}}, "6206" + "0803" + "12021001"),
    ],
)
def test_bytes_are_those_of_protocol_buffers(values, data):
    assert ALL.encode(values).hex() == data


def test_of_a_field_that_comes_twice_the_last_counts_and_another_wire_type_is_skipped():
    assert ALL.decode(bytes.fromhex("10011002"))["small"] == 2
    assert ALL.decode(bytes.fromhex("1200"))["small"] == 0  # field 2 as bytes
    assert ALL.decode(bytes.fromhex("10ffffffffff7f"))["small"] == 2**32 - 1  # cut to its bits


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("08", "all ends within a number"),
        ("3203616", "all ends within field 6, which has 3 bytes"),
        ("00", "all has a field with the number 0"),
        ("0b", "all has a field of the wire type 3"),
        ("08" + "ff" * 10, "all has a number of more than 10 bytes"),
        ("3201ff", "text: is not UTF-8"),
        ("4a020aff", "inner: inner ends within a number"),
        ("09" + "00" * 7, "all ends within field 1, which has 8 bytes"),
        ("6202" + "1205", "numbers: entry ends within field 2, which has 5 bytes"),
    ],
)
def test_bytes_that_are_no_message(data, text):
    with pytest.raises(WireError) as caught:
        ALL.decode(bytes.fromhex(data + "1" * (len(data) % 2)))
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"larg": 1}, "has no field 'larg'; did you mean large?"),
        ({"zzz": 1}, "has no field 'zzz'; fields are flag, small, signed,"),
        ({"flag": 1}, "flag: should be true or false, not 1"),
        ({"small": -1}, "small: should be an integer from 0 to 4294967295, not -1"),
        ({"small": True}, "small: should be an integer from 0 to 4294967295, not True"),
        ({"signed": 2**31}, "signed: should be an integer from -2147483648 to 2147483647, not 2147483648"),
        ({"large": "1_0"}, "large: should be an integer from 0 to 18446744073709551615, not '1_0'"),
        ({"large": "9" * 5000}, "large: should be an integer from 0 to"),
        ({"large": 10**5000}, "large: should be an integer from 0 to 18446744073709551615, not int of 16610 bits"),
        ({"text": 1}, "text: should be text, not 1"),
        ({"text": "\ud800"}, "text: should be text, not '\\ud800'"),
        ({"data": "ff"}, "data: should be base64, not 'ff'"),
        ({"data": "é"}, "data: should be base64, not 'é'"),
        ({"color": "PINK"}, "color: should be one of RED, GREEN, BLUE, not 'PINK'"),
        ({"inner": 1}, "inner: should be an object with text, count, not 1"),
        ({"inner": {"tex": ""}}, "inner: has no field 'tex'; did you mean text?"),
        ({"texts": "ab"}, "texts: should be a list, not 'ab'"),
        ({"numbers": []}, "numbers: should be an object, not []"),
        ({"numbers": {"x": {}}}, "numbers: key: should be an integer from 0 to 4294967295, not 'x'"),
    ],
)
def test_values_that_do_not_fit(values, text):
    with pytest.raises(WireError) as caught:
        ALL.encode(values)
    assert str(caught.value).startswith(text)


def test_a_shape_without_fields_says_so():
    with pytest.raises(WireError) as caught:
        Shape("request").encode({"x": 1})
    assert str(caught.value) == "has no field 'x'; fields are none"
