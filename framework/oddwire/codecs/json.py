"""``codec="json"``: one JSON object, compact and in UTF-8, as bLIP-50 (LSPS0) and PeerSwap use it.

Keys are the fields' ``key``. Bytes, hashes, signatures and points are hex digits, short channel ids are text
(``539268x845x1``). A field that is None, and None by default, is left out; unknown keys are ignored. Refused in what a
peer sends: a key that comes twice, NaN and infinities, numbers of more than 64 bits in an integer field, lone
surrogates, nesting more than 32 deep, anything after the object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final, NoReturn

from oddwire.codecs.base import Codec, Plan, check_size, type_bytes, with_type
from oddwire.errors import CodecError, MalformedMessage
from oddwire.schema.record import Schema
from oddwire.schema.tree import JSON, MAX_DEPTH, dump_record, load_record

__all__ = ["JsonCodec"]

LONGEST_NUMBER: Final = 1000
"""Digits a number may have: turning more into an int takes Python time that grows with their square."""

_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


class JsonCodec(Codec):
    """``codec="json"``."""

    name = "json"

    def compile(self, schema: Schema) -> Plan:
        """Make the plan."""
        return Plan(_compile_encode(schema), _compile_decode(schema))


def _compile_encode(schema: Schema) -> Callable[[Any], bytes]:
    prefix = type_bytes(schema)
    write = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

    def encode(message: object) -> bytes:
        try:
            return check_size(prefix + write(dump_record(schema, message, JSON)).encode())
        except CodecError as error:
            raise with_type(error, schema)  # noqa: B904 - it is the same error

    return encode


def _compile_decode(schema: Schema) -> Callable[[bytes], Any]:
    def decode(payload: bytes) -> object:
        try:
            return load_record(schema, _parse(payload), JSON)
        except CodecError as error:
            raise with_type(error, schema)  # noqa: B904 - it is the same error

    return decode


def _parse(payload: bytes) -> object:
    """Read the JSON after the type. Raises `MalformedMessage` only."""
    try:
        text = payload[2:].decode()
    except UnicodeDecodeError as error:
        raise MalformedMessage(f"is not UTF-8: {error.reason}", offset=2 + error.start) from None
    _check_depth(text)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        offset = 2 + len(text[: error.pos].encode())
        raise MalformedMessage(f"is not JSON: {error.msg}", offset=offset) from None


def _check_depth(text: str) -> None:
    """Refuse deep nesting before the parser, which recurses, sees it."""
    depth = 0
    for token in _TOKENS.finditer(text):
        first = token[0][0]
        if first in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                offset = 2 + len(text[: token.start()].encode())
                raise MalformedMessage(f"nests more than {MAX_DEPTH} levels deep", offset=offset)
        elif first in "]}":
            depth -= 1


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise MalformedMessage(f"the key {twice!r:.60} comes twice")
    return made


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise MalformedMessage(f"a number of {len(digits)} digits; there should be at most {LONGEST_NUMBER}")
    return int(digits)


def _constant(name: str) -> NoReturn:
    raise MalformedMessage(f"{name} is not JSON: numbers should be finite")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=_integer, parse_constant=_constant)
