"""The code generated for bolt, by itself: that it takes what is ordinary, and hands the rest on.

That it does the same as the exact way is shown for random schemas in tests/properties.
"""

import linecache
import struct

import pytest

from oddwire.codecs.base import Retry
from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.codecs.bolt.generated import dump_message, load_message
from oddwire.codecs.bolt.struct_runs import FEW
from oddwire.errors import (
    CodecError,
    MalformedMessage,
    NotMinimal,
    OutOfOrder,
    TrailingBytes,
    Truncated,
    UnknownRequiredRecord,
)
from oddwire.proto.keys import PrivateKey, ShortChannelId
from oddwire.schema import (
    Message,
    bigsize,
    field,
    message,
    point,
    rest,
    schema_of,
    sha256,
    short_channel_id,
    subtype,
    tu64,
    u8,
    u16,
    u32,
    u64,
)
from oddwire.schema.source import Source


@subtype
class Part:
    first: u8
    second: u16


@message(0x8C01, codec="bolt")
class Whole(Message):
    number: u64
    part: Part
    digest: sha256
    key: point
    place: short_channel_id
    flag: bool
    text: str
    small: u32
    size: bigsize
    parts: tuple[Part, ...]
    numbers: tuple[u16, ...]
    amount: tu64 | None = field(tlv=1, default=None)
    data: bytes | None = field(tlv=3, default=None)


WHOLE = Whole(
    number=1,
    part=Part(first=2, second=3),
    digest=bytes(32),
    key=PrivateKey(b"\1" * 32).public_key(),
    place=ShortChannelId(1, 2, 3),
    flag=True,
    text="é",
    small=4,
    size=300,
    parts=(Part(first=5, second=6),),
    numbers=(7, 8),
    amount=9,
    data=b"\x0a",
)


HANDED_ON = (Retry, CodecError, struct.error, AttributeError, LookupError, OverflowError, TypeError, ValueError)


def generated(schema):
    source = Source()
    with source.function("def encode(message):"):
        source.line(f"return {dump_message(source, schema, 'message')[0]}")
    with source.function("def decode(payload):"):
        source.line(f"return {load_message(source, schema, 'payload')}")
    title = f"{schema.name} for test_boltplan"
    encode, decode = source.compile("encode", title), source.compile("decode", title)
    return encode, decode, "".join(linecache.getlines(f"<oddwire {title}>"))


ENCODE, DECODE, SOURCE = generated(schema_of(Whole))


def test_ordinary_messages_need_nothing_else():
    assert DECODE(ENCODE(WHOLE)) == WHOLE
    assert BoltCodec().compile(schema_of(Whole)).encode(WHOLE) == ENCODE(WHOLE)


def test_neighbours_of_fixed_size_are_read_and_written_together():
    # A u64, a subtype of u8 and u16, a hash, a point, a channel, a bool, and the length of the text that follows.
    first = next(line for line in SOURCE.splitlines() if "= _unpack" in line and "payload, 2" in line)
    assert len(first.split("=")[0].strip(" ,").split(",")) == 8
    assert SOURCE.count("(payload, ") < len(schema_of(Whole).fields)


def test_a_message_of_fixed_size_is_one_struct():
    @message(0x8C03, codec="bolt")
    class Fixed(Message):
        first: u8
        second: u64
        third: Part

    encode, decode, source = generated(schema_of(Fixed))
    sample = Fixed(first=1, second=2, third=Part(first=3, second=4))
    assert decode(encode(sample)) == sample
    assert source.count("= _unpack") == 1
    assert source.count("return _pack") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"number": True},
        {"number": 1 << 64},
        {"part": None},
        {"digest": bytes(31)},
        {"key": b"\x02" * 33},
        {"flag": 1},
        {"text": "\ud800"},
        {"text": 3},
        {"size": -1},
        {"parts": [Part(first=1, second=2)]},
        {"parts": (3,)},
        {"numbers": (1, True)},
        {"numbers": (70_000,)},
        {"amount": 1 << 64},
        {"data": "x"},
    ],
)
def test_anything_else_is_handed_on(change):
    values = {f.name: getattr(WHOLE, f.name) for f in schema_of(Whole).fields} | change
    with pytest.raises(HANDED_ON):
        ENCODE(Whole(**values))


def test_every_cut_is_handed_on():
    payload = ENCODE(WHOLE)
    whole_stream = len(payload) - len(b"\x01\x01\x09\x03\x01\x0a")
    for size in range(2, len(payload)):
        if size in (whole_stream, whole_stream + 3):  # between records: what follows is absent
            assert DECODE(payload[:size]).data is None
            continue
        with pytest.raises(HANDED_ON):
            DECODE(payload[:size])


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


@message(0x8C09, codec="bolt")
class Arrays(Message):
    counted: tuple[sha256, ...]
    listed: list[sha256]
    fixed: tuple[sha256, ...] = field(count=17)
    last: tuple[sha256, ...] = field(count=rest)


@pytest.mark.parametrize("number", [0, 1, FEW - 1, FEW, 40])
def test_few_elements_and_many(number):
    encode, decode, _ = generated(schema_of(Arrays))
    digests = [bytes([i]) * 32 for i in range(1, number + 1)]
    sample = Arrays(counted=tuple(digests), listed=digests, fixed=(bytes(32),) * 17, last=tuple(digests))
    payload = encode(sample)
    assert decode(payload) == sample
    assert BoltCodec().compile(schema_of(Arrays)).decode(payload) == sample
    with pytest.raises(HANDED_ON):
        decode(payload + b"?")
    for wrong in (bytearray(32), bytes(31), None):
        with pytest.raises(HANDED_ON):
            encode(Arrays(counted=(*digests, wrong), listed=[], fixed=sample.fixed, last=()))
