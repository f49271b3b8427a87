"""What stands behind a flag or behind its size: the bytes, and what is wrong with others."""

from __future__ import annotations

from typing import Annotated

import pytest

from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.codecs.json import JsonCodec
from oddwire.codecs.msgpack.codec import MsgpackCodec
from oddwire.errors import (
    EncodeError,
    MalformedMessage,
    NotMinimal,
    SchemaError,
    TrailingBytes,
    Truncated,
    UnknownRequiredRecord,
    ValueOutOfRange,
)
from oddwire.proto.keys import PrivateKey
from oddwire.schema import (
    Message,
    bigsize,
    bool8,
    counted,
    declare,
    field,
    fixed,
    flag,
    max_length,
    point,
    rest,
    s8,
    schema_of,
    sha256,
    subtype,
    tu16,
    tu32,
    u8,
    u16,
    u32,
    u64,
)
from oddwire.schema.bolt_csv import dump_csv

KEY = PrivateKey(b"\1" * 32).public_key()


@subtype
class Pair:
    one: u8
    two: u16


@subtype
class Records:
    amount: tu32 | None = field(tlv=1, default=None)
    text: str | None = field(tlv=3, default=None)


@subtype
class Open:
    number: u8
    rest: Annotated[bytes, rest]


@subtype
class Short:
    number: u8
    amount: tu16


def one(annotation, spec=None):
    """Return the plan of a message whose field ``x`` is of this type, and the class."""
    body = {"__annotations__": {"x": annotation, "last": u8}, "__module__": __name__, "__qualname__": "One"}
    if spec is not None:
        body["x"] = spec
    cls = declare(type(Message)("One", (Message,), body), 0x8C01, codec="bolt")
    return BoltCodec().compile(schema_of(cls)), cls


ROWS = [
    (Annotated[u8 | None, flag(u8)], None, "00"),
    (Annotated[u8 | None, flag(u8)], 7, "0107"),
    (Annotated[u8 | None, flag(u32)], 7, "0000000107"),
    (Annotated[u8 | None, flag(u64)], None, "00" * 8),
    (Annotated[u8 | None, flag(bigsize)], 7, "0107"),
    (Annotated[u8 | None, flag(bool8)], None, "00"),
    (Annotated[u8 | None, flag(bool8)], 7, "ff07"),
    (Annotated[Pair | None, counted(u8), flag(bool8)], Pair(one=1, two=2), "ff03010002"),
    (bool8, True, "ff"),
    (bool8, False, "00"),
    (tuple[bool8, ...], (True, False), "0002ff00"),
    (Annotated[bool8, counted(u8)], True, "01ff"),
    (Annotated[bytes | None, flag(u8)], b"hi", "0100026869"),
    (Annotated[bytes | None, fixed(2), flag(u8)], b"hi", "016869"),
    (Annotated[str | None, counted(u8), flag(u8)], "hi", "01026869"),
    (Annotated[str | None, flag(u8), counted(u8)], "hi", "050100026869"),
    (Annotated[str | None, flag(u8), counted(u8)], None, "0100"),
    (Annotated[Pair | None, flag(u8)], Pair(one=1, two=2), "01010002"),
    (Annotated[point | None, flag(u8)], KEY, "01" + KEY.hex()),
    (tuple[Annotated[u8 | None, flag(u8)], ...], (None, 1), "0002000101"),
    (Annotated[tuple[u16, ...] | None, flag(u8)], (1, 2), "01000200010002"),
    (Annotated[Pair, counted(u8)], Pair(one=1, two=2), "03010002"),
    (Annotated[Pair, counted(bigsize)], Pair(one=1, two=2), "03010002"),
    (Annotated[Pair | None, counted(u8), flag(u8)], Pair(one=1, two=2), "0103010002"),
    (Annotated[Pair | None, flag(u8), counted(u16)], Pair(one=1, two=2), "000401010002"),
    (Annotated[Pair | None, flag(u8), counted(u16)], None, "000100"),
    (Annotated[Records, counted(u16)], Records(), "0000"),
    (Annotated[Records, counted(u16)], Records(amount=256, text="a"), "000701020100030161"),
    (Annotated[Open, counted(u8)], Open(number=1, rest=b"hi"), "03016869"),
    (Annotated[Short, counted(u8)], Short(number=1, amount=0), "0101"),
    (Annotated[tu32, counted(u8)], 256, "020100"),
    (Annotated[u32, counted(u16)], 7, "000400000007"),
    (Annotated[bigsize, counted(u8)], 300, "03fd012c"),
    (Annotated[bool, counted(u8)], True, "0101"),
    (Annotated[sha256, counted(u8)], bytes(32), "20" + "00" * 32),
    (Annotated[point, counted(u16)], KEY, "0021" + KEY.hex()),
    (Annotated[bytes, rest, counted(u8)], b"hi", "026869"),
    (Annotated[str, rest, counted(u32)], "hi", "000000026869"),
    (Annotated[tuple[u16, ...], rest, counted(u8)], (1, 2), "0400010002"),
    (Annotated[list[Pair], rest, counted(u16)], [Pair(one=1, two=2)], "0003010002"),
    (Annotated[tuple[u16, ...], fixed(2), counted(u8)], (1, 2), "0400010002"),
    (Annotated[tuple[bytes, ...], rest, counted(u8), max_length(2)], (b"a", b""), "050001610000"),
    (tuple[Annotated[Records, counted(u8)], ...], (Records(), Records(text="a")), "00020003030161"),
    (
        Annotated[tuple[Annotated[Pair, counted(u8)], ...], rest, counted(u8)],
        (Pair(one=1, two=2),),
        "0403010002",
    ),
]


UNCOUNTED = [tuple[bool8, ...], tuple[Annotated[u8 | None, flag(u8)], ...], tuple[Annotated[Records, counted(u8)], ...]]


@pytest.mark.parametrize(("annotation", "value", "written"), ROWS)
def test_the_bytes_in_the_middle_of_a_message(annotation, value, written):
    plan, cls = one(annotation)
    payload = plan.encode(cls(x=value, last=9))
    assert payload == bytes.fromhex(f"8c01 {written} 09")
    assert plan.decode(payload) == cls(x=value, last=9)
    for size in range(2, len(payload)):
        with pytest.raises(Truncated):
            plan.decode(payload[:size])


@pytest.mark.parametrize(("annotation", "value", "written"), ROWS)
def test_the_bytes_in_a_record(annotation, value, written):
    body = bytes.fromhex(written)
    if annotation in UNCOUNTED:
        body = body[2:]  # alone in a record, an array needs no count
    plan, cls = one(annotation, field(tlv=5))
    payload = plan.encode(cls(x=value, last=9))
    assert payload == b"\x8c\x01\x09\x05" + bytes([len(body)]) + body
    assert plan.decode(payload) == cls(x=value, last=9)


@pytest.mark.parametrize(("annotation", "value", "written"), ROWS)
def test_other_codecs_write_them_plainly(annotation, value, written):
    for codec in (MsgpackCodec(), JsonCodec()):
        body = {"__annotations__": {"x": annotation}, "__module__": __name__}
        cls = declare(type(Message)("One", (Message,), body), 0x8C01, codec=codec.name)
        plan = codec.compile(schema_of(cls))
        assert plan.decode(plan.encode(cls(x=value))) == cls(x=value)


def test_records_behind_a_flag_are_always_there():
    plan, cls = one(Annotated[u8 | None, flag(u8)], field(tlv=1, default=None))
    assert plan.encode(cls(last=9)) == bytes.fromhex("8c0109010100")
    assert plan.decode(bytes.fromhex("8c0109010100")) == cls(last=9)
    assert plan.decode(bytes.fromhex("8c0109")) == cls(last=9)
    plan, cls = one(Annotated[u8 | None, flag(u8)], field(tlv=1, default=7))
    assert plan.encode(cls(x=None, last=9)) == bytes.fromhex("8c0109010100")
    assert plan.decode(bytes.fromhex("8c0109010100")).x is None
    assert plan.decode(bytes.fromhex("8c0109")).x == 7
    plan, cls = one(Annotated[u8 | None, flag(u8)], field(tlv=1))
    with pytest.raises(MalformedMessage, match="TLV record 1 is missing"):
        plan.decode(bytes.fromhex("8c0109"))


@pytest.mark.parametrize(
    ("annotation", "body", "error", "path", "offset", "text"),
    [
        (Annotated[u8 | None, flag(u8)], "020709", MalformedMessage, "$.x", 2, "the flag should be 0 or 1, not 2"),
        (Annotated[u8 | None, flag(u16)], "010009", MalformedMessage, "$.x", 2, "the flag should be 0 or 1, not 256"),
        (Annotated[u8 | None, flag(bigsize)], "fd000109", NotMinimal, "$.x", 2, "bigsize 1 should not take 3 bytes"),
        (Annotated[Pair | None, flag(u8)], "0101", Truncated, "$.x.two", 4, "u16 needs 2 bytes, 0 remain"),
        (bool, "0209", MalformedMessage, "$.x", 2, "bool should be 00 or 01, not 02"),
        (bool8, "", Truncated, "$.x", 2, "bool8 needs 1 bytes, 0 remain"),
        (Annotated[u8 | None, flag(bool8)], "", Truncated, "$.x", 2, "bool8 needs 1 bytes, 0 remain"),
        (Annotated[Pair, counted(u8)], "0401000209", TrailingBytes, "$.x", 6, "1 bytes more than Pair takes, by"),
        (Annotated[Pair, counted(u8)], "0201000209", Truncated, "$.x.two", 4, "u16 needs 2 bytes, 1 remain"),
        (Annotated[Pair, counted(u8)], "0901000209", Truncated, "$.x", 2, "Pair has 9 bytes by its size, 4 rem"),
        (Annotated[Records, counted(u8)], "03020100", UnknownRequiredRecord, "$.x", 3, "TLV record 2 is unknown"),
        (Annotated[Records, counted(u8)], "0401020001", NotMinimal, "$.x.amount", 5, "should not start with a zero"),
        (Annotated[tu32, counted(u8)], "050102030405", TrailingBytes, "$.x", 7, "tu32 is at most 4 bytes, 5 remain"),
        (
            Annotated[tuple[u16, ...], rest, counted(u8)],
            "0300010009",
            Truncated,
            "$.x[1]",
            5,
            "u16 needs 2 bytes, 1 remain",
        ),
        (tuple[Annotated[Pair, counted(u8)], ...], "000102010009", Truncated, "$.x[0].two", 6, "u16 needs 2 byt"),
        (tuple[Annotated[Pair, counted(u8)], ...], "0001020100", Truncated, "$.x", 4, "1 elements of Pair need 4"),
        (Annotated[str, rest, counted(u8)], "01ff09", MalformedMessage, "$.x", 3, "str is not UTF-8"),
    ],
)
def test_broken_payloads(annotation, body, error, path, offset, text):
    plan, _ = one(annotation)
    with pytest.raises(MalformedMessage, match=text.replace("(", r"\(")) as caught:
        plan.decode(bytes.fromhex("8c01" + body))
    assert type(caught.value) is error
    assert (caught.value.path, caught.value.offset) == (path, offset)


@pytest.mark.parametrize(
    ("annotation", "value", "error", "text"),
    [
        (Annotated[u8 | None, flag(u8)], "a", EncodeError, "should be u8, not str"),
        (bool8, 1, EncodeError, "should be bool8, not int"),
        (Annotated[Pair, counted(u8)], None, EncodeError, "should be Pair, not NoneType"),
        (Annotated[bytes, rest, counted(u8)], bytes(256), ValueOutOfRange, "at most 255 bytes, as a u8 counts them"),
        (Annotated[Open, counted(u8)], Open(number=1, rest=bytes(255)), ValueOutOfRange, "at most 255 bytes"),
        (Annotated[list[Pair], rest, counted(u8), max_length(1)], [Pair(one=1, two=2)] * 2, ValueOutOfRange, "at most"),
    ],
)
def test_what_cannot_be_sent(annotation, value, error, text):
    plan, cls = one(annotation)
    with pytest.raises(error, match=text) as caught:
        plan.encode(cls(x=value, last=1))
    assert caught.value.path == "$.x"


@pytest.mark.parametrize(
    ("annotation", "body", "value", "again"),
    [
        (bool8, "01", True, "ff"),
        (Annotated[u8 | None, flag(bool8)], "8007", 7, "ff07"),
        (tuple[Annotated[u8 | None, flag(bool8)], ...], "0002010700", (7, None), "0002ff0700"),
    ],
)
def test_any_byte_but_0_is_a_true_of_scodec(annotation, body, value, again):
    plan, cls = one(annotation)
    assert plan.decode(bytes.fromhex(f"8c01 {body} 09")) == cls(x=value, last=9)
    assert type(plan.decode(bytes.fromhex(f"8c01 {body} 09")).x) is type(value)
    assert plan.encode(cls(x=value, last=9)) == bytes.fromhex(f"8c01 {again} 09")


def test_an_extension_may_follow_what_took_no_rest():
    def last(annotation):
        body = {"__annotations__": {"x": annotation}, "__module__": __name__}
        return BoltCodec().compile(schema_of(declare(type(Message)("One", (Message,), body), 0x8C01, codec="bolt")))

    assert last(Annotated[u8 | None, flag(u8)]).decode(bytes.fromhex("8c01000100")).x is None
    assert last(Annotated[bytes | None, rest, flag(u8)]).decode(bytes.fromhex("8c01000100")).x is None
    with pytest.raises(UnknownRequiredRecord):
        last(Annotated[bytes | None, rest, flag(u8)]).decode(bytes.fromhex("8c01000200"))
    assert last(Annotated[bytes | None, rest, flag(u8)]).decode(bytes.fromhex("8c01010100")).x == b"\1\0"
    assert last(Annotated[bytes, rest, counted(u8)]).decode(bytes.fromhex("8c01000100")).x == b""


@pytest.mark.parametrize(
    ("annotation", "spec", "text"),
    [
        (Annotated[u8, flag(u8)], None, "flag beside u8 should stand beside X | None"),
        (Annotated[u8 | None, flag(u8), flag(u8)], None, "u8 or None has a flag already: give one"),
        (Annotated[u8 | None, flag(s8)], None, "should be flag(u8) to flag(u64), flag(bigsize) or flag(bool8)"),
        (Annotated[u8 | None, flag(tu16)], None, "should be flag(u8) to flag(u64), flag(bigsize) or flag(bool8)"),
        (Annotated[u8 | None, flag(bool)], None, "should be flag(u8) to flag(u64), flag(bigsize) or flag(bool8)"),
        (Annotated[u8 | None, flag(3)], None, "should be flag(u8) to flag(u64), flag(bigsize) or flag(bool8)"),
        (Annotated[Pair, counted(u8), counted(u8)], None, "Pair is already counted: give one count"),
        (Annotated[bytes, counted(u8), counted(u8)], None, "bytes is already counted: give one count"),
        (Annotated[Pair, fixed(3)], None, "Pair has no count"),
        (Annotated[dict[str, u8], counted(u8)], None, "dict has no count"),
        (Annotated[Pair, counted(tu16)], None, "should be counted(u8) to counted(u64)"),
        (Annotated[tuple[sha256, ...], fixed(10), counted(u8)], None, "takes 320 bytes or more, but u8 counts to 255"),
        (Annotated[tu16 | None, flag(u8)], None, "tu16 should be the last value of a TLV record"),
        (Annotated[Records | None, flag(u8)], None, "ends in a TLV stream, which should come last in what holds it"),
        (Annotated[bytes | None, rest, flag(u8)], None, "takes the rest of the message"),
        (tuple[u8 | None, ...], None, "or what has a flag, Annotated[X | None, flag(u8)]"),
        (u8 | None, None, "or put a flag in front, Annotated[X | None, flag(u8)]"),
        (Records, None, "put its size in front, Annotated[Records, counted(u16)]"),
        (Annotated[Annotated[float, 3] | None, flag(u8)], None, "bolt cannot carry float"),
        (Annotated[int, counted(u8)], None, "bolt needs to know the size of an int"),
    ],
)
def test_what_cannot_be(annotation, spec, text):
    with pytest.raises(SchemaError) as caught:
        one(annotation, spec)
    assert text in str(caught.value)


def test_a_count_by_name_is_not_for_what_a_flag_leaves_out():
    contents = {"number": u8, "x": Annotated[bytes | None, flag(u8)]}
    body = {"__annotations__": contents, "x": field(count="number"), "__module__": __name__}
    with pytest.raises(SchemaError, match=r"count='number' is not for what a flag leaves out: write counted\(u16\)"):
        declare(type(Message)("One", (Message,), body), 0x8C01, codec="bolt")


def test_csv_has_no_word_for_them():
    for annotation, text in (
        (Annotated[u8 | None, flag(u8)], "One.x: CSV cannot say that u8 or None comes behind a flag"),
        (Annotated[Pair, counted(u8)], "One.x: CSV cannot say that Pair comes behind its size"),
        (tuple[Annotated[Pair, counted(u8)], ...], "One.x: CSV cannot say that Pair comes behind its size"),
    ):
        with pytest.raises(SchemaError, match=text):
            dump_csv([one(annotation)[1]])


def test_bytes_of_no_size_are_read():
    plan, cls = one(Annotated[bytes, fixed(0)])
    assert plan.decode(plan.encode(cls(x=b"", last=1))) == cls(x=b"", last=1)
    plan, cls = one(Annotated[Annotated[bytes, fixed(0)] | None, flag(u8)])
    assert plan.decode(plan.encode(cls(x=b"", last=1))) == cls(x=b"", last=1)
