"""The default codec: a map by field name in msgpack.

Unknown keys are ignored and missing ones take their defaults, so a schema can grow fields. A field that is None, and
None by default, is left out. If a key comes twice, the last one counts. Types are exact: a bool is not an int, nor a
str bytes, but an int is accepted for a float that can hold it exactly. NaN, infinities and extension types (timestamps
too) are refused, as is invalid UTF-8.

Each plan does everything twice. The fast path is generated for the schema and accepts only the usual. Everything else,
valid or not, takes the reference path of `oddwire.schema.tree`, which words the errors.

No payload makes the decoder allocate much more than its own size: see `MAX_QUICK_ARRAY` and `MAX_VALUES`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final, NoReturn

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
from oddwire.errors import CodecError, EncodeError, MalformedMessage, PayloadTooLarge
from oddwire.proto.primitives import MAX_MESSAGE
from oddwire.schema.class_records import Schema
from oddwire.schema.source import Source
from oddwire.schema.tree import MSGPACK, dump_record, load_record

__all__ = ["MAX_QUICK_ARRAY", "MsgpackCodec", "unpack"]

MAX_QUICK_ARRAY: Final = 128
"""Max elements of an array that is unpacked without a check.

It allocates an array's claimed length at once, and nests 1024 deep, so claims of 65535 could cost 537 MB. At 128 they
cost 1 MB. Longer arrays are unpacked only if a payload has few headers of long arrays, or after `scan` has found
enough bytes for everything claimed. A payload longer than a message is always scanned first.
"""

_FEW_HEADERS = 4
_UNUSUAL = (Retry, ValueError, TypeError, KeyError, OverflowError)


class MsgpackCodec(Codec):
    """``codec="msgpack"``."""

    name = "msgpack"

    def compile(self, schema: Schema) -> Plan:
        """Return the plan for one message."""
        return Plan(_compile_encode(schema), _compile_decode(schema))


def _refuse_extension(code: int, data: bytes) -> NoReturn:
    raise ValueError("extension types are refused")  # the library itself refuses those of any bytes


# The fast path -------------------------------------------------------------------------------------------------------


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
            source.line("payload = None")  # so that errors of the reference path do not chain to this one
        check = source.bind(partial(_check_long, schema), "check_long")
        source.line(f"return {slow}(message) if payload is None else {check}(payload)")
    return source.compile("encode", f"msgpack encode {schema.qualified_name}")


def _compile_decode(schema: Schema) -> Callable[[bytes], Any]:
    source = Source()
    writer = TreeWriter(source)
    unpack, slow = source.bind(msgpack.unpackb, "unpack"), source.bind(_slow_decode(schema), "slow")
    unusual = source.bind(_UNUSUAL, "unusual")
    no_extensions = f"max_ext_len=0, ext_hook={source.bind(_refuse_extension, 'refuse')}"
    with source.function("def decode(payload):"):
        with source.block(f"if len(payload) <= {quick_size(schema)}:"):
            with source.block("try:"):
                source.line(f"tree = {unpack}(payload[2:], max_array_len={MAX_QUICK_ARRAY}, {no_extensions})")
                source.line(f"return {writer.load_record(schema, 'tree')}")
            with source.block(f"except {unusual}:"):
                source.line("pass")
        source.line(f"return {slow}(payload)")
    return source.compile("decode", f"msgpack decode {schema.qualified_name}")


def _compile_load(schema: Schema) -> Callable[[object], Any]:
    """Return the second half of the fast path, for trees with long arrays; few messages need it."""
    source = Source()
    with source.function("def load(tree):"):
        source.line(f"return {TreeWriter(source).load_record(schema, 'tree')}")
    return source.compile("load", f"msgpack load {schema.qualified_name}")


def _check_long(schema: Schema, payload: bytes) -> bytes:
    """Return a payload to send if its size and number of values are allowed. Raises `EncodeError`."""
    check_size(payload, schema)
    if len(payload) > MAX_MESSAGE:
        try:
            scan(payload, 2, MAX_VALUES)
        except MalformedMessage as error:
            raise with_type(PayloadTooLarge(error.args[0]), schema) from None
    return payload


# The reference path --------------------------------------------------------------------------------------------------


def _slow_encode(schema: Schema) -> Callable[[Any], bytes]:
    prefix = type_bytes(schema)
    pack: Callable[[object], bytes] = msgpack.Packer().pack

    def encode(message: object) -> bytes:
        try:
            tree = dump_record(schema, message, MSGPACK)
            try:
                return _check_long(schema, prefix + pack(tree))
            except ValueError:  # of the packer: all else has been checked
                raise EncodeError("nests deeper than msgpack can") from None
        except CodecError as error:
            raise with_type(error, schema)  # noqa: B904 - the same error

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
            raise with_type(error, schema)  # noqa: B904 - the same error

    return decode


def unpack(payload: bytes) -> object:
    """Return the value after the type. Raises `MalformedMessage` with the offset, before memory is spent."""
    body = payload[2:]
    if len(payload) > MAX_MESSAGE:
        scan(payload, 2, MAX_VALUES)
    else:
        headers = body.count(b"\xdc") + body.count(b"\xdd")  # array 16 and array 32; a short array cannot claim much
        longest = len(body) if headers <= _FEW_HEADERS else MAX_QUICK_ARRAY
        try:
            return msgpack.unpackb(body, max_array_len=longest, max_ext_len=0, ext_hook=_refuse_extension)
        except msgpack.StackError:
            raise MalformedMessage("nests too deep", offset=2) from None
        except ValueError:
            pass  # so that errors of `scan` do not chain to this one
        scan(payload, 2)
    try:
        return msgpack.unpackb(body, max_array_len=len(body), max_ext_len=0, ext_hook=_refuse_extension)
    except msgpack.StackError:
        raise MalformedMessage("nests too deep", offset=2) from None
    except ValueError as error:
        raise MalformedMessage(f"is not msgpack: {error!s:.100}", offset=2) from None
