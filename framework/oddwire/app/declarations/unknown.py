"""Handlers of payloads for which there is no message class."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from oddwire.app.context import Context
from oddwire.app.declarations.handlers import check_callback, place
from oddwire.errors import ExtensionError, SchemaError
from oddwire.proto.type_numbers import check_claim
from oddwire.records import FrozenRecord
from oddwire.schema import Message

__all__ = ["UnknownHandler"]


class UnknownHandler(FrozenRecord, kw_only=True):
    """One async function that receives every plain payload of some types, without a schema.

    ``types`` are numbers and ranges of numbers. ``function`` is called with a `Context`, the number, and the bytes
    behind it. With ``spec`` numbers below 32768 are allowed, too. Raises `ExtensionError`.
    """

    types: tuple[int | range, ...]
    function: Callable[..., Coroutine[Any, Any, None]]
    spec: bool = False

    def __post_init__(self) -> None:
        check_callback(self.function, "on_unknown", Context, "context", "type_id", "data")
        types: tuple[object, ...] = self.types
        for given in types:
            if isinstance(given, type) and issubclass(given, Message):
                raise self._wrong(f"takes numbers; {given.__name__} is a message, which has a handler: extension.on()")
            if not isinstance(given, (int, range)) or isinstance(given, bool):
                should = "numbers and ranges, 0x9001 or range(0x9001, 0x9081, 2)"
                raise self._wrong(f"should be given {should}, not {given!r:.200}")
            edges = (given,) if isinstance(given, int) else (given[0], given[-1]) if given else ()
            for type_id in edges:  # before all are listed: there may be billions
                self._check(type_id)
        if not self.numbers:
            raise self._wrong(f"there is no number in {', '.join(map(str, types)) or 'nothing'}")
        for type_id in self.numbers:
            self._check(type_id)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of the types, ascending."""
        found: set[int] = set()
        for given in self.types:
            each: Iterable[int] = (given,) if isinstance(given, int) else given
            found.update(each)
        return (*sorted(found),)

    @property
    def title(self) -> str:
        """The types, for errors and logs: ``0x9000``, or ``0x9001 to 0x907f``."""
        numbers = self.numbers
        return f"{numbers[0]:#06x}" if len(numbers) == 1 else f"{numbers[0]:#06x} to {numbers[-1]:#06x}"

    def run(self, function: Callable[..., Any]) -> Callable[[Context, Any], Coroutine[Any, Any, None]]:
        """Return a callable for a context and a whole payload.

        ``function`` replaces the handler's own, with the same parameters: it adds the provided ones.
        """

        def handle(context: Context, payload: bytes) -> Coroutine[Any, Any, None]:
            found: Coroutine[Any, Any, None] = function(context, int.from_bytes(payload[:2], "big"), payload[2:])
            return found

        return handle

    def _check(self, type_id: int) -> None:
        try:
            check_claim(type_id, self.spec)
        except SchemaError as error:
            raise self._wrong(str(error)) from None

    def _wrong(self, text: str) -> ExtensionError:
        return ExtensionError(f"{place(self.function)}, on_unknown: {text}")
