"""The default codec: a map by field name in msgpack.

Unknown keys are ignored and missing ones take their defaults, so a schema can grow fields. A field that is None, and
None by default, is left out. If a key comes twice, the last one counts. Types are exact: a bool is no int, a str no
bytes, though an int will do for a float that can hold it exactly. NaN, infinities and extension types (timestamps too)
are refused, as is UTF-8 that is none.

Each plan has two ways to do the same. The quick one is generated for the schema and takes what is as it should be. For
everything else, right or wrong, there is the exact one of `oddwire.schema.tree`, which finds the words for an error.

No payload makes the decoder allocate much more than its own size: see `MAX_QUICK_ARRAY` and `MAX_VALUES`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final

import msgpack

from oddwire.codecs.base import (
    MAX_VALUES,
    Codec,
    Plan,
    Retry,
    check_received,
    check_size,
    quick_size,
    type_bytes,
    with_type,
)
from oddwire.codecs.msgpack.generated import TreeWriter
from oddwire.codecs.msgpack.scan import locate, scan
from oddwire.errors import CodecError, MalformedMessage, PayloadTooLarge
from oddwire.proto.primitives import MAX_MESSAGE
from oddwire.schema.kinds import Schema
from oddwire.schema.source import Source
from oddwire.schema.tree import MSGPACK, dump_record, load_record

__all__ = ["MAX_QUICK_ARRAY", "MsgpackCodec", "unpack"]

MAX_QUICK_ARRAY: Final = 128
"""The longest array the unpacker is trusted with unseen.

It allocates an array's claimed length at once, and nests 1024 deep, so claims of 65535 could cost 537 MB. At 128 they
cost 1 MB. Longer arrays are unpacked only if a payload has few headers of long arrays, or after `scan` has seen that
there are enough bytes for everything claimed. A payload longer than a message is always scanned first.
"""

_FEW_HEADERS = 4
_UNUSUAL = (Retry, ValueError, TypeError, KeyError, OverflowError)


class MsgpackCodec(Codec):
    """``codec="msgpack"``."""

    name = "msgpack"

    def compile(self, schema: Schema) -> Plan:
        """Make the plan."""
        return Plan(_compile_encode(schema), _compile_decode(schema))


# The quick way -------------------------------------------------------------------------------------------------------


def _compile_encode(schema: Schema) -> Callable[[Any], bytes]:
    source = Source()
    writer = TreeWriter(source)
    prefix, slow = source.bind(type_bytes(schema), "type"), source.bind(_slow_encode(schema), "slow")
    pack, unusual = source.bind(msgpack.Packer().pack, "pack"), source.bind(_UNUSUAL, "unusual")
    with source.function("def encode(message):"):
        with source.block("try:"):
            tree = writer.dump_record(schema, "message")
            source.line(f"payload = {prefix} + {pack}({tree})")
            with source.block(f"if len(payload) <= {quick_size(schema)}:"):
                source.line("return payload")
        with source.block(f"except {unusual}:"):
            source.line("payload = None")  # what the exact way raises should not name this
        check = source.bind(partial(_check_long, schema), "check_long")
        source.line(f"return {slow}(message) if payload is None else {check}(payload)")
    return source.compile("encode", f"msgpack encode {schema.qualified_name}")


def _compile_decode(schema: Schema) -> Callable[[bytes], Any]:
    source = Source()
    writer = TreeWriter(source)
    unpack, slow = source.bind(msgpack.unpackb, "unpack"), source.bind(_slow_decode(schema), "slow")
    unusual = source.bind(_UNUSUAL, "unusual")
    with source.function("def decode(payload):"):
        with source.block(f"if len(payload) <= {quick_size(schema)}:"):
            with source.block("try:"):
                source.line(f"tree = {unpack}(payload[2:], max_array_len={MAX_QUICK_ARRAY}, max_ext_len=0)")
                source.line(f"return {writer.load_record(schema, 'tree')}")
            with source.block(f"except {unusual}:"):
                source.line("pass")
        source.line(f"return {slow}(payload)")
    return source.compile("decode", f"msgpack decode {schema.qualified_name}")


def _compile_load(schema: Schema) -> Callable[[object], Any]:
    """Make the second half of the quick way, for trees with long arrays; few messages need it."""
    source = Source()
    with source.function("def load(tree):"):
        source.line(f"return {TreeWriter(source).load_record(schema, 'tree')}")
    return source.compile("load", f"msgpack load {schema.qualified_name}")


def _check_long(schema: Schema, payload: bytes) -> bytes:
    """Refuse to send what is too long, or holds more than a peer would take."""
    check_size(payload, schema)
    if len(payload) > MAX_MESSAGE:
        try:
            scan(payload, 2, MAX_VALUES)
        except MalformedMessage as error:
            raise with_type(PayloadTooLarge(error.args[0]), schema) from None
    return payload


# The exact way -------------------------------------------------------------------------------------------------------


def _slow_encode(schema: Schema) -> Callable[[Any], bytes]:
    prefix = type_bytes(schema)
    pack: Callable[[object], bytes] = msgpack.Packer().pack

    def encode(message: object) -> bytes:
        try:
            return _check_long(schema, prefix + pack(dump_record(schema, message, MSGPACK)))
        except CodecError as error:
            raise with_type(error, schema)  # noqa: B904 - it is the same error

    return encode


def _slow_decode(schema: Schema) -> Callable[[bytes], Any]:
    quick_load = cache(partial(_compile_load, schema))

    def decode(payload: bytes) -> object:
        try:
            check_received(payload, schema)
            tree = unpack(payload)
            with contextlib.suppress(*_UNUSUAL):
                return quick_load()(tree)
            try:
                return load_record(schema, tree, MSGPACK)
            except MalformedMessage as error:
                error.offset = locate(payload, schema, error.path)
                raise
        except CodecError as error:
            raise with_type(error, schema)  # noqa: B904 - it is the same error

    return decode


def unpack(payload: bytes) -> object:
    """Unpack what follows the type. Raises `MalformedMessage` saying what and where, before it spends memory."""
    body = payload[2:]
    if len(payload) > MAX_MESSAGE:
        scan(payload, 2, MAX_VALUES)
    else:
        headers = body.count(b"\xdc") + body.count(b"\xdd")  # array 16 and array 32; a short array cannot claim much
        longest = len(body) if headers <= _FEW_HEADERS else MAX_QUICK_ARRAY
        try:
            return msgpack.unpackb(body, max_array_len=longest, max_ext_len=0)
        except msgpack.StackError:
            raise MalformedMessage("nests too deep", offset=2) from None
        except ValueError:
            pass  # what `scan` raises should not name this
        scan(payload, 2)
    try:
        return msgpack.unpackb(body, max_array_len=len(body), max_ext_len=0)
    except msgpack.StackError:
        raise MalformedMessage("nests too deep", offset=2) from None
    except ValueError as error:
        raise MalformedMessage(f"is not msgpack: {error!s:.100}", offset=2) from None
