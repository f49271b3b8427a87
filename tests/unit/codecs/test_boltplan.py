"""The code generated for bolt, by itself: that it takes what is ordinary, and hands the rest on.

That it does the same as the exact way is shown for random schemas in tests/properties.
"""

import linecache
import struct

import pytest

from oddwire.codecs.base import Retry
from oddwire.codecs.bolt import BoltCodec
from oddwire.codecs.boltplan import dump_message, load_message
from oddwire.errors import CodecError
from oddwire.proto.keys import PrivateKey, ShortChannelId
from oddwire.schema import (
    Message,
    bigsize,
    field,
    message,
    point,
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
    first = next(line for line in SOURCE.splitlines() if "= _unpack" in line and "payload, 0" in line)
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
