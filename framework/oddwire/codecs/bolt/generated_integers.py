"""The generated fast path of BOLT 1's integers, for `oddwire.codecs.bolt.generated`."""

from __future__ import annotations

from typing import Final

from oddwire.codecs.bolt.struct_runs import Cursor, Parts, has_struct_format, struct_format
from oddwire.proto.primitives import bigsize_decode, bigsize_encode, tu_decode, tu_encode
from oddwire.schema.kinds import Integer
from oddwire.schema.source import Source

__all__ = ["dump_integer", "dump_length", "load_bigsize", "load_integer"]

_SMALL: Final = tuple(bigsize_encode(value) for value in range(0xFD))


def dump_integer(source: Source, kind: Integer, name: str, parts: Parts) -> None:
    """Add the bytes of the integer ``name``, of any form."""
    match kind.form:
        case "fixed" if has_struct_format(kind):
            parts.fixed(struct_format(kind), kind.bits // 8, name)
        case "fixed":
            size = kind.bits // 8
            parts.fixed(f"{size}s", size, f'({name}).to_bytes({size}, "big")')
        case "bigsize":
            parts.part(_dump_bigsize(source, name))
        case _:
            parts.part(f"{source.bind(tu_encode, 'tu_encode')}({name}, {kind.bits // 8})")


def load_integer(source: Source, buffer: str, kind: Integer, cursor: Cursor, end: str) -> str:
    """Read an integer of any form; return its name, valid after `Cursor.flush`."""
    if has_struct_format(kind):
        return cursor.take(struct_format(kind), kind.bits // 8)
    if kind.form == "fixed":
        size = kind.bits // 8
        name = cursor.take(f"{size}s", size)
        read = source.bind(int.from_bytes, "from_bytes")
        cursor.afterwards(lambda: source.line(f'{name} = {read}({name}, "big")'))
        return name
    cursor.flush()
    name, at = source.fresh("v"), source.fresh("at")
    if kind.form == "bigsize":
        load_bigsize(source, buffer, name, at, cursor, end)
    else:
        decode = source.bind(tu_decode, "tu_decode")
        source.line(f"{name}, {at} = {decode}({buffer}, {kind.bits // 8}, {cursor.position}, {end})")
        cursor.move(at)
    return name


def _dump_bigsize(source: Source, name: str) -> str:
    small, encode = source.bind(_SMALL, "small"), source.bind(bigsize_encode, "bigsize_encode")
    return f"({small}[{name}] if 0 <= {name} < 253 else {encode}({name}))"


def load_bigsize(source: Source, buffer: str, name: str, after: str, cursor: Cursor, end: str) -> None:
    """Read a BigSize, mostly one byte, into ``name``; ``after`` is set to the offset after it.

    A byte at ``end`` or past it is read too: the value after it then fails its check of the end.
    """
    at = cursor.position
    source.line(f"{name} = {buffer}[{at}]")
    with source.block(f"if {name} < 253:"):
        cursor.skip(1)
        source.line(f"{after} = {cursor.position}")
    with source.block("else:"):
        decode = source.bind(bigsize_decode, "bigsize_decode")
        source.line(f"{name}, {after} = {decode}({buffer}, {at}, {end})")
    cursor.move(after)


def dump_length(source: Source, name: str) -> str:
    """Return the expression for the length of ``name`` as a BigSize."""
    small, encode = source.bind(_SMALL, "small"), source.bind(bigsize_encode, "bigsize_encode")
    length = source.fresh("length")
    return f"({small}[{length}] if ({length} := len({name})) < 253 else {encode}({length}))"
