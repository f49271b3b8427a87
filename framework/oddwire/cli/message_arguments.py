"""Messages on the command line: ``field=value ...``."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.shell_words import as_typed
from oddwire.errors import EncodeError
from oddwire.schema import Field, Message, Schema, from_strings
from oddwire.schema.kinds import Array, Kind, Maybe, Nested
from oddwire.schema.spelling import show_value

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
    return ", ".join(map(_spell, schema.fields)) or "none"


def _spell(field: Field) -> str:
    text = f"{field.name}: {_type(field.kind)}"
    return text if field.required else f"{text} = {show_value(field.make_default())}"


def _type(kind: Kind) -> str:
    match kind:
        case Maybe():
            return f"{_type(kind.inner)} or None"
        case Array():
            return f"list of {_type(kind.element)}"
        case Nested():
            return f"{kind.label}({', '.join(f'{field.key}: {_type(field.kind)}' for field in kind.record.fields)})"
    return kind.label
