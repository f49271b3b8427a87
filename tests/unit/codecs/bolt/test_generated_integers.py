"""The code generated for integers: each form, in its range, in as few bytes as it needs."""

from __future__ import annotations

from typing import Annotated

import pytest
from tests.support.generated_source import HANDED_ON, generated

from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.schema import Message, bigsize, field, message, s8, s64, scalar, schema_of, tu16, tu64, u8, u16, u64


@message(0x8C01, codec="bolt")
class Integers(Message):
    small: u8
    odd: Annotated[int, scalar("odd", python=int, size=3)]
    large: u64
    least: s8
    signed: s64
    size: bigsize
    data: bytes = field(count=bigsize)
    short: tu16 = field(tlv=1)
    long: tu64 = field(tlv=3)


def integers(**changes):
    values = {"small": 0, "odd": 0, "large": 0, "least": 0, "signed": 0, "size": 0, "data": b"", "short": 0, "long": 0}
    return Integers(**values | changes)


ENCODE, DECODE, _ = generated(schema_of(Integers))


@pytest.mark.parametrize(
    ("changes", "encoded"),
    [
        ({}, "8c01 00 000000 0000000000000000 00 0000000000000000 00 00 0100 0300"),
        (
            {"small": 255, "odd": 0x010203, "large": (1 << 64) - 1, "least": -128, "signed": -2, "size": 252},
            "8c01 ff 010203 ffffffffffffffff 80 fffffffffffffffe fc 00 0100 0300",
        ),
        (
            {"size": 253, "data": b"xy", "short": 300, "long": 1},
            "8c01 00 000000 0000000000000000 00 0000000000000000 fd00fd 027879 0102012c 030101",
        ),
        (
            {"size": (1 << 64) - 1, "data": bytes(253)},
            "8c01 00 000000 0000000000000000 00 0000000000000000 ffffffffffffffffff fd00fd" + "00" * 253 + "0100 0300",
        ),
    ],
)
def test_integers_in_their_range(changes, encoded):
    assert ENCODE(integers(**changes)) == bytes.fromhex(encoded)
    assert DECODE(bytes.fromhex(encoded)) == integers(**changes)
    assert BoltCodec().compile(schema_of(Integers)).encode(integers(**changes)) == bytes.fromhex(encoded)


@pytest.mark.parametrize("name", ["small", "odd", "large", "least", "signed", "size", "short", "long"])
@pytest.mark.parametrize("value", [True, 1 << 64, -1 << 63, None, 1.0])
def test_other_values_are_handed_on(name, value):
    if (name, value) == ("signed", -1 << 63):
        return
    with pytest.raises(HANDED_ON):
        ENCODE(integers(**{name: value}))


@pytest.mark.parametrize(
    "end", ["fd00fc 00 0100 0300", "00 fd0001 78 0100 0300", "00 00 010100 0300", "00 00 0103 0300"]
)
def test_integers_in_more_bytes_than_they_need_are_handed_on(end):
    with pytest.raises(HANDED_ON):
        DECODE(bytes.fromhex("8c01 00 000000 0000000000000000 00 0000000000000000" + end))


def test_every_cut_is_handed_on():
    payload = ENCODE(integers(size=1 << 32, data=bytes(300), short=300, long=300))
    for size in range(2, len(payload)):
        with pytest.raises(HANDED_ON):
            DECODE(payload[:size])


def test_an_integer_alone_in_its_array():
    @message(0x8C03, codec="bolt")
    class Sizes(Message):
        sizes: tuple[bigsize, ...]
        last: u16

    encode, decode, _ = generated(schema_of(Sizes))
    assert encode(Sizes(sizes=(1, 253), last=7)) == bytes.fromhex("8c03 0002 01 fd00fd 0007")
    assert decode(bytes.fromhex("8c03 0002 01 fd00fd 0007")) == Sizes(sizes=(1, 253), last=7)
