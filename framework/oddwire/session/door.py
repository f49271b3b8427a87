"""An author's door to the store: ``context.store``, values by key and SQL."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from oddwire.databases import explain
from oddwire.errors import ValueOutOfRange
from oddwire.session.store import Store, Unit
from oddwire.session.values import Value

__all__ = ["ExtensionStore"]

_MOST: Final = 1 << 28  # bytes of a value: SQLite takes up to 10**9 in a row


class ExtensionStore:
    """What an extension keeps on disk: values by key, and tables of its own.

    In a handler of reliable messages all that it writes here, and every reliable message it sends, takes effect
    together with the record that its message was handled: once, and only if the handler ends well. From its first look
    at the store until it ends, other handlers of the extension wait when they come to theirs; one that uses SQL keeps
    everybody's commits waiting, and fails with `TimeoutError` after 30 seconds. So what takes long, another peer's
    answer say, is best awaited before.

    Elsewhere each call is on disk when it returns; `transaction` makes several of them take effect together.

    Every method raises `StoreError` if the disk does not let it; a handler need not catch it: its message is not
    acknowledged, and comes again. Cancelled before it returns, a write may or may not have happened.
    """

    def __init__(self, store: Store, extension: str) -> None:
        self._store = store
        self._extension = extension

    @contextlib.asynccontextmanager
    async def _unit(self) -> AsyncIterator[Unit]:
        unit = self._store.current()
        if unit is not None and unit.extension == self._extension:
            await unit.enter()
            yield unit
            return
        async with self._store.unit(self._extension) as unit:
            await unit.enter()
            yield unit
        await unit.durable()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Have what is written and reliably sent inside take effect together, on disk as the block ends.

        After an exception nothing of it has happened. In a handler of reliable messages it is part of what the
        handler does, and takes effect, or does not, with that. Raises `StoreError`.
        """
        async with self._unit():
            yield

    async def get(self, key: str, default: Value | None = None) -> Value | None:
        """Give the value with this key, ``default`` if there is none."""
        raw = _key(key)
        own = await self._own()
        if raw in own:
            return default if own[raw] is None else own[raw]
        await self._store.ready()
        try:
            found = self._store.values.get(self._extension, raw)
        except sqlite3.Error as error:
            raise explain(error, self._store.path) from error
        return default if found is None else found

    async def set(self, key: str, value: Value) -> None:
        """Keep a value. Raises `ValueOutOfRange` for one that cannot be kept: see `Value`."""
        raw, kept = _key(key), _value(key, value)
        async with self._unit() as unit:
            (await unit.enter())[raw] = kept

    async def delete(self, key: str) -> None:
        """Forget the value with this key, if there is one."""
        raw = _key(key)
        async with self._unit() as unit:
            (await unit.enter())[raw] = None

    async def items(self, prefix: str = "") -> list[tuple[str, Value]]:
        """Give all keys that begin with ``prefix``, ascending, and their values."""
        raw = _key(prefix)
        own = await self._own()
        await self._store.ready()
        try:
            found = self._store.values.items(self._extension, raw)
        except sqlite3.Error as error:
            raise explain(error, self._store.path) from error
        found.update({key: value for key, value in own.items() if key.startswith(raw)})
        return [(key.decode(), value) for key, value in sorted(found.items()) if value is not None]

    async def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Run one SQL statement on the extension's own tables, and give the rows it has.

        Their names, those of indices, views and triggers too, begin with the extension's, ``-`` being ``_``:
        ``quote_prices`` for an extension named quote. Transactions are the store's business. Raises `sqlite3.Error`
        kinds for a statement that SQLite, or this rule, does not take.
        """
        if not isinstance(sql, str):
            raise TypeError(f"SQL should be a str, not {type(sql).__name__}")
        async with self._unit() as unit:
            rows, wrote = await unit.execute(lambda database: database.guard.run(self._extension, sql, parameters))
            unit.wrote = unit.wrote or wrote
            return rows

    async def _own(self) -> Mapping[bytes, Any]:
        """Give what the unit this is part of has set; nothing, where there is none."""
        unit = self._store.current()
        return {} if unit is None or unit.extension != self._extension else await unit.enter()


def _key(key: str) -> bytes:
    if not isinstance(key, str):
        raise TypeError(f"key should be a str, not {type(key).__name__}")
    try:
        return key.encode()
    except UnicodeEncodeError:
        raise ValueOutOfRange(f"key should be a str that UTF-8 can hold, not {key!r}") from None


def _value(key: str, value: Any) -> Value:
    """Check now what would spoil a whole commit later."""
    match value:
        case bytearray() | memoryview():
            value = bytes(value)
        case str():
            try:
                size = len(value.encode())
            except UnicodeEncodeError:
                raise ValueOutOfRange(f"value of {key!r} should be a str that UTF-8 can hold") from None
            if size > _MOST:
                raise ValueOutOfRange(f"value of {key!r} is {size} bytes in UTF-8; at most {_MOST} are kept")
        case int():
            if not -(1 << 63) <= value < 1 << 63:
                raise ValueOutOfRange(f"value of {key!r} should be an int of 64 bits, not {value}")
        case float():
            if value != value:
                raise ValueOutOfRange(f"value of {key!r} should be a number, not {value}")
        case bytes():
            pass
        case _:
            raise TypeError(f"value of {key!r} should be bytes, str, int or float, not {type(value).__name__}")
    if isinstance(value, bytes) and len(value) > _MOST:
        raise ValueOutOfRange(f"value of {key!r} is {len(value)} bytes; at most {_MOST} are kept")
    checked: Value = value
    return checked
