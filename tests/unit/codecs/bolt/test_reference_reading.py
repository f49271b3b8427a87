"""The reference path that reads BOLT 1's types, by itself; `test_codec` says what both ways have in common."""

from __future__ import annotations

from typing import Annotated

import pytest

from oddwire.codecs.bolt.reference_reading import check_extension, read_message, read_subtype
from oddwire.errors import MalformedMessage, OutOfOrder, TrailingBytes, Truncated, UnknownRequiredRecord
from oddwire.schema import Message, counted, field, flag, message, schema_of, subtype, tu64, u8, u16


@subtype
class Part:
    number: u16


@message(0x8C01, codec="bolt")
class Whole(Message):
    flag: bool
    parts: tuple[Part, ...]
    amount: tu64 | None = field(tlv=3, default=None)


SCHEMA = schema_of(Whole)


def test_whole_messages_and_subtypes():
    whole = Whole(flag=True, parts=(Part(number=1), Part(number=2)), amount=300)
    assert read_message(SCHEMA, bytes.fromhex("8c01 010002000100020302012c")) == whole
    assert read_subtype(Part.__oddwire__, b"\0\7") == Part(number=7)
    with pytest.raises(TrailingBytes, match="has 1 bytes more than Part takes"):
        read_subtype(Part.__oddwire__, b"\0\7?")


def test_errors_know_place_and_path_but_no_type():
    with pytest.raises(Truncated) as caught:
        read_message(SCHEMA, b"\x8c\x01\x01\x00\x02\x00\x01\x00")
    assert (caught.value.path, caught.value.offset, caught.value.type_id) == ("$.parts", 5, None)


@pytest.mark.parametrize("stream", ["", "0100", "010003020000", "fd01010100"])
def test_extensions_to_ignore(stream):
    data = b"??" + bytes.fromhex(stream)
    check_extension(data, 2, len(data))


@pytest.mark.parametrize(
    ("stream", "error", "offset"),
    [
        ("0200", UnknownRequiredRecord, 2),
        ("01000200", UnknownRequiredRecord, 4),
        ("01000100", OutOfOrder, 4),
        ("01", Truncated, 3),
    ],
)
def test_extensions_to_refuse(stream, error, offset):
    data = b"??" + bytes.fromhex(stream)
    with pytest.raises(MalformedMessage) as caught:
        check_extension(data, 2, len(data))
    assert type(caught.value) is error
    assert caught.value.offset == offset


def test_an_extension_cannot_start_after_the_end():
    with pytest.raises(Truncated, match="needs 3 bytes more"):
        check_extension(b"??", 5, 2)


def test_kinds_the_wire_does_not_know():
    @subtype
    class Foreign:
        rate: float

    with pytest.raises(NotImplementedError):
        read_message(Foreign.__oddwire__, b"\x8c\x01" + bytes(8))


@subtype
class Node:
    number: Annotated[u8 | None, flag(u8)] = None
    nodes: tuple[Annotated[Node, counted(u8)], ...] = ()


@message(0x8C03, codec="bolt")
class Nodes(Message):
    node: Node
    last: u8


def test_flags_sizes_and_levels():
    payload = bytes.fromhex("8c03 0107 0002 03 000000 08 00 0001 04 01010000 09")
    nodes = Nodes(node=Node(number=7, nodes=(Node(), Node(nodes=(Node(number=1),)))), last=9)
    assert read_message(schema_of(Nodes), payload) == nodes


TOO_DEEP = "".join(f"00 0001 {3 + 4 * (31 - level):02x}" for level in range(32)) + "000000 09"


@pytest.mark.parametrize(
    ("body", "error", "path", "offset"),
    [
        ("02", MalformedMessage, "$.node.number", 2),
        ("00 0001 04 000000 00 09", TrailingBytes, "$.node.nodes[0]", 9),
        ("00 0001 09 000000 09 00", Truncated, "$.node.nodes[0]", 5),
        (TOO_DEEP, MalformedMessage, "$.node" + ".nodes[0]" * 32, 130),
    ],
)
def test_broken_boxes(body, error, path, offset):
    with pytest.raises(error) as caught:
        read_message(schema_of(Nodes), b"??" + bytes.fromhex(body))
    assert (caught.value.path, caught.value.offset) == (path, offset)
