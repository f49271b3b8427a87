"""``codec="bolt"``: BOLT 1's wire types one after the other, then a TLV stream of the fields with ``tlv=N``.

Integers are big endian. Bytes, strings and arrays are preceded by a u16 that counts them, unless their field says
otherwise; alone in a TLV record they fill it. A bool is a byte, 00 or 01. Fields have no names on the wire, so a schema
grows by TLV records only: an absent record means its field's default, and unknown records of odd type are ignored.
Every message may end in such records, a BOLT 1 extension, also one that declares none; unknown ones of even type are
refused, as are records out of order, integers in more bytes than they need, and anything left over in a record.

Each plan does everything twice: by a fast path generated for the schema, and by the reference path (`reference_writing`
and `reference_reading`), which decides whatever the fast path does not accept, and words the errors.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from oddwire.codecs.base import Codec, Plan, Retry, check_received, check_size, quick_size, type_bytes, with_type
from oddwire.codecs.bolt.generated import dump_message, load_message
from oddwire.codecs.bolt.reference_reading import read_message
from oddwire.codecs.bolt.reference_writing import write_message
from oddwire.errors import CodecError, MalformedMessage, PayloadTooLarge
from oddwire.schema.class_records import Schema
from oddwire.schema.source import Source

__all__ = ["BoltCodec"]

_UNUSUAL: Final = (
    *(Retry, CodecError, struct.error),
    *(AttributeError, LookupError, OverflowError, TypeError, ValueError),
)


class BoltCodec(Codec):
    """``codec="bolt"``."""

    name = "bolt"

    def compile(self, schema: Schema) -> Plan:
        """Return the plan for one message."""
        return Plan(_compile_encode(schema), _compile_decode(schema))


def _compile_encode(schema: Schema) -> Callable[[Any], bytes]:
    source = Source()
    slow, unusual = source.bind(_slow_encode(schema), "slow"), source.bind(_UNUSUAL, "unusual")
    with source.function("def encode(message):"):
        with source.block("try:"):
            expression, size = dump_message(source, schema, "message")
            if size is not None and size <= quick_size(schema):
                source.line(f"return {expression}")
            else:
                source.line(f"payload = {expression}")
                with source.block(f"if len(payload) <= {quick_size(schema)}:"):
                    source.line("return payload")
        with source.block(f"except {unusual}:"):
            source.line("payload = None")  # so that errors of the reference path do not chain to this one
        if size is None or size > quick_size(schema):
            check = source.bind(partial(_check_long, schema), "check_long")
            source.line(f"return {slow}(message) if payload is None else {check}(payload)")
        else:
            source.line(f"return {slow}(message)")
    return source.compile("encode", f"bolt encode {schema.qualified_name}")


def _compile_decode(schema: Schema) -> Callable[[bytes], Any]:
    source = Source()
    slow, unusual = source.bind(_slow_decode(schema), "slow"), source.bind(_UNUSUAL, "unusual")
    with source.function("def decode(payload):"):
        with source.block("try:"):
            source.line(f"return {load_message(source, schema, 'payload')}")
        with source.block(f"except {unusual}:"):
            source.line("pass")  # so that errors of the reference path do not chain to this one
        source.line(f"return {slow}(payload)")
    return source.compile("decode", f"bolt decode {schema.qualified_name}")


def _check_long(schema: Schema, payload: bytes) -> bytes:
    """Return a payload to send if its size and number of values are allowed. Raises `EncodeError`."""
    check_size(payload, schema)
    if len(payload) > quick_size(schema):
        try:
            read_message(schema, payload)
        except MalformedMessage as error:
            raise with_type(PayloadTooLarge(error.args[0], path=error.path), schema) from None
    return payload


def _slow_encode(schema: Schema) -> Callable[[Any], bytes]:
    prefix = type_bytes(schema)

    def encode(message: object) -> bytes:
        try:
            return _check_long(schema, prefix + write_message(schema, message))
        except CodecError as error:
            raise with_type(error, schema)  # noqa: B904 - the same error

    return encode


def _slow_decode(schema: Schema) -> Callable[[bytes], Any]:
    def decode(payload: bytes) -> Any:
        try:
            check_received(payload, schema)
            return read_message(schema, payload)
        except CodecError as error:
            raise with_type(error, schema)  # noqa: B904 - the same error

    return decode
