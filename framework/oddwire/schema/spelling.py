"""Text of field values, for ``repr``, traces and the command line."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from oddwire.printable import printable, quoted
from oddwire.proto.keys import PublicKey
from oddwire.schema.class_records import Record, Schema
from oddwire.schema.kinds import Array, Kind, Maybe, Sized
from oddwire.schema.value_kinds import Limited, Scalar

__all__ = ["LONGEST", "show_fields", "show_value"]

LONGEST = 40
"""Max bytes, characters or elements shown; the rest is only counted."""


def show_fields(record: Record, instance: Any, separator: str) -> str:
    """Return ``name=value`` for every field of ``instance``."""
    return separator.join(
        f"{field.name}={show_value(getattr(instance, field.name, '?'), field.kind)}" for field in record.fields
    )


def show_value(value: Any, kind: Kind | None = None) -> str:
    """Return the text of one value: bytes and points as hex, enums by name, long ones shortened.

    With its kind, a scalar's value is shown as its ``show`` has it.
    """
    while isinstance(kind, Maybe | Sized | Limited):
        kind = kind.inner
    if isinstance(kind, Scalar) and kind.show is not None and isinstance(value, kind.python):
        return _cut(_text_of(kind.show, value))
    element = kind.element if isinstance(kind, Array) else None
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bytes):
        if len(value) <= LONGEST:
            return value.hex() or "''"
        return f"{value[: LONGEST // 2].hex()}…({len(value)} bytes)"
    if isinstance(value, PublicKey):
        return value.hex()
    if isinstance(value, str):
        if len(value) <= 2 * LONGEST:
            return quoted(value)
        return f"{quoted(value[:LONGEST])}…({len(value)} characters)"
    if isinstance(value, tuple | list):
        shown = ", ".join(show_value(inner, element) for inner in value[:LONGEST])
        more = f", …({len(value)} elements)" if len(value) > LONGEST else ""
        return f"[{shown}{more}]"
    if isinstance(value, dict):
        shown = ", ".join(f"{show_value(key)}: {show_value(inner)}" for key, inner in list(value.items())[:LONGEST])
        more = f", …({len(value)} keys)" if len(value) > LONGEST else ""
        return f"{{{shown}{more}}}"
    record = getattr(type(value), "__oddwire__", None)
    if record is not None:
        return _nested(record, value)
    if type(value).__module__ == "datetime":
        return str(value.isoformat() if hasattr(value, "isoformat") else value).replace("+00:00", "Z")
    return _cut(_text_of(str, value))


def _nested(record: Record, value: Any) -> str:
    try:
        if isinstance(record, Schema):  # a message in another, whose own form is that of a line
            return f"{record.name}({show_fields(record, value, ', ')})"
        return repr(value)
    except RecursionError:  # of our own making only: nothing so deep is sent or received
        return f"{record.name}(…)"


def _text_of(show: Callable[[Any], object], value: Any) -> str:
    """Return what an author's function, which may raise any error, has for a value, in printable characters."""
    try:
        return printable(str(show(value)))
    except Exception:
        return f"{type(value).__qualname__}(...)"


def _cut(text: str) -> str:
    return text if len(text) <= 2 * LONGEST else f"{text[:LONGEST]}…({len(text)} characters)"
