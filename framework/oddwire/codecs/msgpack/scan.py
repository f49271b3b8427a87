"""The structure of msgpack, read without building anything: validation with offsets, and the offset of a value."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

import msgpack

from oddwire.codecs.base import too_many_values
from oddwire.errors import MalformedMessage, TrailingBytes, Truncated
from oddwire.schema.class_records import Record
from oddwire.schema.kinds import Array, Kind, Nested
from oddwire.schema.union_kinds import Either, Tagged, Variant
from oddwire.schema.value_kinds import carrier

__all__ = ["Item", "ends_of", "locate", "read_header", "scan"]

_Form = Literal["scalar", "str", "bin", "array", "map"]


class Item(NamedTuple):
    """A value's header: its form, the offset after the header, and the size of the body.

    ``size`` is in bytes, for an array in elements, for a map in pairs.
    """

    form: _Form
    start: int
    size: int


# msgpack's format bytes: the form, the number of length bytes that follow, and the size if the first byte has it.
_FORMATS: Final[dict[int, tuple[_Form, int, int]]] = {
    **{byte: ("scalar", 0, 0) for byte in range(256) if byte < 0x80 or byte in (0xC0, 0xC2, 0xC3) or byte >= 0xE0},
    **{byte: ("map", 0, byte & 0x0F) for byte in range(0x80, 0x90)},
    **{byte: ("array", 0, byte & 0x0F) for byte in range(0x90, 0xA0)},
    **{byte: ("str", 0, byte & 0x1F) for byte in range(0xA0, 0xC0)},
    **{byte: ("bin", 1 << byte - 0xC4, 0) for byte in range(0xC4, 0xC7)},
    **{byte: ("scalar", 0, 4 << byte - 0xCA) for byte in range(0xCA, 0xCC)},  # floats
    **{byte: ("scalar", 0, 1 << (byte & 3)) for byte in range(0xCC, 0xD4)},  # integers
    **{byte: ("str", 1 << byte - 0xD9, 0) for byte in range(0xD9, 0xDC)},
    **{byte: ("array", 2 << byte - 0xDC, 0) for byte in range(0xDC, 0xDE)},
    **{byte: ("map", 2 << byte - 0xDE, 0) for byte in range(0xDE, 0xE0)},
}
_EXTENSIONS = frozenset((0xC7, 0xC8, 0xC9, *range(0xD4, 0xD9)))


def scan(payload: bytes, at: int, most: int | None = None) -> None:
    """Check that exactly one well-formed value fills ``payload`` from ``at``, with bytes for all it claims to hold.

    Raises `Truncated`, `TrailingBytes` or `MalformedMessage`, the last also for more than ``most`` values.
    """
    end = len(payload)
    left = end if most is None else most
    owed = 1  # values still missing in all open arrays and maps
    while owed:
        item = read_header(payload, at, end)
        at = item.start
        owed -= 1
        left -= 1
        if item.form in ("array", "map"):
            owed += item.size * (2 if item.form == "map" else 1)
            if owed > end - at:
                text = f"{item.form} of {item.size} cannot fit: {owed} values are still to come in {end - at} bytes"
                raise Truncated(text, offset=at)
            if owed > left:
                raise too_many_values(offset=at)
            continue
        at += item.size
        if at > end:
            raise Truncated(f"{item.form} needs {item.size} bytes, {end - item.start} remain", offset=item.start)
        if item.form == "str":
            _check_utf8(payload, item)
    if at != end:
        raise TrailingBytes(f"{end - at} bytes follow the value", offset=at)


def _check_utf8(payload: bytes, item: Item) -> None:
    try:
        payload[item.start : item.start + item.size].decode()
    except UnicodeDecodeError as error:
        raise MalformedMessage(f"str is not UTF-8: {error.reason}", offset=item.start + error.start) from None


def read_header(payload: bytes, at: int, end: int) -> Item:
    """Return the header of the value at ``at``. Raises `MalformedMessage`, also for a type that is refused."""
    if at >= end:
        raise Truncated("a value should follow, but the message ends", offset=at)
    first = payload[at]
    try:
        form, width, size = _FORMATS[first]
    except KeyError:
        what = "extension types are refused" if first in _EXTENSIONS else "no value starts with this byte"
        raise MalformedMessage(f"{what}: {first:02x}", offset=at) from None
    start = at + 1 + width
    if start > end:
        raise Truncated(f"length of {width} bytes is cut off", offset=at)
    return Item(form, start, int.from_bytes(payload[at + 1 : start], "big") if width else size)


# Offset of the value at a path ---------------------------------------------------------------------------------------


_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


def locate(payload: bytes, record: Record, path: str) -> int:
    """Return the offset of the value at ``path``, ``$.orders[2].price``, or of the innermost value found on it.

    ``payload`` from its third byte is msgpack that `scan` or the unpacker has accepted.
    """
    at, (ends, _) = 2, ends_of(payload, 2)
    kind: Kind = Nested(record)
    for name, index in _STEP.findall(path):
        kind = carrier(kind)
        item = read_header(payload, at, len(payload))
        found: int | None = None
        if isinstance(kind, Either):
            kind = carrier(kind.in_msgpack.get(list if item.form == "array" else dict, kind))
        if isinstance(kind, Tagged) and name and item.form == "map":
            tag = _value_of(payload, item, kind.key, ends)
            variant = None if tag is None else _variant(kind, payload, tag, ends)
            if variant is None or (name == kind.key and variant.record.field(name) is None):
                return at if tag is None or name != kind.key else tag
            kind = Nested(variant.record)
        if isinstance(kind, Nested) and name and item.form == "map":
            field = kind.record.field(name)
            if field is not None:
                kind = field.kind
                found = _value_of(payload, item, field.key, ends)
        elif isinstance(kind, Array) and index and item.form == "array" and int(index) < item.size:
            kind = kind.element
            found = _skip(payload, item.start, int(index), ends)
        if found is None:
            break
        at = found
    return at


def _value_of(payload: bytes, item: Item, key: str, ends: dict[int, int]) -> int | None:
    """Return the offset of a key's value in a map, the last one if the key comes twice; None if it is missing."""
    wanted, found, at = key.encode(), None, item.start
    for _ in range(item.size):
        inner = read_header(payload, at, len(payload))
        is_key = inner.form == "str" and payload[inner.start : inner.start + inner.size] == wanted
        at = _skip(payload, at, 1, ends)
        found = at if is_key else found
        at = _skip(payload, at, 1, ends)
    return found


def _variant(kind: Tagged, payload: bytes, at: int, ends: dict[int, int]) -> Variant | None:
    """Return the member of a union whose tag is at an offset, None if there is none."""
    tag = msgpack.unpackb(payload[at : _skip(payload, at, 1, ends)], strict_map_key=False)
    return kind.by_tag.get(tag) if type(tag) in (int, str) else None


def _skip(payload: bytes, at: int, count: int, ends: dict[int, int]) -> int:
    """Return the offset after ``count`` values."""
    for _ in range(count):
        if at in ends:
            at = ends[at]
        else:
            item = read_header(payload, at, len(payload))
            at = item.start + item.size
    return at


def ends_of(payload: bytes, at: int) -> tuple[dict[int, int], MalformedMessage | None]:
    """Return where each array and map ends, by its offset: so those beside a path are passed in one step.

    Where the value at ``at`` is not well-formed, also the error: then those that are whole before it are returned.
    """
    ends: dict[int, int] = {}
    around: list[tuple[int, int]] = []  # offset, and values still missing
    left = 1
    try:
        while left:
            item = read_header(payload, at, len(payload))
            left -= 1
            if item.form in ("array", "map"):
                around.append((at, left))
                left = item.size * (2 if item.form == "map" else 1)
                at = item.start
            else:
                at = item.start + item.size
                if at > len(payload):
                    raise Truncated(f"{item.form} needs {item.size} bytes", offset=item.start)
                if item.form == "str":
                    _check_utf8(payload, item)
            while around and not left:
                start, left = around.pop()
                ends[start] = at
    except MalformedMessage as error:
        return ends, error
    return ends, None
