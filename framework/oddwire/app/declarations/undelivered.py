"""Callbacks of ``on_undelivered`` for messages of certain classes."""

from __future__ import annotations

import types
from collections.abc import Collection, Mapping
from typing import Any

from oddwire.app.declarations.annotations import alternatives, evaluate, spell
from oddwire.app.declarations.declared import Hook
from oddwire.app.declarations.handlers import parameters_of, place
from oddwire.errors import ExtensionError
from oddwire.schema import Message, schema_of

__all__ = ["Undelivered"]


class Undelivered(Hook, kw_only=True, hidden=("scope",)):
    """One function that is called for messages of some classes that were not delivered or settled.

    ``scope`` are names for annotations besides the function's globals. Raises `ExtensionError`.
    """

    name: str = "on_undelivered"
    classes: tuple[type[Message], ...]
    scope: Mapping[str, Any] = types.MappingProxyType({})

    def __post_init__(self) -> None:
        for cls in self.classes:
            if not (isinstance(cls, type) and issubclass(cls, Message)):
                raise self._wrong(f"should be given message classes, (Parcel, Letter) say, not {cls!r:.200}")
            schema_of(cls)

    def applies_to(self, message: Message | None) -> bool:
        """Return whether a message is of one of the classes."""
        return type(message) in self.classes

    def check(self, extension: str, messages: Collection[type[Message]]) -> None:
        """Check the classes against those of the extension, and the annotation of the message against the classes.

        Raises `ExtensionError`.
        """
        for cls in self.classes:
            if cls not in messages:
                raise self._wrong(
                    f"{extension!r} does not handle, return or register {cls.__name__}, so none of its messages is one"
                )
        name = [*parameters_of(self.function), "", ""][1]
        try:
            accepted = evaluate(self.function, (name,), self.scope).get(name, Any)
        except NameError as error:
            raise self._wrong(str(error)) from None
        options = alternatives(accepted)
        for cls in self.classes:
            if not any(option is Any or not isinstance(option, type) or issubclass(cls, option) for option in options):
                raise self._wrong(f"parameter {name!r} should be {cls.__name__}, not {spell(accepted)}")

    def _wrong(self, text: str) -> ExtensionError:
        return ExtensionError(f"{place(self.function)}, @on_undelivered: {text}")
