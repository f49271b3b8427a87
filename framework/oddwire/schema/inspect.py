"""Messages to and from dicts and text, for JSON, traces, logs and the command line."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar

from oddwire.errors import CodecError, EncodeError, MalformedMessage
from oddwire.schema.class_records import Field, Record, Schema
from oddwire.schema.classes import record_of
from oddwire.schema.forms import JSON, PACKED, SHOWN, Form
from oddwire.schema.kinds import (
    Array,
    Boolean,
    Choice,
    Float,
    Integer,
    Kind,
    Maybe,
    Nested,
    Octets,
    Opaque,
    Sized,
    Table,
    Text,
    unboxed,
)
from oddwire.schema.message import Message, schema_of
from oddwire.schema.tree import dump, dump_record, load
from oddwire.schema.union_kinds import Either, Tagged
from oddwire.schema.value_kinds import Limited, Scalar, unlimited

__all__ = ["from_dict", "from_strings", "plain_from_text", "to_dict", "value_from_text"]

M = TypeVar("M", bound=Message)
_Reader = Callable[[Field, Any, str], Any]

_NUMBER = re.compile(r"-?(?:\d{1,40}|0[xX][0-9a-fA-F]{1,40})", re.ASCII)
_TEXTS_LAST = {Text: 3, Opaque: 2, Octets: 2, Choice: 1}
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def to_dict(message: object) -> dict[str, Any]:
    """Return a dict that `json` can write, by field name; bytes and points are hex digits, enums their values.

    A member of a tagged union is a dict, its tag first; with the bolt codec, the body of an `UnknownVariant` is hex
    digits under ``body``. Bytes in a value of any type, and in a union where they would be text, are
    ``{"bytes": "ff"}``.
    The inverse is `from_dict`. Raises `EncodeError` if a field of the message or subtype holds
    an invalid value.
    """
    record = record_of(message)
    plain = dump_record(record, message, _form_of(record))
    return {field.name: plain.get(field.key) for field in record.fields}


def from_dict(cls: type[M], data: Mapping[str, Any]) -> M:
    """Return a message made from a dict of `to_dict`. Fields with a default may be left out.

    Raises `EncodeError` naming the field for a value that does not fit, and for a name the message does not have.
    """
    form = _form_of(schema_of(cls))
    return _make(cls, data, lambda field, value, path: load(field.kind, value, form, path))


def from_strings(cls: type[M], texts: Mapping[str, str]) -> M:
    """Return a message made from typed text: ``from_strings(Say, {"text": "hello", "volume": "0x0b"})``.

    Integers may be decimal or ``0x...``; bool is true or false; bytes and points are hex digits; channels look like
    ``539268x845x1``; enums take the member's name or value; None is ``none`` (for text, leave the field out); lists,
    dicts, subtypes and tagged unions are JSON, in which enums may have names too. For ``str | int`` and the like, text
    that may be a number is one, and so on, and ``"5"`` in double quotes is text. Raises `EncodeError` naming the field,
    what was wrong and what would be right.
    """
    form = _form_of(schema_of(cls))
    return _make(cls, texts, lambda field, text, path: _parse(field.kind, text, form, path))


def value_from_text(schema: Schema, name: str, text: str) -> Any:
    """Return the value of one field of a message that was typed, as `from_strings` reads it. Raises `EncodeError`."""
    field = schema.field(name)
    if field is None:
        raise EncodeError(f"{schema.name} has no field {name!r}; {_fields_of(schema)}")
    form = _form_of(schema)
    return _read_field(lambda field, text, path: _parse(field.kind, text, form, path), field, text, f"$.{name}")


def plain_from_text(kind: Kind, text: str, path: str = "$") -> Any:
    """Return what JSON holds for a value that was typed, which is read as `from_strings` does. Raises `EncodeError`."""
    try:
        return dump(kind, _parse(kind, text, JSON, path), JSON, path)
    except MalformedMessage as error:
        raise EncodeError(str(error.args[0]), path=error.path) from None


def _form_of(record: Record) -> Form:
    """Return the form of the dicts: that of the codec, where it has one."""
    return {"json": JSON, "msgpack": PACKED}.get(record.codec, SHOWN) if isinstance(record, Schema) else SHOWN


def _make(cls: type[M], given: Mapping[str, Any], read: _Reader) -> M:
    schema = schema_of(cls)
    try:
        unknown = sorted(set(given) - {field.name for field in schema.fields})
        if unknown:
            raise EncodeError(f"{schema.name} has no field {unknown[0]!r}; {_fields_of(schema)}")
        values: dict[str, Any] = {}
        for field in schema.fields:
            path = f"$.{field.name}"
            if field.name in given:
                values[field.name] = _read_field(read, field, given[field.name], path)
            elif field.required:
                raise EncodeError(f"{schema.name} needs a value for {field.name!r}: {_hint(field.kind)}", path=path)
        message: M = schema.cls(**values)
        for validator in schema.validators:
            validator.check_sent(message, "$")
    except CodecError as error:
        error.type_id = schema.type_id
        raise
    return message


def _read_field(read: _Reader, field: Field, value: Any, path: str) -> Any:
    """Read one value; an error in it is the user's, not a peer's: `EncodeError`."""
    try:
        return read(field, value, path)
    except MalformedMessage as error:
        raise EncodeError(str(error.args[0]), path=error.path) from None


def _parse(kind: Kind, text: str, form: Form, path: str) -> Any:
    match kind:
        case Maybe(inner=inner):
            is_none = text == "none" and not isinstance(unlimited(unboxed(inner)), Text)
            return None if is_none else _parse(inner, text, form, path)
        case Sized():
            return _parse(kind.inner, text, form, path)
        case Either():
            return _parse_either(kind, text, form, path)
        case Text() | Octets() | Opaque():
            plain: Any = text
        case Boolean():
            plain = _WORDS.get(text.lower(), text)
        case Integer():
            plain = _number(text)
            if kind.quoted and isinstance(plain, int):
                plain = str(plain)
        case Float():
            plain = _float(text)
        case Choice():
            return _choice(kind, text, path)
        case Limited():
            value = _parse(kind.inner, text, form, path)
            kind.check_received(value, path)
            return value
        case Scalar() if kind.parse is not None:
            return kind.from_text(text, path)
        case Scalar():
            return kind.from_wire(_parse(kind.inner, text, form, path), path)
        case _:
            try:
                plain = _spelled(kind, json.loads(text), path)
            except (ValueError, RecursionError):
                raise EncodeError(f"should be {_hint(kind)}, not {text!r:.200}", path=path) from None
    try:
        return load(kind, plain, form, path)
    except MalformedMessage:
        if plain is text and not isinstance(kind, Text | Octets):  # their own errors are more precise
            raise EncodeError(f"should be {_hint(kind)}, not {text!r}", path=path) from None
        raise


def _parse_either(kind: Either, text: str, form: Form, path: str) -> Any:
    """Parse a text as the first option that it fits, text itself being the last."""
    options = sorted(kind.options, key=lambda option: _TEXTS_LAST.get(type(unlimited(option)), 0))
    if any(isinstance(unlimited(option), Text) for option in options) and len(text) > 1 and text[0] == text[-1] == '"':
        with contextlib.suppress(ValueError):  # otherwise it is meant as it stands
            text, options = str(json.loads(text)), [one for one in options if isinstance(unlimited(one), Text)]
    for option in options:
        if isinstance(unlimited(option), Boolean) and text not in ("true", "false"):
            continue  # 1 and yes are a number and a text
        try:
            return _parse(option, text, form, path)
        except (EncodeError, MalformedMessage):
            if option is options[-1] and isinstance(unlimited(option), Text):
                raise
    raise EncodeError(f"should be {_hint(kind)}, not {text!r}", path=path)


def _spelled(kind: Kind, plain: Any, path: str) -> Any:
    """Accept enums by name within JSON too, and reject keys that a subtype does not have, as mistyped."""
    match kind:
        case Maybe() if plain is not None:
            return _spelled(kind.inner, plain, path)
        case Sized() | Limited() | Scalar(parse=None):
            return _spelled(kind.inner, plain, path)
        case Array() if isinstance(plain, list):
            return [_spelled(kind.element, item, f"{path}[{number}]") for number, item in enumerate(plain)]
        case Table() if isinstance(plain, dict):
            return {key: _spelled(kind.value, item, f"{path}[{key!r}]") for key, item in plain.items()}
        case Nested() if isinstance(plain, dict):
            kinds = {field.key: field.kind for field in kind.record.fields}
            unknown = sorted(plain.keys() - kinds)
            if unknown:
                raise EncodeError(f"has no field {unknown[0]!r}; {_fields_of(kind.record)}", path=path)
            return {key: _spelled(kinds[key], item, f"{path}.{key}") for key, item in plain.items()}
        case Tagged() if isinstance(plain, dict):
            tag = plain.get(kind.key)
            variant = kind.by_tag.get(tag) if isinstance(tag, int | str) else None
            if variant is not None:
                fields = {key: inner for key, inner in plain.items() if key != kind.key}
                return {kind.key: tag, **_spelled(Nested(variant.record), fields, path)}
        case Either():
            if isinstance(plain, dict) and (option := kind.labelled_in(plain)) is not None:
                return {option.label: _spelled(option, plain[option.label], path)}
            option = kind.option_of(plain, hexed=True)
            return plain if option is None else _spelled(option, plain, path)
        case Choice() if isinstance(plain, str):
            return kind.wire(_choice(kind, plain, path))
    return plain


def _number(text: str) -> int | str:
    if not _NUMBER.fullmatch(text):
        return text
    return int(text, 16 if "x" in text.lower() else 10)


def _float(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _choice(kind: Choice, text: str, path: str) -> Any:
    for member in kind.members.values():
        names = [str(kind.wire(member)), *([member.name] if isinstance(member, Enum) else [])]
        if text in names:
            return member
    raise EncodeError(f"should be {_hint(kind)}, not {text!r}", path=path)


def _fields_of(record: Record) -> str:
    return f"its fields are {', '.join(field.name for field in record.fields)}" if record.fields else "it has none"


def _hint(kind: Kind) -> str:
    """Return a description of the text that may be typed for a kind."""
    match kind:
        case Integer():
            return f"a number from {kind.low} to {kind.high}"
        case Boolean():
            return "true or false"
        case Float():
            return "a number"
        case Text():
            return "text"
        case Octets():
            return f"{kind.label} in hex digits"
        case Opaque(name="short_channel_id"):
            return "a short channel id, 539268x845x1"
        case Opaque():
            return f"a {kind.name}, {2 * kind.size} hex digits"
        case Choice():
            members = kind.members.values()
            return "one of " + ", ".join(m.name if isinstance(m, Enum) else str(m) for m in members)
        case Maybe():
            return f"{_hint(kind.inner)}, or none"
        case Sized():
            return _hint(kind.inner)
        case Array():
            return "a JSON array"
        case Tagged() if kind.variants:
            return f"a JSON object whose {kind.key!r} is {kind.tags}"
        case Either():
            return ", or ".join(map(_hint, kind.options))
        case Limited():
            return f"{_hint(kind.inner)}, {kind.limits.describe(kind.unit)}"
        case Scalar():
            return kind.hint or (kind.name if kind.parse is not None else f"{kind.name}: {_hint(kind.inner)}")
    return "JSON"
