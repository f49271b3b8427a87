"""The kinds: their labels, ranges and what travels for a choice."""

from enum import Enum

import pytest

from oddwire.schema import subtype
from oddwire.schema.kinds import (
    PLAIN_INT,
    Anything,
    Array,
    Boolean,
    Choice,
    Fixed,
    Float,
    Integer,
    Kind,
    Maybe,
    Nested,
    Octets,
    Opaque,
    Prefixed,
    Table,
    Text,
)


class Side(Enum):
    BUY = "buy"


@subtype
class Order:
    side: Side


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        (Kind(), "kind"),
        (Integer("u16", 16), "u16"),
        (Boolean(), "bool"),
        (Float(), "float"),
        (Octets(), "bytes"),
        (Octets(Fixed(32), name="sha256"), "sha256"),
        (Text(), "str"),
        (Opaque("point", 33, bytes, bytes, bytes, bytes.fromhex, bytes.hex), "point"),
        (Choice("Side", Text(), {"buy": Side.BUY}, Side), "Side"),
        (Maybe(Text()), "str or None"),
        (Array(Text(), tuple), "tuple"),
        (Array(Text(), list), "list"),
        (Array(Text(), tuple, loose=True), "tuple or list"),
        (Table(Text()), "dict"),
        (Nested(Order.__oddwire__), "Order"),
        (Anything(), "plain value"),
    ],
)
def test_labels_are_what_an_author_knows(kind, label):
    assert kind.label == label


def test_ranges():
    assert (Integer("s24", 24, signed=True).low, Integer("s24", 24, signed=True).high) == (-(2**23), 2**23 - 1)
    assert (PLAIN_INT.low, PLAIN_INT.high) == (-(2**63), 2**64 - 1)  # what msgpack can carry


def test_what_travels_for_a_choice():
    assert Choice("Side", Text(), {"buy": Side.BUY}, Side).wire(Side.BUY) == "buy"
    assert Choice("Literal", Text(), {"yes": "yes"}, str).wire("yes") == "yes"


def test_kinds_are_values():
    assert Octets(Prefixed(Integer("u8", 8))) == Octets(Prefixed(Integer("u8", 8)))
    with pytest.raises(AttributeError):
        Text().max_length = 3
