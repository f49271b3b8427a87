"""The bolt codec: its bytes, BOLT 1's rules on TLV records and extensions, and what cannot be sent."""

from collections.abc import Sequence
from enum import Enum, IntEnum
from typing import Annotated, Literal

import pytest

from oddwire.codecs.base import MAX_VALUES
from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.codecs.bolt.reference_writing import write_message
from oddwire.errors import (
    EncodeError,
    MalformedMessage,
    NotMinimal,
    OutOfOrder,
    PayloadTooLarge,
    TrailingBytes,
    Truncated,
    UnknownRequiredRecord,
    ValueOutOfRange,
)
from oddwire.proto.keys import PrivateKey, ShortChannelId
from oddwire.proto.primitives import MAX_RECORDS, build_tlv_stream
from oddwire.records import replace
from oddwire.schema import (
    Message,
    bigsize,
    counted,
    field,
    fixed,
    max_length,
    message,
    point,
    rest,
    s16,
    schema_of,
    sciddir_or_pubkey,
    sha256,
    short_channel_id,
    subtype,
    tu32,
    tu64,
    u8,
    u16,
    u32,
    u64,
)

KEY = PrivateKey(b"\1" * 32).public_key()


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Side(Enum):
    BUY = "buy"


@subtype
class Order:
    price: u16
    note: str


@subtype
class Records:
    """A TLV stream of its own."""

    size: u8 | None = field(tlv=1, default=None)


@subtype
class Flag:
    """A TLV record whose presence says all."""


def plan_of(cls):
    return BoltCodec().compile(schema_of(cls))


def one(annotation, default=None):
    """A message of one field."""
    body = {"__annotations__": {"x": annotation}, "__module__": __name__}
    if default is not None:
        body["x"] = default
    return message(0x8C01, codec="bolt")(type(Message)("One", (Message,), body))


# BOLT 1, Fundamental Types, and how we count


@pytest.mark.parametrize(
    ("annotation", "value", "written"),
    [
        (u8, 255, "ff"),
        (u16, 1, "0001"),
        (u32, 2**32 - 1, "ffffffff"),
        (u64, 1, "0000000000000001"),
        (sciddir_or_pubkey, b"\1" + b"\7" * 8, "01" + "07" * 8),
        (sciddir_or_pubkey, b"\3" + b"\7" * 32, "03" + "07" * 32),
        (tuple[sciddir_or_pubkey, ...], (b"\2" * 33, bytes(9)), "0002" + "02" * 33 + "00" * 9),
        (s16, -2, "fffe"),
        (bigsize, 252, "fc"),
        (bigsize, 253, "fd00fd"),
        (bigsize, 2**64 - 1, "ffffffffffffffffff"),
        (bool, True, "01"),
        (bool, False, "00"),
        (bytes, b"\xab\xcd", "0002abcd"),
        (str, "é", "0002c3a9"),
        (Annotated[str, counted(u8)], "eur", "03657572"),
        (Annotated[bytes, counted(bigsize)], b"\x00" * 253, "fd00fd" + "00" * 253),
        (Annotated[bytes, fixed(3)], b"abc", "616263"),
        (Annotated[str, fixed(3)], "é1", "c3a931"),
        (Annotated[bytes, rest], b"abc", "616263"),
        (Annotated[str, ...], "abc", "616263"),
        (sha256, b"\x01" * 32, "01" * 32),
        (point, KEY, KEY.hex()),
        (short_channel_id, ShortChannelId(1, 2, 3), "0000010000020003"),
        (Annotated[Level, u16], Level.HIGH, "0002"),
        (Annotated[Level, bigsize], Level.HIGH, "02"),
        (Annotated[Literal[1, 300], u16], 300, "012c"),
        (Literal["no", "yes"], "yes", "0003796573"),
        (Side, Side.BUY, "0003627579"),
        (tuple[u8, ...], (1, 2), "00020102"),
        (list[u32], [1], "000100000001"),
        (Sequence[s16], (-1,), "0001ffff"),
        (Annotated[tuple[u16, ...], counted(u8)], (1, 2), "0200010002"),
        (Annotated[tuple[u16, ...], fixed(2)], (1, 2), "00010002"),
        (Annotated[tuple[u16, ...], rest], (1, 2), "00010002"),
        (tuple[bigsize, ...], (1, 253), "000201fd00fd"),
        (tuple[bool, ...], (True, False), "00020100"),
        (Annotated[tuple[str, ...], rest], ("a", ""), "0001610000"),
        (Order, Order(price=1, note="x"), "0001000178"),
        (tuple[Order, ...], (Order(price=1, note="x"), Order(price=2, note="")), "0002000100017800020000"),
        (Records, Records(size=7), "010107"),
        (Records, Records(), ""),
    ],
)
def test_the_bytes(annotation, value, written):
    cls = one(annotation)
    plan = plan_of(cls)
    payload = plan.encode(cls(x=value))
    assert payload == b"\x8c\x01" + bytes.fromhex(written)
    again = plan.decode(payload)
    assert again == cls(x=value)
    assert type(again.x) is type(value)


@message(0x8C03, codec="bolt")
class Stream(Message):
    number: u8
    amount: tu64 | None = field(tlv=1, default=None)
    order: Order | None = field(tlv=2, default=None)
    hashes: tuple[sha256, ...] | None = field(tlv=254, default=None)
    text: str = field(tlv=3, default="nothing")
    flag: Flag | None = field(tlv=70_000, default=None)
    numbers: list[u16] = field(tlv=5, default_factory=list)


STREAM = plan_of(Stream)


@pytest.mark.parametrize(
    ("sample", "written"),
    [
        (Stream(number=1), "010307" + b"nothing".hex() + "0500"),
        (Stream(number=1, amount=0, text=""), "01010003000500"),
        (Stream(number=1, amount=256, text="x", numbers=[1]), "010102010003017805020001"),
        (Stream(number=1, order=Order(price=1, note="x"), text=""), "010205000100017803000500"),
        (Stream(number=1, text="", hashes=(bytes(32),)), "0103000500fd00fe20" + "00" * 32),
        (Stream(number=1, text="", flag=Flag()), "0103000500fe0001117000"),
        (Stream(number=1, text="x" * 253), "0103fd00fd" + "78" * 253 + "0500"),
    ],
    ids=repr,
)  # fmt: skip
def test_records_ascend_whatever_the_order_of_the_fields(sample, written):
    assert STREAM.encode(sample).hex() == "8c03" + written
    assert STREAM.decode(STREAM.encode(sample)) == sample


def test_absent_records_take_their_defaults():
    assert STREAM.decode(b"\x8c\x03\x01") == Stream(number=1, text="nothing", numbers=[])
    first, second = STREAM.decode(b"\x8c\x03\x01"), STREAM.decode(b"\x8c\x03\x01")
    assert first.numbers is not second.numbers


def test_records_that_must_be_there():
    cls = one(u8, field(tlv=1))
    plan = plan_of(cls)
    assert plan.encode(cls(x=7)) == b"\x8c\x01\x01\x01\x07"
    with pytest.raises(MalformedMessage, match=r"\$.x: TLV record 1 is missing"):
        plan.decode(b"\x8c\x01")


def test_none_without_a_default_is_an_absent_record():
    cls = one(u8 | None, field(tlv=1))
    plan = plan_of(cls)
    assert plan.encode(cls(x=None)) == b"\x8c\x01"
    assert plan.decode(b"\x8c\x01") == cls(x=None)


def test_none_cannot_be_told_from_another_default():
    cls = one(u8 | None, field(tlv=1, default=7))
    plan = plan_of(cls)
    assert plan.decode(b"\x8c\x01") == cls(x=7)
    with pytest.raises(ValueOutOfRange, match=r"\$.x: None cannot be sent: an absent record means the default"):
        plan.encode(cls(x=None))


@message(0x8C05, codec="bolt")
class Closed(Message):
    number: u8


@message(0x8C07, codec="bolt")
class Open(Message):
    number: u8
    data: Annotated[bytes, rest]


CLOSED = plan_of(Closed)


def test_unknown_odd_records_are_ignored():
    # BOLT 1, Lightning Message Format: any message may go on with an extension.
    assert CLOSED.decode(b"\x8c\x05\x01\xc9\x01\x2a\xcb\x01\x04") == Closed(number=1)
    assert CLOSED.decode(b"\x8c\x05\x01\xfd\x01\x01\xfd\x00\xfd" + bytes(253)) == Closed(number=1)
    assert STREAM.decode(b"\x8c\x03\x01\x03\x00\x07\x01\xff") == Stream(number=1, text="")
    assert plan_of(Open).decode(b"\x8c\x07\x01\x02\x01\x00") == Open(number=1, data=b"\x02\x01\x00")


BROKEN = {
    "no field": (Closed, "", Truncated, "$.number", 2, "u8 needs 1 bytes, 0 remain"),
    "extension cut off": (Closed, "0101", Truncated, "$", 4, "bigsize needs at least 1 byte"),
    "extension too short": (
        Closed,
        "01c90201",
        Truncated,
        "$",
        4,
        "TLV record 201 has 2 bytes by its length, 1 remain",
    ),
    "even extension": (Closed, "01c90101ca0101", UnknownRequiredRecord, "$", 6, "TLV record 202 is unknown and even"),
    "repeated extension": (Closed, "01c90101c90102", OutOfOrder, "$", 6, "TLV record 201 repeats"),
    "type not minimal": (Closed, "01fd000101", NotMinimal, "$", 3, "bigsize 1 should not take 3 bytes"),
    "length not minimal": (Stream, "0103fd000178", NotMinimal, "$", 4, "bigsize 1 should not take 3 bytes"),
    "descending": (Stream, "0103000100", OutOfOrder, "$", 5, "TLV record 1 follows record 3"),
    "even record": (Stream, "010300040100", UnknownRequiredRecord, "$", 5, "TLV record 4 is unknown and even"),
    "tu64 not minimal": (Stream, "01010100", NotMinimal, "$.amount", 5, "should not start with a zero byte"),
    "tu64 too long": (Stream, "010109010101010101010101", TrailingBytes, "$.amount", 13, "at most 8 bytes"),
    "record too short": (Stream, "0102020001", Truncated, "$.order.note", 7, "u16 needs 2 bytes, 0 remain"),
    "record too long": (Stream, "0102060001000178ff", TrailingBytes, "$.order", 10, "1 bytes more than Order takes"),
    "flag too long": (Stream, "01fe000111700100", TrailingBytes, "$.flag", 9, "1 bytes more than Flag takes"),
    "half an element": (Stream, "0105030001ff", Truncated, "$.numbers[1]", 7, "u16 needs 2 bytes, 1 remain"),
    "half a hash": (Stream, "01fd00fe21" + "00" * 33, Truncated, "$.hashes[1]", 39, "sha256 needs 32 bytes, 1 remain"),
    "no bool": (bool, "02", MalformedMessage, "$.x", 2, "bool should be 00 or 01, not 02"),
    "no point": (point, "02" + "ff" * 32, MalformedMessage, "$.x", 2, "is not a point on secp256k1"),
    "neither": (sciddir_or_pubkey, "04" * 33, MalformedMessage, "$.x", 2, "should start with 00 to 03, not 04"),
    "no end": (sciddir_or_pubkey, "02" * 9, Truncated, "$.x", 2, "sciddir_or_pubkey needs 33 bytes, 9 remain"),
    "no start": (sciddir_or_pubkey, "", Truncated, "$.x", 2, "sciddir_or_pubkey needs 1 bytes, 0 remain"),
    "no level": (Annotated[Level, u8], "03", MalformedMessage, "$.x", 2, "Level should be one of 1, 2, not 3"),
    "no side": (Side, "0001ff", MalformedMessage, "$.x", 4, "str is not UTF-8"),
    "other side": (Side, "000178", MalformedMessage, "$.x", 2, "Side should be one of 'buy', not 'x'"),
    "not UTF-8": (str, "000278ff", MalformedMessage, "$.x", 5, "str is not UTF-8"),
    "too long": (Annotated[str, max_length(1)], "00026161", MalformedMessage, "$.x", 2, "at most 1 characters"),
    "too many": (Annotated[list[u8], max_length(1)], "00020101", MalformedMessage, "$.x", 2, "at most 1 elements"),
    "bigsize": (bigsize, "fd0001", NotMinimal, "$.x", 2, "bigsize 1 should not take 3 bytes"),
    "bytes cut off": (bytes, "000561", Truncated, "$.x", 4, "bytes needs 5 bytes, 1 remain"),
    "huge claim": (
        Annotated[tuple[u64, ...], counted(u64)],
        "ff" * 8,
        Truncated,
        "$.x",
        10,
        "18446744073709551615 elements of u64 need",
    ),
    "huge claim of parts": (
        Annotated[tuple[Order, ...], counted(bigsize)],
        "ff" * 9,
        Truncated,
        "$.x",
        11,
        "18446744073709551615 elements of Order need",
    ),
    "huge bytes": (Annotated[bytes, counted(u64)], "ff" * 8, Truncated, "$.x", 10, "bytes needs 18446744073709551615"),
    "in an element": (tuple[Order, ...], "0002000100017800", Truncated, "$.x", 4, "2 elements of Order need 8 bytes"),
    "deep in an element": (
        tuple[Order, ...],
        "00020001000178" + "0001000278",
        Truncated,
        "$.x[1].note",
        13,
        "str needs 2 bytes, 1 remain",
    ),
}


@pytest.mark.parametrize(("what", "body", "error", "path", "offset", "text"), BROKEN.values(), ids=BROKEN)
def test_broken_payloads(what, body, error, path, offset, text):
    cls = what if what in (Closed, Stream) else one(what)
    schema = schema_of(cls)
    with pytest.raises(MalformedMessage) as caught:
        plan_of(cls).decode(schema.type_id.to_bytes(2, "big") + bytes.fromhex(body))
    assert type(caught.value) is error
    assert text in str(caught.value)
    assert (caught.value.type_id, caught.value.path, caught.value.offset) == (schema.type_id, path, offset)


@message(0x8C09, codec="bolt")
class Named(Message):
    size: u8
    other: u16
    first: bytes = field(count="size")
    second: tuple[u16, ...] = field(count="size")
    third: tuple[Order, ...] = field(count="size")


def test_one_field_counts_several_others():
    plan = plan_of(Named)
    sample = Named(size=1, other=7, first=b"\xab", second=(3,), third=(Order(price=1, note=""),))
    assert plan.encode(sample).hex() == "8c09010007ab000300010000"
    assert plan.decode(plan.encode(sample)) == sample
    wrong = Named(size=1, other=7, first=b"", second=(3,), third=(Order(price=1, note=""),))
    with pytest.raises(ValueOutOfRange, match=r"\$.first: should be 1 bytes, as 'size' says, not 0"):
        plan.encode(wrong)


@pytest.mark.parametrize(
    ("annotation", "value", "error", "text"),
    [
        (u8, 256, ValueOutOfRange, "u8 should be 0 to 255, not 256"),
        (u8, True, EncodeError, "should be u8, not bool"),
        (bigsize, -1, ValueOutOfRange, "bigsize should be 0 to"),
        (bigsize, 2**64, ValueOutOfRange, "bigsize should be 0 to"),
        (bool, 1, EncodeError, "should be bool, not int"),
        (bytes, "x", EncodeError, "should be bytes, not str"),
        (bytes, bytes(65536), ValueOutOfRange, "should have at most 65535 bytes, as a u16 counts them, not 65536"),
        (Annotated[str, counted(u8)], "é" * 128, ValueOutOfRange, "at most 255 bytes, as a u8 counts them, not 256"),
        (Annotated[tuple[u8, ...], counted(u8)], (1,) * 256, ValueOutOfRange, "at most 255 elements"),
        (Annotated[str, fixed(2)], "é1", ValueOutOfRange, "should be 2 bytes, not 3"),
        (sciddir_or_pubkey, bytes(33), ValueOutOfRange, "sciddir_or_pubkey should be 9 bytes after 00, not 33"),
        (sciddir_or_pubkey, b"", ValueOutOfRange, "sciddir_or_pubkey should start with 00 to 03, not end there"),
        (sciddir_or_pubkey, b"\4" * 33, ValueOutOfRange, "sciddir_or_pubkey should start with 00 to 03, not 04"),
        (sha256, bytes(33), ValueOutOfRange, "sha256 should be 32 bytes, not 33"),
        (str, "\ud800", ValueOutOfRange, "lone surrogate"),
        (Annotated[str, max_length(1)], "ab", ValueOutOfRange, "at most 1 characters"),
        (point, KEY.to_bytes(), EncodeError, "should be point, not bytes"),
        (Annotated[Level, u8], 3, ValueOutOfRange, "should be one of LOW, HIGH, not 3"),
        (tuple[u8, ...], [1], EncodeError, "should be tuple, not list"),
        (tuple[u8, ...], (1, 300), ValueOutOfRange, r"$.x[1]: u8 should be 0 to 255"),
        (tuple[u16, ...], (1, True), EncodeError, r"$.x[1]: should be u16, not bool"),
        (Annotated[tuple[u8, ...], fixed(2)], (1,), ValueOutOfRange, "should be 2 elements, not 1"),
        (Order, {"price": 1}, EncodeError, "should be Order, not dict"),
        (tuple[Order, ...], (Order(price=1, note=3),), EncodeError, r"$.x[0].note: should be str, not int"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_sent(annotation, value, error, text):
    cls = one(annotation)
    with pytest.raises(EncodeError) as caught:
        plan_of(cls).encode(cls(x=value))
    assert type(caught.value) is error
    assert text in str(caught.value)
    assert caught.value.path.startswith("$.x")
    assert caught.value.type_id == 0x8C01


def test_subclasses_travel_as_what_they_are():
    cls = one(u8)
    assert plan_of(cls).encode(cls(x=Level.HIGH)) == b"\x8c\x01\x02"
    for annotation in (sha256, bytes):
        cls = one(annotation)
        assert plan_of(cls).encode(cls(x=bytearray(32))) == plan_of(cls).encode(cls(x=bytes(32)))


def test_a_message_of_another_class():
    with pytest.raises(EncodeError, match="should be Closed, not Stream"):
        CLOSED.encode(Stream(number=1))


@pytest.mark.parametrize("most", [100, 65534, 65535, 65536, 200_000])
def test_the_largest_payload(most):
    plan = BoltCodec().compile(replace(schema_of(Open), max_size=most))
    largest = Open(number=1, data=bytes(most - 3))
    assert len(plan.encode(largest)) == most
    assert plan.decode(plan.encode(largest)) == largest
    with pytest.raises(PayloadTooLarge) as caught:
        plan.encode(Open(number=1, data=bytes(most - 2)))
    assert str(caught.value) == f"Open 0x8c07: {most + 1} bytes; Open has at most {most}, its type included"
    with pytest.raises(MalformedMessage, match=f"{most + 1} bytes; Open has at most {most}"):
        plan.decode(plan.encode(largest) + b"x")


def test_a_message_that_is_always_too_large():
    cls = one(Annotated[bytes, fixed(100)])
    plan = BoltCodec().compile(replace(schema_of(cls), max_size=101))
    with pytest.raises(PayloadTooLarge, match=r"102 bytes; \w+ has at most 101"):
        plan.encode(cls(x=bytes(100)))


@message(0x8C31, codec="bolt")
class Bulk(Message):
    sizes: tuple[bigsize, ...] = field(tlv=1, default=())
    numbers: tuple[u32, ...] = field(tlv=3, default=())
    lists: tuple[Annotated[tuple[u8, ...], counted(u32)], ...] = field(tlv=5, default=())


@message(0x8C33, codec="bolt")
class Bare(Message):
    number: u8


@pytest.mark.parametrize(
    ("fits", "message", "path"),
    [
        (Bulk(sizes=(1,) * MAX_VALUES), Bulk(sizes=(1,) * (MAX_VALUES + 1)), "$.sizes"),
        (Bulk(numbers=(1,) * MAX_VALUES), Bulk(numbers=(1,) * (MAX_VALUES + 1)), "$.numbers"),
        (Bulk(lists=((1,) * (MAX_VALUES - 1),)), Bulk(lists=((1,) * MAX_VALUES,)), "$.lists[0]"),
        (Bulk(sizes=(1,) * MAX_VALUES), Bulk(sizes=(1,) * MAX_VALUES, numbers=(1,)), "$.numbers"),
    ],
    ids=["quick elements", "fixed elements", "nested", "of several arrays"],
)
def test_a_long_payload_holds_so_many_values_at_most(fits, message, path):
    plan = plan_of(Bulk)
    assert plan.decode(plan.encode(fits)) == fits
    with pytest.raises(PayloadTooLarge, match="holds more than 262144 values; bulk data should be bytes") as caught:
        plan.encode(message)
    assert (caught.value.type_id, caught.value.path) == (0x8C31, path)
    payload = b"\x8c\x31" + write_message(schema_of(Bulk), message)
    with pytest.raises(MalformedMessage, match="holds more than 262144 values") as refused:
        plan.decode(payload)
    assert (refused.value.type_id, refused.value.path) == (0x8C31, path)


@pytest.mark.parametrize("start", [b"\x8c\x31", b"\x8c\x33\x05"], ids=["a stream of its own", "an extension"])
def test_a_long_payload_holds_so_many_records_at_most(start):
    payload = start + build_tlv_stream([(2 * number + 101, b"") for number in range(MAX_RECORDS + 1)])
    plan = plan_of(Bulk if start == b"\x8c\x31" else Bare)
    plan.decode(payload[:-6])
    with pytest.raises(MalformedMessage, match="TLV stream holds more than 32768 records"):
        plan.decode(payload)


def test_tu_in_subtypes():
    @subtype
    class Part:
        number: u8
        amount: tu32

    cls = one(Part | None, field(tlv=1, default=None))
    plan = plan_of(cls)
    assert plan.encode(cls(x=Part(number=1, amount=256))).hex() == "8c010103010100"
    assert plan.decode(bytes.fromhex("8c010103010100")) == cls(x=Part(number=1, amount=256))
