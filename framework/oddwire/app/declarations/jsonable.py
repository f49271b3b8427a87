"""Conversion of our values to JSON-compatible ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from types import CoroutineType
from typing import Any

from oddwire.errors import EncodeError
from oddwire.proto.keys import PublicKey, ShortChannelId
from oddwire.schema import Record, to_dict

__all__ = ["to_plain"]

# The modules of classes whose values are written as text; by name, because few programs need to import them all
_TEXTS = {"datetime", "decimal", "fractions", "ipaddress", "pathlib", "uuid"}


def to_plain(value: object, default: Callable[[object], Any] | None = None) -> Any:
    """Return a value converted for JSON: bytes and keys as hex digits, enums as their values, messages as objects.

    ``default`` is called with a value of any other type, and returns its conversion. Raises `TypeError` naming the
    value if there is no ``default``, for numbers that are not finite, and in any case for a coroutine that was not
    awaited.
    """
    if isinstance(value, Enum):
        return to_plain(value.value, default)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, (bytes, bytearray, memoryview, PublicKey)):
        return value.hex()
    if isinstance(value, ShortChannelId) or any(_module(cls) in _TEXTS for cls in type(value).__mro__):
        return str(value)
    if isinstance(value, Mapping):
        return {_key(key): to_plain(inner, default) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(inner, default) for inner in value]
    record = getattr(type(value), "__oddwire__", None)
    if isinstance(record, Record):
        return _fields(record, value, default)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name), default) for field in fields(value)}
    if isinstance(value, CoroutineType):
        value.close()  # suppresses the warning that it was never awaited
        raise TypeError(f"{value.__qualname__}() was called and not awaited: it should be 'await' and the call")
    if default is not None:
        return default(value)
    raise TypeError(f"JSON cannot hold {value!r}, a {type(value).__name__}")


def _module(cls: type) -> str:
    """Return the top-level module of a class: since Python 3.13, Path is defined in pathlib._local."""
    return cls.__module__.partition(".")[0]


def _fields(record: Record, value: object, default: Callable[[object], Any] | None) -> dict[str, Any]:
    """Return the fields of a message or subtype."""
    try:
        return to_dict(value)
    except EncodeError:  # bytes in a field of any kind: possible in msgpack, not in JSON
        return {field.name: to_plain(getattr(value, field.name), default) for field in record.fields}


def _key(key: object) -> str:
    return key if type(key) is str else str(to_plain(key, str))
