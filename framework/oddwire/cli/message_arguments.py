"""Messages on the command line: ``field=value ...``."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.shell_words import as_typed
from oddwire.errors import EncodeError
from oddwire.schema import Field, Message, Schema, from_strings
from oddwire.schema.class_records import Record
from oddwire.schema.kinds import Array, Kind, Maybe, Nested, Sized
from oddwire.schema.spelling import show_value
from oddwire.schema.union_kinds import Either, Tagged
from oddwire.schema.value_kinds import Limited, Scalar

__all__ = ["from_assignments", "spell_fields"]


def from_assignments(schema: Schema, name: str, assignments: Sequence[str]) -> Message:
    """Return a message from ``field=value`` texts, as `oddwire.schema.from_strings` parses them.

    ``name`` is the message's name in errors. Raises `CommandFailure` naming the wrong field, and all fields.
    """

    def wrong(text: str) -> CommandFailure:
        return CommandFailure(f"{name}: {text}; its fields are: {spell_fields(schema)}", USAGE)

    texts: dict[str, str] = {}
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        if not separator:
            raise wrong(f"{assignment!r} should be field=value")
        if schema.field(key) is None:
            close = difflib.get_close_matches(key, [field.name for field in schema.fields], 1)
            raise wrong(f"there is no field {key!r}" + (f", did you mean {close[0]}?" if close else ""))
        if key in texts:
            raise wrong(f"field {key!r} is given twice")
        texts[key] = as_typed(text)
    missing = [field.name for field in schema.fields if field.required and field.name not in texts]
    if missing:
        raise wrong(f"{' and '.join(missing)} should be given")
    message: Message
    try:
        message = from_strings(schema.cls, texts)
    except EncodeError as error:
        raise wrong(f"{error.path.removeprefix('$.')} {error.args[0]}") from None
    return message


def spell_fields(schema: Schema) -> str:
    """Return a list of a message's fields with types and defaults: ``text: str, number: u32 = 0``."""
    return ", ".join(_spell(field, frozenset([schema.cls])) for field in schema.fields) or "none"


def _spell(field: Field, around: frozenset[type]) -> str:
    text = f"{field.name}: {_type(field.kind, around)}"
    return text if field.required else f"{text} = {show_value(field.make_default(), field.kind)}"


def _type(kind: Kind, around: frozenset[type]) -> str:
    """Return the text of a type; ``around`` are the classes that it is in, which are not written out again."""
    match kind:
        case Maybe():
            return f"{_type(kind.inner, around)} or None"
        case Sized():
            return _type(kind.inner, around)
        case Array():
            return f"list of {_type(kind.element, around)}"
        case Scalar(parse=None):
            return kind.label if kind.label in (inner := _type(kind.inner, around)) else f"{kind.label} as {inner}"
        case Limited():
            return f"{_type(kind.inner, around)} {kind.limits.describe(kind.unit)}"
        case Nested(record=record) if record.cls not in around:
            return f"{kind.label}({', '.join(_items(record, around))})"
        case Tagged():
            members = [
                f"{variant.record.name}({', '.join([f'{kind.key}: {variant.tag}', *_items(variant.record, around)])})"
                for variant in kind.variants
            ]
            return " or ".join([*members, *(["UnknownVariant"] if kind.unknown else [])])
        case Either():
            return " or ".join(_type(option, around) for option in kind.options)
    return kind.label


def _items(record: Record, around: frozenset[type]) -> list[str]:
    if record.cls in around:
        return ["..."]
    return [f"{field.key}: {_type(field.kind, around | {record.cls})}" for field in record.fields]
