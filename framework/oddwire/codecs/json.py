"""``codec="json"``: one JSON object, compact and in UTF-8, as bLIP-50 (LSPS0) and PeerSwap use it.

Keys are the fields' ``key``, in the order of the declaration. Bytes, hashes, signatures and points are hex digits,
short channel ids are text (``539268x845x1``). A field that is None, and None by default, is left out; unknown keys are
ignored. Refused from a peer: a key that comes twice, NaN and infinities, numbers of more than 64 bits in an integer
field, lone surrogates, nesting more than 32 deep, anything after the object, more than `MAX_VALUES` values.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NoReturn

from oddwire.codecs.base import (
    MAX_VALUES,
    Codec,
    Plan,
    check_received,
    check_size,
    too_many_values,
    type_bytes,
    with_type,
)
from oddwire.errors import CodecError, MalformedMessage, PayloadTooLarge
from oddwire.proto.primitives import MAX_MESSAGE
from oddwire.schema.kinds import Array, Kind, Maybe, Nested, Record, Schema
from oddwire.schema.tree import JSON, MAX_DEPTH, dump_record, load_record

__all__ = ["LONGEST_NUMBER", "JsonCodec", "check_shape", "read_json", "write_json"]

LONGEST_NUMBER: Final = 1000
"""Max digits of a number: Python's conversion to int takes time that grows with the square of their number."""

_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'  # possessive: a long string is matched without a backtracking stack
_BRACKETS = re.compile(rf"{_STRING}|[\[{{]|[\]}}]", re.DOTALL)
_BRACKETS_AND_COMMAS = re.compile(rf"{_STRING}|[\[{{]|[\]}},]", re.DOTALL)
_STEPS = re.compile(r"\.(\w+)|\[(\d+)\]")


class JsonCodec(Codec):
    """``codec="json"``."""

    name = "json"

    def compile(self, schema: Schema) -> Plan:
        """Return the plan for one message."""
        return Plan(_compile_encode(schema), _compile_decode(schema))


def _compile_encode(schema: Schema) -> Callable[[Any], bytes]:
    prefix = type_bytes(schema)

    def encode(message: object) -> bytes:
        try:
            text = write_json(dump_record(schema, message, JSON))
            payload = check_size(prefix + text.encode(), schema)
            if len(payload) > MAX_MESSAGE:
                check_shape(text)
            return payload
        except MalformedMessage as error:
            raise with_type(PayloadTooLarge(error.args[0]), schema) from None
        except CodecError as error:
            raise with_type(error, schema)  # noqa: B904 - the same error

    return encode


def _compile_decode(schema: Schema) -> Callable[[bytes], Any]:
    def decode(payload: bytes) -> object:
        try:
            check_received(payload, schema)
            text, tree = read_json(payload)
            try:
                return load_record(schema, tree, JSON)
            except MalformedMessage as error:
                error.offset = _offset(text, _locate(text, schema, error.path))
                raise
        except CodecError as error:
            raise with_type(error, schema)  # noqa: B904 - the same error

    return decode


write_json: Final[Callable[[Any], str]] = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode
"""Return a plain value as compact JSON."""


def read_json(payload: bytes) -> tuple[str, object]:
    """Return the text of a payload behind its type, and what it says. Raises `MalformedMessage`."""
    text = _text(payload)
    return text, _parse(text)


def _text(payload: bytes) -> str:
    try:
        return payload[2:].decode()
    except UnicodeDecodeError as error:
        raise MalformedMessage(f"is not UTF-8: {error.reason}", offset=2 + error.start) from None


def _offset(text: str, position: int) -> int:
    """Return the payload's offset of a position in the text."""
    return 2 + len(text[:position].encode())


def _parse(text: str) -> object:
    check_shape(text)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise MalformedMessage(f"is not JSON: {error.msg}", offset=_offset(text, error.pos)) from None


def check_shape(text: str) -> None:
    """Reject deep nesting and too many values before the parser, which recurses."""
    depth = values = 0
    for count, token in enumerate((_BRACKETS if len(text) <= MAX_VALUES else _BRACKETS_AND_COMMAS).finditer(text)):
        first = text[token.start()]
        if first in "[{,":
            values += 1
            if values > MAX_VALUES:
                raise too_many_values(offset=_offset(text, token.start()))
            if first == ",":
                continue
            depth += 1
            if depth > MAX_DEPTH:
                where = _offset(text, token.start())
                raise MalformedMessage(f"nests more than {MAX_DEPTH} levels deep", offset=where)
        elif first in "]}":
            depth -= 1
        elif count > 5 * MAX_VALUES:  # strings without separators: not even JSON
            raise too_many_values(offset=_offset(text, token.start()))


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = Counter(key for key, _ in pairs)
        twice = next(key for key, count in keys.items() if count > 1)
        raise MalformedMessage(f"the key {twice!r:.60} comes twice")
    return made


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise MalformedMessage(f"a number of {len(digits)} digits; there should be at most {LONGEST_NUMBER}")
    return int(digits)


def _constant(name: str) -> NoReturn:
    raise MalformedMessage(f"{name} is not JSON: numbers should be finite")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=_integer, parse_constant=_constant)


# Offset of the value at a path ---------------------------------------------------------------------------------------


def _locate(text: str, record: Record, path: str) -> int:
    """Return the position of the value at ``path`` in valid JSON, or of the innermost value around it."""
    at = _next(text, 0)
    kind: Kind = Nested(record)
    for name, index in _STEPS.findall(path):
        while isinstance(kind, Maybe):
            kind = kind.inner
        places = _places(text, at)
        wanted: str | int | None = None
        if isinstance(kind, Nested) and name:
            field = kind.record.field(name)
            if field is not None:
                wanted, kind = field.key, field.kind
        elif isinstance(kind, Array) and index:
            wanted, kind = int(index), kind.element
        if wanted not in places:
            break
        at = places[wanted]
    return at


def _places(text: str, at: int) -> dict[str | int | None, int]:
    """Return the positions of the values of the object or array at ``at``, by key or index."""
    found: dict[str | int | None, int] = {}
    closing = {"{": "}", "[": "]"}.get(text[at], "")
    place = _next(text, at + 1)
    while closing and text[place] != closing:
        key: str | int = len(found)
        if closing == "}":
            key, place = _DECODER.raw_decode(text, place)
            place = _next(text, _next(text, place) + 1)
        found[key] = place
        place = _next(text, _DECODER.raw_decode(text, place)[1])
        if text[place] == ",":
            place = _next(text, place + 1)
    return found


def _next(text: str, at: int) -> int:
    """Return the position after white space."""
    while text[at : at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    return at
