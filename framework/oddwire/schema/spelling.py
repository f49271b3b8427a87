"""Text of field values, for ``repr``, traces and the command line."""

from __future__ import annotations

from enum import Enum
from typing import Any

from oddwire.printable import quoted
from oddwire.proto.keys import PublicKey
from oddwire.schema.kinds import Record

__all__ = ["LONGEST", "show_fields", "show_value"]

LONGEST = 40
"""Max bytes, characters or elements shown; the rest is only counted."""


def show_fields(record: Record, instance: Any, separator: str) -> str:
    """Return ``name=value`` for every field of ``instance``."""
    return separator.join(f"{field.name}={show_value(getattr(instance, field.name, '?'))}" for field in record.fields)


def show_value(value: Any) -> str:
    """Return the text of one value: bytes and points as hex, enums by name, long ones shortened."""
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
        shown = ", ".join(show_value(element) for element in value[:LONGEST])
        more = f", …({len(value)} elements)" if len(value) > LONGEST else ""
        return f"[{shown}{more}]"
    if isinstance(value, dict):
        shown = ", ".join(f"{show_value(key)}: {show_value(inner)}" for key, inner in list(value.items())[:LONGEST])
        more = f", …({len(value)} keys)" if len(value) > LONGEST else ""
        return f"{{{shown}{more}}}"
    record = getattr(type(value), "__oddwire__", None)
    return repr(value) if record is not None else str(value)
