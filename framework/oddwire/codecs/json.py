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
from oddwire.errors import CodecError, EncodeError, MalformedMessage, PayloadTooLarge
from oddwire.proto.primitives import MAX_MESSAGE
from oddwire.schema.class_records import Record, Schema
from oddwire.schema.kinds import Anything, Array, Kind, Nested, Table
from oddwire.schema.nesting import parts_of
from oddwire.schema.tree import JSON, dump_record, load_record
from oddwire.schema.tree_values import MAX_DEPTH, path_of_key
from oddwire.schema.union_kinds import Either, Tagged
from oddwire.schema.value_kinds import carrier

__all__ = ["LONGEST_NUMBER", "JsonCodec", "check_shape", "read_json", "write_json"]

LONGEST_NUMBER: Final = 1000
"""Max digits of a number: Python's conversion to int takes time that grows with the square of their number."""

_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'  # possessive: a long string is matched without a backtracking stack
_BRACKETS = re.compile(rf"{_STRING}|[\[{{]|[\]}}]", re.DOTALL)
_BRACKETS_AND_COMMAS = re.compile(rf"{_STRING}|[\[{{]|[\]}},]", re.DOTALL)
_BLANKS = re.compile(r"[ \t\r\n]*")
_STEPS = re.compile(r"\.(\w+)|\[(\d+)\]")


class JsonCodec(Codec):
    """``codec="json"``."""

    name = "json"

    def compile(self, schema: Schema) -> Plan:
        """Return the plan for one message."""
        return Plan(_compile_encode(schema), _compile_decode(schema))


def _compile_encode(schema: Schema) -> Callable[[Any], bytes]:
    prefix = type_bytes(schema)
    may_be_deep = _depth(Nested(schema), {}) > MAX_DEPTH

    def encode(message: object) -> bytes:
        try:
            tree = dump_record(schema, message, JSON)
            if may_be_deep:
                _check_depth(schema, tree)
            text = write_json(tree)
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


def _depth(kind: Kind, known: dict[type, int]) -> int:
    """Return the max number of maps and arrays in one another, or a number over `MAX_DEPTH`; ``known`` is by class."""
    if isinstance(kind, Anything) or (isinstance(kind, Tagged) and kind.unknown):
        return MAX_DEPTH + 1
    if isinstance(kind, Nested):
        cls = kind.record.cls
        if cls not in known:
            inside = (_depth(part, known) for part in parts_of(kind))
            known[cls] = MAX_DEPTH + 1 if kind.record.recursive else 1 + max(inside, default=0)
        return known[cls]
    return isinstance(kind, Array | Table) + max((_depth(part, known) for part in parts_of(kind)), default=0)


def _check_depth(record: Record, tree: dict[str, Any]) -> None:
    """Check that a peer can read what is to be written. Raises `EncodeError` with the path."""
    steps = _steps_too_deep(Nested(record), tree, MAX_DEPTH)
    if steps is not None:
        raise EncodeError(f"nests more than {MAX_DEPTH} levels deep, maps and arrays in all", path=f"${steps}")


def _steps_too_deep(kind: Kind | None, plain: Any, left: int) -> str | None:
    """Return the path to a map or array that is ``left`` levels down; None if there is none."""
    if type(plain) not in (dict, list):
        return None
    if left == 0:
        return ""
    kind = None if kind is None else carrier(kind)
    for key, inner in plain.items() if type(plain) is dict else enumerate(plain):
        step, part = path_of_key("", key), None
        if isinstance(kind, Nested):
            field = next((field for field in kind.record.fields if field.key == key), None)
            step, part = (step, None) if field is None else (f".{field.name}", field.kind)
        elif isinstance(kind, Array | Table):
            (part,) = parts_of(kind)
        steps = _steps_too_deep(part, inner, left - 1)
        if steps is not None:
            return step + steps
    return None


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
    at, ends = _next(text, 0), _ends(text)
    kind: Kind = Nested(record)
    for name, index in _STEPS.findall(path):
        kind = carrier(kind)
        places = _places(text, at, ends)
        wanted: str | int | None = None
        if isinstance(kind, Either):
            kind = carrier(kind.in_json.get(list if text[at] == "[" else dict, kind))
        if isinstance(kind, Tagged) and name and kind.key in places:
            tag = _DECODER.raw_decode(text, places[kind.key])[0]
            variant = kind.by_tag.get(tag) if type(tag) in (int, str) else None
            if name == kind.key and (variant is None or variant.record.field(name) is None):
                return places[kind.key]
            kind = kind if variant is None else Nested(variant.record)
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


def _ends(text: str) -> dict[int, int]:
    """Return where each object and array ends, by its position: so those beside the path are passed in one step."""
    ends: dict[int, int] = {}
    around: list[int] = []
    for token in _BRACKETS.finditer(text):
        if text[token.start()] in "[{":
            around.append(token.start())
        elif text[token.start()] in "]}":
            ends[around.pop()] = token.end()
    return ends


def _places(text: str, at: int, ends: dict[int, int]) -> dict[str | int | None, int]:
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
        place = _next(text, ends.get(place) or _DECODER.raw_decode(text, place)[1])
        if text[place] == ",":
            place = _next(text, place + 1)
    return found


def _next(text: str, at: int) -> int:
    """Return the position after white space."""
    return _BLANKS.match(text, at).end()  # type: ignore[union-attr] # it matches nothing at all too
