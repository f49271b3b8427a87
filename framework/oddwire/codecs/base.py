"""What a codec is: it compiles a schema, once, into a `Plan` of two inverse functions.

A third-party codec subclasses `Codec`; an author picks it by its name, ``@message(0x8C01, codec="its-name")``, once a
plugin has given it to the registry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from oddwire.errors import CodecError, PayloadTooLarge
from oddwire.proto.primitives import MAX_MESSAGE
from oddwire.schema.record import Schema
from oddwire.values import Value

__all__ = ["Codec", "Plan", "Retry", "check_size", "type_bytes", "with_type"]


class Plan(Value):
    """How one message becomes a payload and back. Both functions deal in whole payloads, two-byte type included.

    ``encode(message)`` raises `EncodeError` and its kinds; ``decode(payload)``, given bytes whose type is the
    schema's, `MalformedMessage` and its kinds. Neither raises anything else, whatever it is given.
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
    """Give the two bytes a payload starts with."""
    return schema.type_id.to_bytes(2, "big")


def check_size(payload: bytes) -> bytes:
    """Refuse what no frame can hold. Raises `PayloadTooLarge`."""
    # BOLT 8, Lightning Message Specification
    if len(payload) > MAX_MESSAGE:
        raise PayloadTooLarge(f"{len(payload)} bytes; a message has at most {MAX_MESSAGE}, its type included")
    return payload


def with_type(error: CodecError, schema: Schema) -> CodecError:
    """Say in an error which message it is about."""
    error.type_id = schema.type_id
    return error
