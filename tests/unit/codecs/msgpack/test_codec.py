"""The msgpack codec: its bytes, its strictness, and bombs that must not go off."""

import tracemalloc
from typing import Annotated, Any

import msgpack
import pytest

from oddwire.codecs.base import MAX_VALUES
from oddwire.codecs.msgpack.codec import MAX_QUICK_ARRAY, MsgpackCodec
from oddwire.errors import (
    DecodeError,
    EncodeError,
    MalformedMessage,
    PayloadTooLarge,
    TrailingBytes,
    Truncated,
    ValueOutOfRange,
)
from oddwire.schema import Message, field, max_length, message, schema_of, sha256, subtype, u8, u16, u64

TYPE = b"\x8c\x01"


@subtype
class Order:
    price: u8


@message(0x8C01)
class Whole(Message):
    name: str
    orders: tuple[Order, ...] = ()
    numbers: tuple[u16, ...] = ()
    note: str | None = None
    extra: Any = None
    rate: float = field(default=1.0, key="r")


PLAN = MsgpackCodec().compile(schema_of(Whole))


def decode(tree):
    return PLAN.decode(TYPE + msgpack.packb(tree))


def test_the_bytes():
    whole = Whole(name="eur", orders=(Order(price=3),), numbers=(1, 300))
    payload = PLAN.encode(whole)
    assert payload == TYPE + bytes.fromhex(
        "84a46e616d65 a3657572a66f7264657273 91 81 a57072696365 03a76e756d62657273 92 01 cd012ca172 cb3ff0000000000000"
    )
    assert PLAN.decode(payload) == whole


def test_schemas_can_grow():
    assert decode({"name": "eur", "unknown": [{"deep": b"\x00"}]}) == Whole(name="eur")
    assert decode({"r": 2.0, "name": "eur"}) == Whole(name="eur", rate=2.0)
    with pytest.raises(MalformedMessage, match=r"\w+ 0x8c01, \$.name: is missing and has no default"):
        decode({"nam": "eur"})


def test_none():
    assert b"note" not in PLAN.encode(Whole(name="eur"))
    assert decode({"name": "eur", "note": None}) == Whole(name="eur")


def test_if_a_key_comes_twice_the_last_one_counts():
    assert PLAN.decode(TYPE + b"\x82\xa4name\xa1a\xa4name\xa1b") == Whole(name="b")
    large = b"\xcf\x00\x40\x00\x00\x00\x00\x00\x00"  # an int of 2**54 for a float: the exact way
    slow = PLAN.decode(TYPE + b"\x83\xa4name\xa1a\xa4name\xa1b\xa1r" + large)
    assert slow == Whole(name="b", rate=2.0**54)


def test_an_int_does_for_a_float():
    rate = decode({"name": "eur", "r": 3}).rate
    assert (rate, type(rate)) == (3.0, float)


BROKEN = {
    "no map": (msgpack.packb([1, 2]), MalformedMessage, "$", 2, "should be a map, not list"),
    "nothing": (b"", Truncated, "$", 2, "a value should follow"),
    "wrong type": (b"\x81\xa4name\x07", MalformedMessage, "$.name", 8, "should be str, not int"),
    "bytes for str": (b"\x81\xa4name\xc4\x01x", MalformedMessage, "$.name", 8, "should be str, not bytes"),
    "bool for int": (
        b"\x82\xa4name\xa1x\xa7numbers\x92\x01\xc3",
        MalformedMessage,
        "$.numbers[1]",
        20,
        "should be u16, not bool",
    ),
    "out of range": (
        b"\x82\xa4name\xa1x\xa6orders\x92\x81\xa5price\x01\x81\xa5price\xcd\x01\x00",
        MalformedMessage,
        "$.orders[1].price",
        33,
        "u8 should be 0 to 255, not 256",
    ),
    "NaN": (b"\x82\xa4name\xa1x\xa1r\xcb\x7f\xf8" + bytes(6), MalformedMessage, "$.rate", 12, "finite number"),
    "trailing bytes": (b"\x81\xa4name\xa1x\x00", TrailingBytes, "$", 10, "1 bytes follow the value"),
    "cut off": (b"\x81\xa4name\xa3xy", Truncated, "$", 9, "str needs 3 bytes, 2 remain"),
    "not UTF-8": (b"\x81\xa4name\xa2x\xff", MalformedMessage, "$", 10, "str is not UTF-8"),
    "surrogate": (b"\x81\xa4name\xa3\xed\xa0\x80", MalformedMessage, "$", 9, "str is not UTF-8"),
    "extension": (b"\x82\xa4name\xa1x\xa1z\xd4\x05x", MalformedMessage, "$", 12, "extension types are refused: d4"),
    "empty one": (b"\x82\xa4name\xa1x\xa1z\xc7\0\x05", MalformedMessage, "$", 12, "extension types are refused: c7"),
    "timestamp": (b"\x82\xa4name\xa1x\xa1z\xd6\xffxxxx", MalformedMessage, "$", 12, "extension types are refused: d6"),
    "key no str": (
        b"\x82\xa4name\xa1x\x07\x01",
        MalformedMessage,
        "$",
        2,
        "is not msgpack: int is not allowed for map key",
    ),
    "reserved byte": (b"\xc1", MalformedMessage, "$", 2, "no value starts with this byte: c1"),
    "too deep": (b"\x82\xa4name\xa1x\xa1z" + b"\x91" * 1100 + b"\x00", MalformedMessage, "$", 2, "nests too deep"),
    "anything too deep": (
        b"\x82\xa4name\xa1x\xa5extra" + b"\x91" * 40 + b"\x00",
        MalformedMessage,
        "$.extra",
        16,
        "nests more than 32 levels deep",
    ),
}


@pytest.mark.parametrize(("body", "error", "path", "offset", "text"), BROKEN.values(), ids=BROKEN)
def test_broken_payloads(body, error, path, offset, text):
    with pytest.raises(MalformedMessage) as caught:
        PLAN.decode(TYPE + body)
    assert type(caught.value) is error
    assert text in str(caught.value)
    assert (caught.value.type_id, caught.value.path, caught.value.offset) == (0x8C01, path, offset)


def test_what_cannot_be_sent():
    with pytest.raises(ValueOutOfRange, match=r"\w+ 0x8c01, \$.orders\[1\].price: u8 should be 0 to 255, not 256"):
        PLAN.encode(Whole(name="x", orders=(Order(price=1), Order(price=256))))
    with pytest.raises(EncodeError, match=r"\$.name: should be str, not int"):
        PLAN.encode(Whole(name=7))
    with pytest.raises(EncodeError, match="should be Whole, not Order"):
        PLAN.encode(Order(price=1))
    with pytest.raises(ValueOutOfRange, match="lone surrogate"):
        PLAN.encode(Whole(name="\ud800"))
    assert PLAN.decode(PLAN.encode(Whole(name="fine"))) == Whole(name="fine")  # a failure leaves nothing behind


@pytest.mark.parametrize("most", [1000, 65534, 65535, 65600, 200_000])
def test_the_largest_payload(most):
    @message(0x8C03, max_size=most)
    class Blob(Message):
        data: bytes

    plan = MsgpackCodec().compile(schema_of(Blob))
    spare = most - 2 - len(msgpack.packb({"data": bytes(most)})) + most
    largest = Blob(data=bytes(spare))
    assert len(plan.encode(largest)) == most
    assert plan.decode(plan.encode(largest)) == largest
    with pytest.raises(PayloadTooLarge) as caught:
        plan.encode(Blob(data=bytes(spare + 1)))
    assert str(caught.value) == f"Blob 0x8c03: {most + 1} bytes; Blob has at most {most}, its type included"
    with pytest.raises(MalformedMessage, match=f"{most + 1} bytes; Blob has at most {most}"):
        plan.decode(plan.encode(largest) + b"x")


def test_a_long_payload_holds_so_many_values_at_most():
    room = MAX_VALUES - 11  # the map, five keys, and the other values count too
    fits = Whole(name="x", extra=[0] * room)
    assert PLAN.decode(PLAN.encode(fits)) == fits
    with pytest.raises(PayloadTooLarge, match=r"\w+ 0x8c01: holds more than 262144 values; bulk data should be bytes"):
        PLAN.encode(Whole(name="x", extra=[0] * (room + 1)))
    with pytest.raises(MalformedMessage, match="holds more than 262144 values"):
        decode({"name": "x", "extra": [0] * (room + 7)})
    with pytest.raises(MalformedMessage, match="holds more than 262144 values"):
        decode({"name": "x", "unknown": [[0] * 1000] * 300})


def test_one_wrong_element_among_many_is_found():
    numbers = [1] * 200_000 + [-1]
    with pytest.raises(MalformedMessage, match=r"\$.numbers\[200000\]: u16 should be 0 to 65535, not -1") as caught:
        decode({"name": "x", "numbers": numbers})
    assert caught.value.offset == len(TYPE + msgpack.packb({"name": "x", "numbers": numbers})) - 1


@pytest.mark.parametrize("size", [MAX_QUICK_ARRAY, MAX_QUICK_ARRAY + 1, 20_000])
def test_long_arrays(size):
    whole = Whole(name="x", numbers=tuple(i % 300 for i in range(size)))
    assert PLAN.decode(PLAN.encode(whole)) == whole


def test_long_arrays_among_many():
    whole = Whole(name="x", extra=[[0] * 300 for _ in range(20)])  # more headers of arrays than are trusted unseen
    assert PLAN.decode(PLAN.encode(whole)) == whole


# Bombs: small claims of much, that a decoder must not believe: up to 537 MB of list where nothing comes.

BOMBS = {
    "one array": b"\xdd\x00\xff\xff\xff" + b"\xc0" * 10,
    "huge array": b"\xdd\xff\xff\xff\xff" + b"\xc0" * 10,
    "arrays in arrays": b"\xdd\x00\x00\xff\xff" * 1020 + b"\xc0" * 60_000,
    "short arrays in arrays": b"\xdc\xff\xff" * 1020 + b"\xc0" * 62_000,
    "just what is trusted": b"\xdc\x00\x80" * 1020 + b"\xc0" * 200,
    "arrays in maps": b"\x81\xa1a\xdc\xff\xff" * 500 + b"\xc0" * 60_000,
    "maps": b"\xdf\x00\x00\x7f\xff" * 1020 + b"\xc0" * 60_000,
    "strings": b"\x92\xdb\xff\xff\xff\xff" + b"x" * 60_000,
    "bytes": b"\x92\xc6\xff\xff\xff\xff" + b"x" * 60_000,
    "extensions": b"\x92\xc9\xff\xff\xff\xff\x05" + b"x" * 60_000,
    "deep": b"\x91" * 65_000,
    "deep maps": b"\x81\xa1a" * 20_000,
}
PLACES = {"all of it": b"", "an unknown key": b"\x82\xa4name\xa1x\xa1z", "anything": b"\x82\xa4name\xa1x\xa5extra"}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_bombs(bomb, place):
    payload = (TYPE + place + bomb)[:65535]
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError) as caught:
            PLAN.decode(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(caught.value, MalformedMessage)
    assert peak < 3_000_000


LONG_BOMBS = {
    "huge array": b"\xdd\xff\xff\xff\xff",
    "arrays in arrays": b"\xdd\x00\xff\xff\xff" * 1020,
    "array of much": b"\xdd\x00\xff\x00\x00",
    "empty maps": b"\xdd\x00\x7f\xff\xff" + b"\x80" * 0x7FFFFF,
    "maps in maps": b"\x81\xa1a" * 300_000,
    "deep": b"\x91" * 300_000,
    "strings": b"\xdb\xff\xff\xff\xff",
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("bomb", LONG_BOMBS.values(), ids=LONG_BOMBS)
def test_bombs_longer_than_a_message(bomb, place):
    payload = TYPE + place + bomb
    payload += b"\xc0" * (schema_of(Whole).max_size - len(payload))
    tracemalloc.start()
    try:
        with pytest.raises(MalformedMessage):
            PLAN.decode(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(payload) + 3_000_000, "its body, and what a message can cost"


def test_what_a_payload_can_really_hold_costs_no_more_than_it_must():
    payload = TYPE + b"\x82\xa4name\xa1x\xa1z" + b"\xdc\x01\x10" * 200 + b"\x90" * (271 * 200 + 1)
    assert len(payload) < 65535
    tracemalloc.start()
    try:
        assert PLAN.decode(payload) == Whole(name="x")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * len(payload)  # an empty list takes 56 bytes, and 8 in the list around it


def test_limits_of_fields():
    @message(0x8C05)
    class Limited(Message):
        name: Annotated[str, max_length(3)]
        digest: sha256
        number: u64 = 0

    plan = MsgpackCodec().compile(schema_of(Limited))
    fine = Limited(name="éèê", digest=bytes(32), number=2**64 - 1)
    assert plan.decode(plan.encode(fine)) == fine
    with pytest.raises(MalformedMessage, match="at most 3 characters, not 4"):
        plan.decode(b"\x8c\x05" + msgpack.packb({"name": "four", "digest": bytes(32)}))
    with pytest.raises(MalformedMessage, match="sha256 should be 32 bytes, not 31"):
        plan.decode(b"\x8c\x05" + msgpack.packb({"name": "a", "digest": bytes(31)}))
