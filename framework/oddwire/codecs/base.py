"""The base class of codecs: a codec compiles a schema, once, into a `Plan` of two inverse functions.

A third-party codec subclasses `Codec`; an author selects it by name, ``@message(0x8C01, codec="its-name")``, once a
plugin has added it to the registry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

from oddwire.errors import CodecError, MalformedMessage, PayloadTooLarge, Truncated
from oddwire.proto.primitives import MAX_MESSAGE
from oddwire.records import FrozenRecord
from oddwire.schema.class_records import Schema

__all__ = [
    "MAX_VALUES",
    "Codec",
    "Plan",
    "Retry",
    "check_received",
    "check_size",
    "quick_size",
    "too_many_values",
    "type_bytes",
    "with_type",
]

MAX_VALUES: Final = 1 << 18
"""Max values in a payload, counting maps, arrays and all values in them: 262144.

A payload of 65535 bytes cannot hold as many. One of 16 MiB could hold millions in a byte or two each, and take
gigabytes of memory and many seconds: bulk data belongs into bytes.
"""


class Plan(FrozenRecord):
    """The two functions of one message. Payloads are whole, with the two-byte type.

    ``encode(message)`` raises `EncodeError` or a subclass; ``decode(payload)``, for bytes that start with the schema's
    type, `MalformedMessage` or a subclass. Neither raises anything else for any input. ``decode`` does not look at the
    type: a `Registry` does. Both enforce `Schema.max_size`.
    """

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


class Codec(ABC):
    """Encodes and decodes messages of any schema. Holds no state of any connection."""

    name: str
    """The name for ``@message(codec=...)``."""

    @abstractmethod
    def compile(self, schema: Schema) -> Plan:
        """Return the plan for one message. Raises `SchemaError` naming a field it cannot carry."""


class Retry(Exception):
    """Raised by the fast path for anything unusual, valid or not: the reference path then decides."""


def type_bytes(schema: Schema) -> bytes:
    """Return the two bytes a payload starts with."""
    return schema.type_id.to_bytes(2, "big")


def quick_size(schema: Schema) -> int:
    """Return the size up to which a payload needs no checks: it is allowed, and cannot hold too many values."""
    return min(schema.max_size, MAX_MESSAGE)


def check_size(payload: bytes, schema: Schema) -> bytes:
    """Return a payload to send if its size is within `Schema.max_size`. Raises `PayloadTooLarge`."""
    if len(payload) > schema.max_size:
        raise with_type(PayloadTooLarge(_too_long(payload, schema)), schema)
    return payload


def check_received(payload: bytes, schema: Schema) -> None:
    """Check that a received payload has a type, and is within `Schema.max_size`. Raises `MalformedMessage`.

    Which type it is is not checked: a `Registry` chooses the plan by it.
    """
    if len(payload) < 2:
        raise with_type(Truncated(f"a message starts with a type of 2 bytes, not {len(payload)}", offset=0), schema)
    if len(payload) > schema.max_size:
        raise with_type(MalformedMessage(_too_long(payload, schema), offset=schema.max_size), schema)


def too_many_values(path: str = "$", offset: int | None = None) -> MalformedMessage:
    """Return the error for a payload with more than `MAX_VALUES`."""
    return MalformedMessage(f"holds more than {MAX_VALUES} values; bulk data should be bytes", path=path, offset=offset)


def _too_long(payload: bytes, schema: Schema) -> str:
    return f"{len(payload)} bytes; {schema.name} has at most {schema.max_size}, its type included"


def with_type(error: CodecError, schema: Schema) -> CodecError:
    """Set an error's type number and name to those of the message, and return it."""
    error.type_id, error.name = schema.type_id, schema.full_name
    return error
