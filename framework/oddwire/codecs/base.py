"""What a codec is: it compiles a schema, once, into a `Plan` of two inverse functions.

A third-party codec subclasses `Codec`; an author picks it by its name, ``@message(0x8C01, codec="its-name")``, once a
plugin has given it to the registry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

from oddwire.errors import CodecError, MalformedMessage, PayloadTooLarge
from oddwire.proto.primitives import MAX_MESSAGE
from oddwire.records import FrozenRecord
from oddwire.schema.kinds import Schema

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
"""How many values a payload may hold, maps, arrays and what is in them all counted: 262144.

A payload of one message cannot hold as many. One of 16 MiB could hold millions in a byte or two each, and take
gigabytes of memory and many seconds: bulk data belongs into bytes.
"""


class Plan(FrozenRecord):
    """How one message becomes a payload and back. Both functions deal in whole payloads, two-byte type included.

    ``encode(message)`` raises `EncodeError` and its kinds; ``decode(payload)``, given bytes whose type is the
    schema's, `MalformedMessage` and its kinds. Neither raises anything else, whatever it is given. Both keep to
    `Schema.max_size`.
    """

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


class Codec(ABC):
    """Writes messages of any schema. Holds no state of any connection."""

    name: str
    """What ``@message(codec=...)`` calls it."""

    @abstractmethod
    def compile(self, schema: Schema) -> Plan:
        """Make the plan for one message. Raises `SchemaError` naming the field it cannot carry."""


class Retry(Exception):
    """What generated functions raise for anything out of the ordinary, right or wrong: the exact way shall decide."""


def type_bytes(schema: Schema) -> bytes:
    """Return the two bytes a payload starts with."""
    return schema.type_id.to_bytes(2, "big")


def quick_size(schema: Schema) -> int:
    """Say up to which size a payload needs no second look: it is allowed, and can hold no more than it should."""
    return min(schema.max_size, MAX_MESSAGE)


def check_size(payload: bytes, schema: Schema) -> bytes:
    """Refuse to send a payload that is longer than its message may be. Raises `PayloadTooLarge`."""
    if len(payload) > schema.max_size:
        raise with_type(PayloadTooLarge(_too_long(payload, schema)), schema)
    return payload


def check_received(payload: bytes, schema: Schema) -> None:
    """Refuse a received payload that is longer than its message may be. Raises `MalformedMessage`."""
    if len(payload) > schema.max_size:
        raise with_type(MalformedMessage(_too_long(payload, schema), offset=schema.max_size), schema)


def too_many_values(path: str = "$", offset: int | None = None) -> MalformedMessage:
    """Return the error for a payload with more than `MAX_VALUES`."""
    return MalformedMessage(f"holds more than {MAX_VALUES} values; bulk data should be bytes", path=path, offset=offset)


def _too_long(payload: bytes, schema: Schema) -> str:
    return f"{len(payload)} bytes; {schema.name} has at most {schema.max_size}, its type included"


def with_type(error: CodecError, schema: Schema) -> CodecError:
    """Say in an error which message it is about."""
    error.type_id, error.name = schema.type_id, schema.full_name
    return error
