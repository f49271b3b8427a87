from __future__ import annotations

from typing import Any

import pytest

from oddwire import Message, field, message, subtype, u16, u64
from oddwire.codecs.base import Codec, Plan
from oddwire.codecs.envelope import enveloped
from oddwire.errors import EncodeError, SchemaError
from oddwire.testing import assert_wire
from oddwire.testing.wire import payload_of, plan_of


@message(0x8C01)
class Hello(Message):
    name: str


@subtype
class Order:
    price: u64
    note: str = ""


@message(0x8C03)
class Book(Message):
    orders: list[Order]
    by_name: dict[str, int] = field(default_factory=dict)


@message(0x8C05, codec="bolt")
class Pair(Message):
    left: u16
    right: u16


@message(0x8C07, codec="json")
class Ratio(Message):
    value: float


@message(0x8C0B, codec=enveloped("json", magic=b"HIVE", envelope={"version": 1}, body="payload"))
class Wrapped(Message):
    name: str


@message(0x8C09, codec="loud")
class Loud(Message):
    name: str


class LoudCodec(Codec):
    """Writes capitals, and reads what it wrote as such."""

    name = "loud"

    def compile(self, schema: Any) -> Plan:
        prefix = schema.type_id.to_bytes(2, "big")
        return Plan(
            encode=lambda message: prefix + message.name.upper().encode(),
            decode=lambda payload: Loud(name=payload[2:].decode()),
        )


def failure(message: Message, expected: str | bytes, **keywords: Any) -> list[str]:
    with pytest.raises(AssertionError) as caught:
        assert_wire(message, expected, **keywords)
    return [line.strip() for line in str(caught.value).splitlines()]


def test_bytes_that_are_right() -> None:
    assert_wire(Hello(name="ann"), "8c01 81 a46e616d65 a3616e6e")
    assert_wire(Hello(name="ann"), "8C01\n81 A4 6E61\t6d65a3616e6e")
    assert_wire(Pair(left=1, right=2), bytes.fromhex("8c0500010002"))
    assert_wire(Loud(name="ANN"), "8c09414e4e", codecs=[LoudCodec()])
    assert_wire(Wrapped(name="ann"), plan_of(Wrapped).encode(Wrapped(name="ann")))


def test_the_field_and_the_offset_that_differ() -> None:
    assert failure(Hello(name="ann"), "8c01 81 a46e616d65 a3616d6e") == [
        "Hello 0x8c01 is not what was expected",
        "name: 'ann', and the bytes that were expected say 'amn'",
        "expected  8c0181a46e616d65a3616d6e",
        "encoded   8c0181a46e616d65a3616e6e",
        "^^ at byte 10 of 12 and 12",
    ]


def test_the_mark_is_below_the_byte() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_wire(Pair(left=1, right=2), "8c0500010003")
    _, _, expected, encoded, mark = str(caught.value).split("\n")
    place = mark.index("^^")
    assert (expected[place : place + 2], encoded[place : place + 2]) == ("03", "02")


def test_nested_fields_have_paths() -> None:
    mine = Book(orders=[Order(price=5), Order(price=6, note="a")], by_name={"x": 1, "y": 2})
    other = Book(orders=[Order(price=7), Order(price=6, note="b"), Order(price=8)], by_name={"x": 1, "z": 2})
    lines = failure(mine, plan_of(Book).encode(other))
    assert lines[1:6] == [
        "orders[0].price: 5, and the bytes that were expected say 7",
        "orders[1].note: 'a', and the bytes that were expected say 'b'",
        "orders[2]: nothing, and the bytes that were expected say Order(price=8, note='')",
        "by_name['y']: 2, and the bytes that were expected say nothing",
        "by_name['z']: nothing, and the bytes that were expected say 2",
    ]


def test_many_differences_are_cut() -> None:
    mine, other = (Book(orders=[Order(price=number + add) for number in range(100)]) for add in (0, 1))
    lines = failure(mine, plan_of(Book).encode(other))
    assert lines[20].startswith("orders[19].price: 19, ")
    assert lines[21] == "and 80 more"
    assert lines[22].startswith("expected  8c03")
    assert lines[22].endswith("...")


def test_a_difference_far_behind_is_shown_with_what_is_around() -> None:
    mine, other = Hello(name="a" * 1000 + "b" + "c" * 1000), Hello(name="a" * 1000 + "d" + "c" * 1000)
    *_, expected, encoded, mark = failure(mine, plan_of(Hello).encode(other))
    assert expected == f"expected  ...{'61' * 24}64{'63' * 23}..."
    assert encoded == f"encoded   ...{'61' * 24}62{'63' * 23}..."
    assert mark.startswith("^^ at byte 1011 of 2012")


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        ("8c03 80", "the bytes that were expected are of type 0x8c03"),
        ("8c", "the bytes that were expected are too short for a type"),
        ("", "the bytes that were expected are too short for a type"),
        ("8c01 ff", "the bytes that were expected cannot be read: "),
        ("8c01 81 d9046e616d65 a3616e6e", "the bytes that were expected say the same in other words"),
    ],
)
def test_bytes_that_are_no_such_message(expected: str, told: str) -> None:
    assert failure(Hello(name="ann"), expected)[1].startswith(told)


def test_bytes_that_do_not_give_the_message_back() -> None:
    lines = failure(Loud(name="ann"), "8c09414e4e", codecs=[LoudCodec()])
    assert lines[1] == "name: 'ann', which its own bytes give back as 'ANN'"


def test_a_number_that_is_not_itself_is_no_difference() -> None:
    class Bits(Codec):
        name = "loud"

        def compile(self, schema: Any) -> Plan:
            return Plan(encode=lambda message: b"\x8c\x09nan", decode=lambda payload: Loud(name=float("nan")))  # type: ignore[arg-type]

    assert_wire(Loud(name=float("nan")), b"\x8c\x09nan", codecs=[Bits()])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("8c0", "whole bytes, two digits each: there are 3 in"),
        ("8c01xy", "digit 5 is 'x' in"),
        ("0x8c01", "digit 2 is 'x' in"),
        ("8c0١", "digit 4 is"),
        (7, "given in hex, or as bytes, not 7"),
        (None, "given in hex, or as bytes, not None"),
    ],
)
def test_what_is_no_hex(given: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        payload_of(given)
    with pytest.raises(ValueError, match=told):
        assert_wire(Hello(name=""), given)


def test_what_cannot_be_encoded_says_so_itself() -> None:
    with pytest.raises(EncodeError, match=r"\$\.left"):
        assert_wire(Pair(left=1 << 16, right=0), "8c05")
    with pytest.raises(SchemaError, match=r"no codec 'loud' in codecs=; there are bolt, json, msgpack, raw"):
        assert_wire(Loud(name=""), "8c09")
