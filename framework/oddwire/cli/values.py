"""Messages as people type and read them: ``name=value`` into a message, a message into what JSON can hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum
from typing import Any

from oddwire.cli.failure import USAGE, Failure
from oddwire.errors import EncodeError, MalformedMessage
from oddwire.schema import Field, Message, Schema, schema_of
from oddwire.schema.kinds import Anything, Array, Boolean, Choice, Float, Integer, Kind, Maybe, Nested, Table
from oddwire.schema.text import show_value
from oddwire.schema.tree import JSON, dump_record, load_record

__all__ = ["from_strings", "spell_fields", "to_plain"]


def to_plain(message: Message) -> dict[str, Any]:
    """Give a message's fields as JSON has them: bytes and points as hex digits, enums as what travels for them."""
    schema = schema_of(message)
    try:
        return dump_record(schema, message, JSON)
    except EncodeError:  # bytes inside a field of any kind, say, which msgpack carries and JSON does not
        return {field.key: show_value(getattr(message, field.name)) for field in schema.fields}


def from_strings(schema: Schema, name: str, assignments: Sequence[str]) -> Message:
    """Make a message of ``field=value`` texts; ``name`` is what errors call it.

    Numbers are decimal or 0x hex, bytes and points hex digits, texts as they are, enums a member's name or value,
    lists, maps and subtypes JSON. ``null`` is None where a field allows it. Raises `Failure` naming the field, and
    those there are.
    """
    fields = {field.name: field for field in schema.fields}
    plain: dict[str, Any] = {}
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        field = fields.get(key)
        if not separator:
            raise _wrong(schema, name, f"{assignment!r} should be field=value")
        if field is None:
            raise _wrong(schema, name, f"there is no field {key!r}")
        if field.key in plain:
            raise _wrong(schema, name, f"field {key!r} is given twice")
        try:
            plain[field.key] = _parse(field.kind, text)
        except ValueError as error:
            raise _wrong(schema, name, f"{key} should be {field.kind.label}, not {text!r} ({error})") from None
    missing = [field.name for field in schema.fields if field.required and field.key not in plain]
    if missing:
        raise _wrong(schema, name, f"{' and '.join(missing)} should be given")
    try:
        message: Message = load_record(schema, plain, JSON)
    except MalformedMessage as error:
        raise _wrong(schema, name, str(error)) from None
    return message


def spell_fields(schema: Schema) -> str:
    """List a message's fields with their types and defaults: ``text: str, number: u32 = 0``."""
    return ", ".join(map(_spell, schema.fields)) or "none"


def _spell(field: Field) -> str:
    text = f"{field.name}: {field.kind.label}"
    return text if field.required else f"{text} = {show_value(field.make_default())}"


def _wrong(schema: Schema, name: str, text: str) -> Failure:
    return Failure(f"{name}: {text}; its fields are: {spell_fields(schema)}", USAGE)


def _parse(kind: Kind, text: str) -> Any:
    """Turn a text into the plain object JSON would hold; `load_record` checks the rest. Raises `ValueError`."""
    match kind:
        case Maybe():
            return None if text == "null" else _parse(kind.inner, text)
        case Integer():
            return int(text, 0)
        case Float():
            return float(text)
        case Boolean():
            if text.lower() not in _BOOLEANS:
                raise ValueError(f"one of {', '.join(_BOOLEANS)}")
            return _BOOLEANS[text.lower()]
        case Choice():
            for member in kind.members.values():
                if isinstance(member, Enum) and member.name == text:
                    return member.value
            return _parse(kind.base, text)
        case Array() | Table() | Nested():
            return json.loads(text)
        case Anything():
            try:
                return json.loads(text)
            except ValueError:
                return text
    return text


_BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
