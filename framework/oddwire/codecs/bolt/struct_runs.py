"""Runs of values of fixed size, written or read together by one `struct.Struct`."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from oddwire.schema.kinds import Boolean, Choice, Fixed, Integer, Kind, Nested, Octets, Opaque, Text
from oddwire.schema.source import Source
from oddwire.schema.value_kinds import Limited, Scalar

__all__ = ["FEW", "Cursor", "Parts", "has_struct_format", "is_flat", "struct_format"]

FEW: Final = 16
"""Arrays with fewer elements, as most have, are read by a `struct.Struct` made for their number."""

_FORMATS: Final = {8: "B", 16: "H", 32: "I", 64: "Q"}


def has_struct_format(kind: Kind) -> bool:
    """Return whether `struct` has a format for a kind: for integers of 1, 2, 4 and 8 bytes, but not 3."""
    return isinstance(kind, Integer) and kind.form == "fixed" and kind.bits in _FORMATS


def struct_format(kind: Integer) -> str:
    """Return `struct`'s format letter for an integer of fixed size."""
    letter = _FORMATS[kind.bits]
    return letter.lower() if kind.signed else letter


def is_flat(kind: Kind) -> bool:
    """Return whether values of this kind have a fixed size, so that one `struct.Struct` reads them."""
    match kind:
        case Integer():
            return kind.form == "fixed"
        case Boolean() | Opaque():
            return True
        case Choice():
            return is_flat(kind.base)
        case Scalar() | Limited():
            return is_flat(kind.inner)
        case Octets() | Text():
            return isinstance(kind.count, Fixed)
        case Nested():
            return all(field.tlv is None and is_flat(field.kind) for field in kind.record.fields)
    return False


class Parts:
    """Expressions for the parts of a payload; neighbours of fixed size share one `struct.Struct`."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._parts: list[str] = []
        self._formats: list[str] = []
        self._arguments: list[str] = []
        self.size: int | None = 0
        """Total bytes, if fixed; otherwise None."""

    def fixed(self, code: str, size: int, argument: str) -> None:
        """Add a value of fixed size."""
        self._formats.append(code)
        self._arguments.append(argument)
        if self.size is not None:
            self.size += size

    def lead(self, data: bytes) -> None:
        """Put ``data`` before all parts."""
        self._formats.insert(0, f"{len(data)}s")
        self._arguments.insert(0, self._source.bind(data, "lead"))
        self.size = (self.size or 0) + len(data)

    def part(self, expression: str) -> None:
        """Add bytes of any size."""
        self._flush()
        self._parts.append(expression)
        self.size = None

    def expression(self) -> str:
        """Return the expression for all parts joined."""
        self._flush()
        if len(self._parts) <= 3:
            return " + ".join(self._parts) or 'b""'
        return f'b"".join(({", ".join(self._parts)}))'

    def _flush(self) -> None:
        if self._formats:
            pack = self._source.bind(struct.Struct(">" + "".join(self._formats)).pack, "pack")
            self._parts.append(f"{pack}({', '.join(self._arguments)})")
            self._formats, self._arguments = [], []


class Cursor:
    """The position of the reader; neighbours of fixed size wait to be read by one `struct.Struct`."""

    def __init__(self, source: Source, buffer: str, base: str = "", offset: int = 0) -> None:
        self._source = source
        self._buffer = buffer
        self._base = base
        self._offset = offset
        self._formats: list[str] = []
        self._locals: list[str] = []
        self._afterwards: list[Callable[[], None]] = []
        self._waiting = 0

    @property
    def position(self) -> str:
        """The offset of the next byte, as an expression; `flush` first."""
        if self._base and self._offset:
            return f"{self._base} + {self._offset}"
        return self._base or str(self._offset)

    def copy(self) -> Cursor:
        """Return another cursor at the same position; `flush` first."""
        return Cursor(self._source, self._buffer, self._base, self._offset)

    def skip(self, size: int) -> None:
        """Skip bytes; `flush` first."""
        self._offset += size

    def take(self, code: str, size: int) -> str:
        """Read a value of fixed size; return the name it has after `flush`."""
        name = self._source.fresh("v")
        self._formats.append(code)
        self._locals.append(name)
        self._waiting += size
        return name

    def afterwards(self, write: Callable[[], None]) -> None:
        """Call ``write`` to write its statements once the waiting values have been read."""
        if self._formats:
            self._afterwards.append(write)
        else:
            write()

    def move(self, name: str) -> None:
        """Move to the offset in the variable ``name``."""
        self._base, self._offset = name, 0

    def iterate(self) -> tuple[str, str, list[Callable[[], None]]]:
        """Return an unpacker that reads the waiting values repeatedly, their names, and what to call after."""
        iter_unpack = self._source.bind(struct.Struct(">" + "".join(self._formats)).iter_unpack, "iter_unpack")
        return iter_unpack, f"{', '.join(self._locals)},", self._afterwards

    def few(self) -> str:
        """Return the name of the functions that read the waiting values no times, once, twice, and so on."""
        code = "".join(self._formats)
        return self._source.bind([struct.Struct(">" + code * number).unpack_from for number in range(FEW)], "few")

    def flush(self) -> None:
        """Write the statement that reads the waiting values, and then the statements of `afterwards`."""
        if not self._formats:
            return
        buffer, start = self._buffer, self.position
        self._offset += self._waiting
        self._waiting = 0
        if self._formats == ["H"]:  # mostly a length: subscripts are twice as fast as a struct
            last = Cursor(self._source, buffer, self._base, self._offset - 1).position
            self._source.line(f"{self._locals[0]} = {buffer}[{start}] << 8 | {buffer}[{last}]")
        else:
            unpack = self._source.bind(struct.Struct(">" + "".join(self._formats)).unpack_from, "unpack")
            self._source.line(f"{', '.join(self._locals)}, = {unpack}({buffer}, {start})")
        self._formats, self._locals = [], []
        waiting, self._afterwards = self._afterwards, []
        for write in waiting:
            write()
