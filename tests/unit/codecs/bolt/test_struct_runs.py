"""Runs of fixed-size values: what is merged into one struct, and when it is not."""

import struct
from typing import Annotated

import pytest

from oddwire.codecs.bolt.struct_runs import FEW, Cursor, Parts, is_flat, struct_format
from oddwire.schema import bigsize, field, fixed, point, s32, sha256, subtype, tu64, u8, u16, u64
from oddwire.schema.annotations import kind_of
from oddwire.schema.source import Source


@subtype
class Flat:
    number: u16
    digest: sha256


@subtype
class Open:
    number: u16 | None = field(tlv=1, default=None)


@pytest.mark.parametrize(
    ("annotation", "flat"),
    [
        *[(u8, True), (s32, True), (bool, True), (point, True), (sha256, True), (Annotated[str, fixed(3)], True)],
        *[(bigsize, False), (tu64, False), (bytes, False), (str, False), (tuple[u8, ...], False)],
        *[(Flat, True), (Open, False)],
    ],
)
def test_what_always_takes_the_same_bytes(annotation, flat):
    assert is_flat(kind_of(annotation)) is flat


def test_letters():
    assert [struct_format(kind_of(annotation)) for annotation in (u8, u16, s32, u64)] == ["B", "H", "i", "Q"]


def test_writing_neighbours_together():
    source = Source()
    with source.function("def write(a, b, c):"):
        parts = Parts(source)
        assert parts.size == 0
        parts.fixed("B", 1, "a")
        parts.fixed("H", 2, "b")
        assert parts.size == 3
        parts.part("c")
        assert parts.size is None
        parts.fixed("B", 1, "a")
        expression = parts.expression()
        source.line(f"return {expression}")
    assert expression.count("pack") == 2
    assert source.compile("write", "test_structrun")(1, 2, b"three") == b"\x01\x00\x02three\x01"


def test_writing_nothing_and_many_parts():
    assert Parts(Source()).expression() == 'b""'
    many = Parts(Source())
    for _ in range(5):
        many.part("x")
    assert many.expression() == 'b"".join((x, x, x, x, x))'


def test_reading_neighbours_together():
    source = Source()
    order = []
    with source.function("def read(data):"):
        cursor = Cursor(source, "data")
        cursor.skip(2)
        first = cursor.take("B", 1)
        cursor.afterwards(lambda: order.append("after the first flush"))
        second = cursor.take("H", 2)
        assert order == []
        cursor.flush()
        assert order == ["after the first flush"]
        assert cursor.position == "5"
        cursor.afterwards(lambda: order.append("at once"))
        source.line("at = 6")
        cursor.move("at")
        third = cursor.take("B", 1)
        cursor.flush()
        assert cursor.position == "at + 1"
        source.line(f"return {first}, {second}, {third}")
    assert order == ["after the first flush", "at once"]
    assert source.compile("read", "test_structrun")(b"??\x01\x00\x02?\x03") == (1, 2, 3)


def test_reading_over_and_over():
    source = Source()
    with source.function("def read(data):"):
        cursor = Cursor(source, "data")
        value = cursor.take("H", 2)
        items, names, afterwards = cursor.iterate()
        source.line(f"return [{value} for {names} in {items}(data)]")
    assert afterwards == []
    assert source.compile("read", "test_structrun")(b"\x00\x01\x00\x02") == [1, 2]


def test_what_is_put_before_is_written_together_with_the_rest():
    source = Source()
    with source.function("def write(a):"):
        parts = Parts(source)
        parts.fixed("H", 2, "a")
        parts.lead(b"\x01\x02")
        assert parts.size == 4
        expression = parts.expression()
        source.line(f"return {expression}")
    assert expression.count("pack") == 1
    assert source.compile("write", "test_structrun")(3) == b"\x01\x02\x00\x03"


@pytest.mark.parametrize("base", ["", "at"])
def test_a_length_alone_is_read_without_a_struct(base):
    source = Source()
    with source.function("def read(data, at):"):
        cursor = Cursor(source, "data", base, 2)
        number = cursor.take("H", 2)
        cursor.flush()
        source.line(f"return {number}, {cursor.position}")
    read = source.compile("read", "test_structrun")
    assert read(b"??\x12\x34", 0) == (0x1234, 4)
    with pytest.raises(IndexError):
        read(b"??\x12", 0)


def test_reading_a_few():
    source = Source()
    with source.function("def read(data, number):"):
        cursor = Cursor(source, "data")
        cursor.take("H", 2)
        source.line(f"return {cursor.few()}[number](data, 1)")
    read = source.compile("read", "test_structrun")
    data = b"?" + bytes(range(2 * FEW))
    assert [len(read(data, number)) for number in range(FEW)] == list(range(FEW))
    assert read(data, 2) == (0x0001, 0x0203)
    with pytest.raises(struct.error):
        read(data[:-4], FEW - 1)
