"""The reference path of tagged unions: the tag, with ``length`` the size of the body, and the body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oddwire.errors import EncodeError, MalformedMessage, TrailingBytes, Truncated, ValueOutOfRange
from oddwire.schema.kinds import Integer, Kind, Nested
from oddwire.schema.union_kinds import Tagged, UnknownVariant
from oddwire.schema.union_trees import check_unknown, unknown_tag

__all__ = ["read_tagged", "write_tagged"]


def write_tagged(
    kind: Tagged,
    value: Any,
    out: bytearray,
    path: str,
    write: Callable[[Kind, Any, bytearray, str], None],
    write_integer: Callable[[Integer, int, bytearray], None],
) -> None:
    """Write a value, its parts by the two functions. Raises `EncodeError`."""
    variant = kind.by_class.get(type(value))
    body = bytearray()
    if variant is not None:
        tag: Any = variant.tag
        write(Nested(variant.record), value, body, path)
    else:
        check_unknown(kind, value, path)
        tag = value.tag
        if not isinstance(value.body, bytes):
            text = f"of UnknownVariant should be bytes with bolt, not {type(value.body).__name__}"
            raise EncodeError(f"the body {text}", path=path)
        body += value.body
    write_integer(kind.number, tag, out)
    if kind.length is not None:
        if len(body) > kind.length.high:
            text = f"should have at most {kind.length.high} bytes, as a {kind.length.name} counts them, not {len(body)}"
            raise ValueOutOfRange(text, path=path)
        write_integer(kind.length, len(body), out)
    out += body


def read_tagged(
    kind: Tagged,
    buffer: bytes,
    at: int,
    end: int,
    path: str,
    read: Callable[[Kind, int, int, str], tuple[Any, int]],
    read_integer: Callable[[Integer, int, int, str], tuple[int, int]],
) -> tuple[Any, int]:
    """Read a value, its parts by the two functions; return it and the offset after it. Raises `MalformedMessage`."""
    tag, start = read_integer(kind.number, at, end, path)
    variant = kind.by_tag.get(tag)
    if variant is None and not kind.unknown:
        raise MalformedMessage(unknown_tag(kind, tag), path=path, offset=at)
    stop = end
    if kind.length is not None:
        size, start = read_integer(kind.length, start, end, path)
        if size > end - start:
            name = variant.record.name if variant else "the body"
            raise Truncated(f"{name} needs {size} bytes, {end - start} remain", path=path, offset=start)
        stop = start + size
    if variant is None:
        return UnknownVariant(tag, buffer[start:stop]), stop
    value, after = read(Nested(variant.record), start, stop, path)
    if kind.length is not None and after != stop:
        text = f"the body has {stop - after} bytes more than {variant.record.name} takes"
        raise TrailingBytes(text, path=path, offset=after)
    return value, after
