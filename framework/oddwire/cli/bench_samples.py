"""The messages that `oddwire bench` measures: an example of each, with the values that its user sets."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oddwire.app.declarations.handlers import Handler
from oddwire.app.declarations.rpc_documents import RpcDocument
from oddwire.app.plugins.manager import Contribution
from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.shell_words import as_typed
from oddwire.cli.vocabulary import Vocabulary
from oddwire.contracts.examples import examples
from oddwire.errors import EncodeError
from oddwire.schema import Message, Schema, schema_of
from oddwire.schema.inspect import value_from_text

__all__ = ["Sample", "samples_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One message. ``name`` is dotted; ``handler`` is what handles it, None if nothing does.

    ``message`` is None if no example was found; ``reason`` says so.
    """

    name: str
    extension: str
    cls: type[Message]
    message: Message | None
    handler: Handler | None
    replies: tuple[type[Message], ...] = ()
    reason: str = ""


def samples_of(
    contributions: Sequence[Contribution], names: Sequence[str], settings: Sequence[str], *, skip: Sequence[str] = ()
) -> list[Sample]:
    """Return a sample of each message of the extensions, or of those ``names``, in the order of their type numbers.

    Those in ``skip`` are without a handler.

    ``settings`` are ``FIELD=VALUE``, for every message with such a field, and ``EXT.MESSAGE.FIELD=VALUE``. Raises
    `CommandFailure` for names and values that do not fit.
    """
    given = [_setting(setting) for setting in settings]
    used: set[str] = set()
    found: dict[str, Sample] = {}
    for contribution in contributions:
        vocabulary = Vocabulary(contribution)
        handlers = {handler.message: handler for handler in contribution.handlers}
        for schema in sorted(vocabulary.schemas.values(), key=lambda schema: schema.type_id):
            cls: type[Message] = schema.cls
            if issubclass(cls, RpcDocument):
                continue
            name = f"{contribution.name}.{schema.name}"
            fields = {}
            for target, field, text in given:
                if (target == name) if target else schema.field(field) is not None:
                    fields[field] = _value(schema, name, field, text)
                    used.add(f"{target}.{field}")
            message, reason = _example(schema, fields)
            found[name] = Sample(
                name=name,
                extension=contribution.name,
                cls=cls,
                message=message,
                handler=None if name in skip else handlers.get(cls),
                replies=vocabulary.replies_to(cls),
                reason=reason,
            )
    for option, given_names in (("--message", names), ("--skip", skip)):
        for name in given_names:
            if name not in found:
                raise CommandFailure(f"{option}: there is no {name!r}{_hint(name, found)}", USAGE)
    for target, field, _ in given:
        if f"{target}.{field}" not in used:
            what = f"no message has a field {field!r}"
            if target:
                what = f"there is no message {target!r}{_hint(target, found)}"
            raise CommandFailure(f"--set: {what}", USAGE)
    return [sample for name, sample in found.items() if not names or name in names]


def _setting(setting: str) -> tuple[str, str, str]:
    """Return message, field and text; the message is empty if there is none."""
    key, separator, text = setting.partition("=")
    if not separator or not key:
        raise CommandFailure(f"--set should be FIELD=VALUE or EXT.MESSAGE.FIELD=VALUE, not {setting!r}", USAGE)
    target, _, field = key.rpartition(".")
    return target, field, as_typed(text)


def _value(schema: Schema, name: str, field: str, text: str) -> Any:
    try:
        return value_from_text(schema, field, text)
    except EncodeError as error:
        raise CommandFailure(f"--set: {name}: {field}: {error.args[0]}", USAGE) from None


def _example(schema: Schema, fields: Mapping[str, Any]) -> tuple[Message | None, str]:
    """Return an example with these fields, or None and the reason."""
    made = examples(schema.cls)
    values = {} if not made else {field.name: getattr(made[0][0], field.name) for field in schema.fields}
    missing = [field.name for field in schema.fields if field.required and field.name not in {**values, **fields}]
    if missing:
        return None, f"no example of it was found: --set {missing[0]}=VALUE gives one"
    message: Message = schema_of(schema.cls).cls(**{**values, **fields})
    return message, ""


def _hint(name: str, names: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, names, 1)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(names) or 'none'}"
