"""oddwire.codecs.bolt.subtypes."""

from __future__ import annotations

from typing import Annotated

import pytest

from oddwire import Message, SchemaError, bigsize, field, flag, message, rest, subtype, tagged, tu64, u8, u16
from oddwire.codecs import decode_subtype, encode_subtype
from oddwire.errors import (
    EncodeError,
    MalformedMessage,
    NotMinimal,
    OutOfOrder,
    TrailingBytes,
    Truncated,
    UnknownRequiredRecord,
    ValueOutOfRange,
)


@subtype
class Hop:
    delta: u16
    fee: bigsize


@subtype
class Route:
    hops: tuple[Hop, ...]
    note: str


@subtype
class Terms:
    price: tu64 | None = field(default=None, tlv=1)
    route: Route | None = field(default=None, tlv=2)
    blob: bytes | None = field(default=None, tlv=5)


@subtype
class Ending:
    kind: u8
    amount: tu64


@subtype
class Holder:
    ending: Ending


@subtype
class Rest:
    kind: u8
    data: Annotated[bytes, rest]


@subtype
class Tree:
    name: u8
    children: tuple[Tree, ...]
    twin: Annotated[Tree | None, flag(u8)]


@subtype(tag=0)
class Apple:
    weight: u8


@subtype(tag=7)
class Pears:
    weights: Annotated[bytes, rest]


@subtype
class Basket:
    fruit: Annotated[Apple | Pears, tagged(bigsize)]


@subtype
class Unfit:
    price: float


@message(0x8D91, codec="bolt")
class Said(Message):
    text: str


LEAF = Tree(name=2, children=(), twin=None)
HOPS = Route(hops=(Hop(delta=5, fee=253), Hop(delta=6, fee=1)), note="é")


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (Hop(delta=5, fee=253), "0005 fd00fd"),
        (HOPS, "0002 0005fd00fd 000601 0002c3a9"),
        (Terms(), ""),
        (Terms(price=0), "0100"),
        (Terms(price=256, route=HOPS, blob=b""), "01020100 020e 00020005fd00fd0006010002c3a9 0500"),
        (Ending(kind=1, amount=0), "01"),
        (Ending(kind=1, amount=513), "01 0201"),
        (Holder(ending=Ending(kind=1, amount=513)), "01 0201"),
        (Rest(kind=1, data=b"abc"), "01 616263"),
        (Basket(fruit=Apple(weight=9)), "00 09"),
        (Basket(fruit=Pears(weights=b"abc")), "07 616263"),
        (LEAF, "02 0000 00"),
        (Tree(name=1, children=(LEAF, LEAF), twin=LEAF), "01 0002 02000000 02000000 01 02000000"),
    ],
)
def test_what_is_written_and_read(value: object, data: str) -> None:
    assert encode_subtype(value).hex() == data.replace(" ", "")
    assert decode_subtype(type(value), bytes.fromhex(data)) == value


def test_it_is_what_is_in_a_message() -> None:
    from oddwire.codecs.bolt.codec import BoltCodec
    from oddwire.schema import schema_of

    @message(0x8D93, codec="bolt")
    class Offered(Message):
        number: u16
        terms: Terms

    terms = Terms(price=7, route=HOPS)
    payload = BoltCodec().compile(schema_of(Offered)).encode(Offered(number=3, terms=terms))
    assert payload == bytes.fromhex("8d93 0003") + encode_subtype(terms)


def test_it_may_be_longer_than_any_message() -> None:
    terms = Terms(blob=bytes(100_000))
    assert encode_subtype(terms) == bytes.fromhex("05fe000186a0") + bytes(100_000)
    assert decode_subtype(Terms, encode_subtype(terms)) == terms


def test_unknown_odd_records_are_left_out() -> None:
    terms = decode_subtype(Terms, bytes.fromhex("010107 0300 fd01f901ff"))
    assert terms == Terms(price=7)
    assert encode_subtype(terms).hex() == "010107"


@pytest.mark.parametrize(
    ("cls", "data", "error", "text"),
    [
        (Hop, "0005", Truncated, "$.fee: bigsize needs at least 1 byte, none remain (at byte 2)"),
        (Hop, "0005010203", TrailingBytes, "has 2 bytes more than Hop takes (at byte 3)"),
        (Hop, "0005fd0001", NotMinimal, "$.fee: bigsize 1 should not take 3 bytes (at byte 2)"),
        (Route, "0001000501", Truncated, "$.note: u16 needs 2 bytes, 0 remain (at byte 5)"),
        (Terms, "0600", UnknownRequiredRecord, "TLV record 6 is unknown and even"),
        (Terms, "05000100", OutOfOrder, "TLV record 1 follows record 5"),
        (Terms, "01020001", NotMinimal, "$.price: "),
        (Terms, "0207000000000000", Truncated, "TLV record 2 has 7 bytes by its length, 6 remain"),
        (Terms, "02050000000000", MalformedMessage, "$.route: TLV record 2 has 1 bytes more than Route takes"),
        (Ending, "01000000000000000001", MalformedMessage, "$.amount: "),
        (Basket, "0109", MalformedMessage, "$.fruit"),
    ],
)
def test_what_is_refused_when_read(cls: type, data: str, error: type[MalformedMessage], text: str) -> None:
    with pytest.raises(error) as caught:
        decode_subtype(cls, bytes.fromhex(data))
    assert text in str(caught.value)
    assert caught.value.type_id is None


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (Hop(delta=65536, fee=1), ValueOutOfRange, "$.delta: u16 should be 0 to 65535, not 65536"),
        (Terms(route=Route(hops=(Hop(delta="x", fee=1),), note="")), EncodeError, "$.route.hops[0].delta: "),  # type: ignore[arg-type]
    ],
)
def test_what_is_refused_when_written(value: object, error: type[EncodeError], text: str) -> None:
    with pytest.raises(error) as caught:
        encode_subtype(value)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("cls", "text"),
    [
        (Said, f"{__name__}.Said is a message: a Registry or its codec encodes and decodes it"),
        (int, "builtins.int should be a @subtype class"),
        (Unfit, f"{__name__}.Unfit.price: bolt cannot carry float: BOLT 1 has no type for it"),
    ],
)
def test_classes_that_are_no_subtypes_for_bolt(cls: type, text: str) -> None:
    for _ in range(2):  # also when the class was seen before
        with pytest.raises(SchemaError) as caught:
            decode_subtype(cls, b"")
        assert str(caught.value) == text
    with pytest.raises(SchemaError, match="should be a @subtype class"):
        encode_subtype(5)
    with pytest.raises(SchemaError, match="'Terms' should be a @subtype class"):
        decode_subtype("Terms", b"")  # type: ignore[arg-type]
