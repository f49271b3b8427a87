"""The reference path that writes BOLT 1's types, by itself; `test_codec` says what both ways have in common."""

from __future__ import annotations

from typing import Annotated

import pytest

from oddwire.codecs.bolt.reference_writing import write_message, write_value
from oddwire.errors import EncodeError, ValueOutOfRange
from oddwire.schema import Message, counted, field, flag, message, schema_of, subtype, tu64, u8, u16
from oddwire.schema.annotations import kind_of


@subtype
class Part:
    number: u16


@message(0x8C01, codec="bolt")
class Whole(Message):
    flag: bool
    parts: tuple[Part, ...]
    amount: tu64 | None = field(tlv=3, default=None)


SCHEMA = schema_of(Whole)


def test_whole_messages():
    whole = Whole(flag=True, parts=(Part(number=1), Part(number=2)), amount=300)
    assert write_message(SCHEMA, whole).hex() == "010002000100020302012c"
    assert write_message(SCHEMA, Whole(flag=False, parts=())).hex() == "000000"


def test_errors_know_the_path_but_no_type():
    with pytest.raises(EncodeError) as caught:
        write_message(SCHEMA, Whole(flag=True, parts=(Part(number=-1),)))
    assert (caught.value.path, caught.value.type_id) == ("$.parts[0].number", None)


def test_a_field_without_a_value():
    with pytest.raises(EncodeError, match=r"\$.flag: has no value"):
        write_message(SCHEMA, object.__new__(Whole))


def test_kinds_the_wire_does_not_know():
    @subtype
    class Foreign:
        rate: float

    with pytest.raises(NotImplementedError):
        write_message(Foreign.__oddwire__, Foreign(rate=1.0))


@subtype
class Node:
    number: Annotated[u8 | None, flag(u8)] = None
    nodes: tuple[Annotated[Node, counted(u8)], ...] = ()


@message(0x8C03, codec="bolt")
class Nodes(Message):
    node: Node
    last: u8


def test_flags_sizes_and_levels():
    nodes = Nodes(node=Node(number=7, nodes=(Node(), Node(nodes=(Node(number=1),)))), last=9)
    assert write_message(schema_of(Nodes), nodes) == bytes.fromhex("0107 0002 03 000000 08 00 0001 04 01010000 09")
    assert write_value(kind_of(Annotated[Node, counted(u16)]), Node()) == bytes.fromhex("0003 000000")
    deep = Node()
    for _ in range(32):
        deep = Node(nodes=(deep,))
    with pytest.raises(EncodeError, match="nests more than 32 levels deep"):
        write_message(schema_of(Nodes), Nodes(node=deep, last=9))


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (Annotated[bytes, counted(u8)], bytes(256), "should have at most 255 bytes, as a u8 counts them, not 256"),
        (Annotated[tuple[u16, ...], counted(u8)], (0,) * 256, "at most 255 elements, as a u8 counts them, not 256"),
        (Annotated[Node, counted(u8)], Node(nodes=(Node(),) * 64), "at most 255 bytes, as a u8 counts them"),
    ],
)
def test_counts_that_their_integer_cannot_hold(annotation, value, text):
    with pytest.raises(ValueOutOfRange, match=text):
        write_value(kind_of(annotation), value)
