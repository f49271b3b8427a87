"""The code generated for TLV streams: records in their places, unknown ones, and those handed on."""

from __future__ import annotations

import pytest
from tests.support.generated_source import HANDED_ON, generated

from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.errors import MalformedMessage, NotMinimal, OutOfOrder, TrailingBytes, Truncated, UnknownRequiredRecord
from oddwire.schema import Message, bigsize, field, message, schema_of, sha256, subtype, u8, u16


@message(0x8C05, codec="bolt")
class Streamed(Message):
    small: u16 | None = field(tlv=1, default=None)
    data: bytes = field(tlv=5, default=b"?")
    far: u8 | None = field(tlv=300, default=None)


STREAMED_PLAN = BoltCodec().compile(schema_of(Streamed))
_, DECODE_STREAM, _ = generated(schema_of(Streamed))
TYPE = b"\x8c\x05"
SMALL, DATA, FAR = b"\x01\x02\x00\x07", b"\x05\x03abc", b"\xfd\x01\x2c\x01\x09"


@pytest.mark.parametrize(
    ("stream", "values"),
    [
        (b"", (None, b"?", None)),
        (SMALL + DATA + FAR, (7, b"abc", 9)),
        (SMALL + FAR, (7, b"?", 9)),
        (DATA, (None, b"abc", None)),
        (SMALL + b"\xfd\x01\x2d\x00\xfd\x01\x2f\x01x", (7, b"?", None)),
        (b"\x05\xfd\x01\x00" + bytes(256), (None, bytes(256), None)),
    ],
)
def test_streams_as_they_are_sent(stream, values):
    assert DECODE_STREAM(TYPE + stream) == Streamed(small=values[0], data=values[1], far=values[2])


@pytest.mark.parametrize(("before", "after"), [(SMALL + b"\x03\x01x", DATA), (DATA + b"\xfd\x00\xff\x00", FAR)])
def test_a_known_record_after_an_unknown_one_is_handed_on(before, after):
    with pytest.raises(HANDED_ON):
        DECODE_STREAM(TYPE + before + after)
    decoded = STREAMED_PLAN.decode(TYPE + before + after)
    assert (decoded.small, decoded.data, decoded.far) == ((7, b"abc", None) if after == DATA else (None, b"abc", 9))


@pytest.mark.parametrize(
    ("stream", "error", "offset"),
    [
        (SMALL + SMALL, OutOfOrder, 6),
        (DATA + SMALL, OutOfOrder, 7),
        (FAR + b"\x07\x00", OutOfOrder, 7),
        (SMALL + b"\xfd\x01\x2e\x00", UnknownRequiredRecord, 6),
        (b"\xfd\x00\x01\x02\x00\x07", NotMinimal, 2),
        (b"\x05\xfd\x00\x03abc", NotMinimal, 3),
        (b"\x01\x03\x00\x07\x00", TrailingBytes, 6),
        (b"\x01\x01\x00", Truncated, 4),
        (b"\x05\x04abc", Truncated, 3),
        (SMALL + b"\x05", Truncated, 7),
        (SMALL + b"\xfd\x01", Truncated, 6),
    ],
)
def test_streams_that_are_wrong_are_handed_on(stream, error, offset):
    with pytest.raises(HANDED_ON):
        DECODE_STREAM(TYPE + stream)
    with pytest.raises(error) as caught:
        STREAMED_PLAN.decode(TYPE + stream)
    assert caught.value.offset == offset


@subtype
class Inner:
    data: bytes | None = field(tlv=1, default=None)
    more: sha256 | None = field(tlv=3, default=None)


@message(0x8C07, codec="bolt")
class Outer(Message):
    inner: Inner | None = field(tlv=1, default=None)
    size: bigsize | None = field(tlv=3, default=None)
    digests: tuple[sha256, ...] | None = field(tlv=5, default=None)


@pytest.mark.parametrize(
    "stream",
    [
        b"\x01\x02\x01\x03\x03\x01\x00",  # the inner record's value lies in what follows
        b"\x01\x01\x01\x03\x01\x00",  # and so does its length
        b"\x01\x03\x03\x20\x00\x03\x01\x00" + bytes(40),
        b"\x03\x00\x05\x20" + bytes(32),
        b"\x03\x01\xfd\x05\x20" + bytes(32),
        b"\x03\x02\x07\x05",
        b"\x05\x21" + bytes(33),
        b"\x05\x40" + bytes(63),
    ],
)
def test_nothing_is_read_past_the_end_of_a_record(stream):
    _, decode, _ = generated(schema_of(Outer))
    with pytest.raises(HANDED_ON):
        decode(b"\x8c\x07" + stream)
    with pytest.raises(MalformedMessage):
        BoltCodec().compile(schema_of(Outer)).decode(b"\x8c\x07" + stream)
