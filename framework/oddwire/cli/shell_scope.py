"""The names that are in scope in `oddwire shell`: messages and their parts, by class name and by extension."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Sequence
from enum import Enum
from types import SimpleNamespace
from typing import Any

from oddwire.app import hookimpl
from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.vocabulary import Vocabulary
from oddwire.schema import Message
from oddwire.schema.class_records import Record
from oddwire.schema.kinds import Array, Choice, Kind, Maybe, Nested, Sized, Table
from oddwire.schema.message import schema_of
from oddwire.schema.union_kinds import Either, Tagged
from oddwire.schema.value_kinds import Limited, Scalar

__all__ = ["KnownMessages", "classes_of", "known_messages", "scope_of"]


class KnownMessages:
    """A plugin with the messages of a protocol of `oddwire.known`, so that they can be sent and are decoded."""

    def __init__(self, name: str, messages: Sequence[type[Message]]) -> None:
        self.name = name
        self.messages = messages

    @hookimpl
    def register_messages(self) -> Iterable[type[Message]]:
        """Return the messages."""
        return self.messages


def known_messages(name: str) -> KnownMessages:
    """Return the messages of ``oddwire.known.NAME``. Raises `CommandFailure`, with the names there are."""
    from oddwire.known.listing import MODULES, modules

    right = [each for each in MODULES if each != "bolts"]  # which the node itself speaks
    if name not in right:
        import difflib

        close = difflib.get_close_matches(name, right, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(right)}"
        raise CommandFailure(f"--known: oddwire.known has no {name!r} whose messages a shell can send; {hint}", USAGE)
    return KnownMessages(name, modules()[name].messages)


def scope_of(sources: Sequence[Vocabulary | KnownMessages]) -> dict[str, Any]:
    """Return classes by name: all messages, and the subtypes and enums of their fields.

    Each source's are attributes of an object of its own name, too, ``chat.Say``, and there alone where an earlier
    source has the name already, or Python has a function or type of it, ``list``.
    """
    scope: dict[str, Any] = {}
    spaces: dict[str, Any] = {}
    for source in sources:
        if isinstance(source, Vocabulary):
            messages: Iterable[type[Message]] = [schema.cls for schema in source.schemas.values()]
        else:
            messages = source.messages
        found = {cls.__name__: cls for cls in classes_of(messages)}
        spaces[source.name.replace("-", "_")] = SimpleNamespace(**found)
        plain = {name: cls for name, cls in found.items() if not (name.islower() and hasattr(builtins, name))}
        scope = {**plain, **scope}
    return {**spaces, **scope}


def classes_of(messages: Iterable[type[Message]]) -> list[type]:
    """Return message classes, and the classes of subtypes and enums in their fields, each once."""
    found: dict[type, None] = {}
    for message in messages:
        _add_record(schema_of(message), found)
    return [*found]


def _add_record(record: Record, found: dict[type, None]) -> None:
    if record.cls not in found:
        found[record.cls] = None
        for field in record.fields:
            _add_kind(field.kind, found)


def _add_kind(kind: Kind, found: dict[type, None]) -> None:
    match kind:
        case Maybe() | Sized() | Limited() | Scalar():
            _add_kind(kind.inner, found)
        case Array():
            _add_kind(kind.element, found)
        case Table():
            _add_kind(kind.value, found)
        case Nested():
            _add_record(kind.record, found)
        case Tagged():
            for variant in kind.variants:
                _add_record(variant.record, found)
        case Either():
            for option in kind.options:
                _add_kind(option, found)
        case Choice() if issubclass(kind.python, Enum):
            found[kind.python] = None
