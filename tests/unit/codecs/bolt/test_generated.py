"""The code generated for bolt, by itself: that it takes what is ordinary, and hands the rest on.

That it does the same as the exact way is shown for random schemas in tests/properties.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Literal

import pytest
from tests.support.generated_source import HANDED_ON, generated

from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.proto.keys import PrivateKey, ShortChannelId
from oddwire.schema import (
    Message,
    bigsize,
    counted,
    field,
    flag,
    message,
    point,
    replace,
    rest,
    scalar,
    schema_of,
    sha256,
    short_channel_id,
    subtype,
    tagged,
    tu64,
    u8,
    u16,
    u32,
    u64,
    validates,
)


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


@subtype
class Node:
    value: u8
    children: tuple[Node, ...] = ()
    following: Annotated[Node | None, flag(u8)] = None


@subtype
class Records:
    amount: tu64 | None = field(tlv=1, default=None)
    inner: Records | None = field(tlv=3, default=None)


@message(0x8C07, codec="bolt")
class Boxes(Message):
    node: Node
    maybe: Annotated[u32 | None, flag(bigsize)]
    part: Annotated[Part, counted(u8)]
    wide: Annotated[Part, counted(bigsize)]
    records: Annotated[Records, counted(u16)]
    nodes: Annotated[list[Annotated[Node | None, flag(u8)]], rest, counted(bigsize)]
    last: u8


def chain(levels):
    made = Node(value=0)
    for _ in range(levels - 1):
        made = Node(value=1, children=(Node(value=2),), following=made)
    return made


BOXES = Boxes(
    node=chain(31),
    maybe=7,
    part=Part(first=1, second=2),
    wide=Part(first=3, second=4),
    records=Records(amount=300, inner=Records(inner=Records())),
    nodes=[None, chain(3)],
    last=9,
)
ENCODE_BOXES, DECODE_BOXES, BOXES_SOURCE = generated(schema_of(Boxes))


@pytest.mark.parametrize("change", [{}, {"maybe": None}, {"records": Records()}, {"nodes": []}, {"node": chain(1)}])
def test_flags_sizes_and_classes_in_themselves_need_nothing_else(change):
    values = {f.name: getattr(BOXES, f.name) for f in schema_of(Boxes).fields} | change
    boxes = Boxes(**values)
    assert DECODE_BOXES(ENCODE_BOXES(boxes)) == boxes
    assert BoltCodec().compile(schema_of(Boxes)).encode(boxes) == ENCODE_BOXES(boxes)


@pytest.mark.parametrize(
    "change",
    [
        {"node": chain(33)},
        {"nodes": [chain(5000)]},
        {"maybe": "x"},
        {"part": None},
        {"records": Records(inner=Part(first=1, second=2))},
    ],
)
def test_what_is_too_deep_or_wrong_in_a_box_is_handed_on(change):
    values = {f.name: getattr(BOXES, f.name) for f in schema_of(Boxes).fields} | change
    with pytest.raises(HANDED_ON):
        ENCODE_BOXES(Boxes(**values))


def test_every_cut_of_boxes_is_handed_on():
    payload = ENCODE_BOXES(BOXES)
    for size in range(2, len(payload)):
        with pytest.raises(HANDED_ON):
            DECODE_BOXES(payload[:size])
    for levels in (33, 20_000):
        with pytest.raises(HANDED_ON):
            DECODE_BOXES(b"\x8c\x07" + b"\1\0\0\1" * (levels - 1) + b"\1\0\0\0")


def test_what_does_not_nest_counts_no_levels():
    assert "levels" in BOXES_SOURCE
    assert "levels" not in SOURCE


class Side(IntEnum):
    BUY = 1
    SELL = 2


@subtype(tag=1)
class Buy:
    amount: Annotated[u16, field(ge=1)]

    @validates("amount")
    def check_amount(self, amount):
        if amount == 13:
            raise ValueError("should not be 13")


@subtype(tag=2)
class Sell:
    price: u8


@message(0x8C0D, codec="bolt")
class Values(Message):
    side: Annotated[Side, u8]
    word: Annotated[Literal[3, 5], u8]
    name: Annotated[str, scalar("name", python=str, wire=str, load=str.upper, dump=str.lower)]
    order: Annotated[Buy | Sell, tagged(u8)]
    last: Annotated[Side, u8] | None = field(tlv=1, default=Side.SELL)


VALUES = Values(side=Side.BUY, word=5, name="ALICE", order=Buy(amount=7))
ENCODE_VALUES, DECODE_VALUES, _ = generated(schema_of(Values))


def test_values_that_authors_define_need_nothing_else():
    payload = bytes.fromhex("8c0d 01 05 0005 616c696365 01 0007 010102")
    assert ENCODE_VALUES(VALUES) == payload
    assert DECODE_VALUES(payload) == VALUES
    assert DECODE_VALUES(payload[:-3]) == VALUES


@pytest.mark.parametrize(
    "change",
    [{"side": 1}, {"word": 4}, {"name": 3}, {"order": Buy(amount=0)}, {"order": Buy(amount=13)}, {"last": None}],
)
def test_values_that_do_not_fit_are_handed_on(change):
    with pytest.raises(HANDED_ON):
        ENCODE_VALUES(replace(VALUES, **change))


@pytest.mark.parametrize(("old", "new"), [("8c0d01", "8c0d03"), ("050005", "040005"), ("010007", "010000")])
def test_received_values_that_do_not_fit_are_handed_on(old, new):
    payload = ENCODE_VALUES(VALUES).hex()
    assert old in payload
    with pytest.raises(HANDED_ON):
        DECODE_VALUES(bytes.fromhex(payload.replace(old, new)))
