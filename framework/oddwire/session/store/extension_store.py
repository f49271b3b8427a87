"""The store as authors of extensions use it: ``context.store``, with values by key and SQL."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, TypeVar, overload

from oddwire.errors import ValueOutOfRange
from oddwire.session.store.unit import Store, Unit
from oddwire.session.store.value_encoding import EncodedValue, keep, read, read_like
from oddwire.sqlite_files import explain

__all__ = ["ExtensionStore"]

T = TypeVar("T")
D = TypeVar("D")


class ExtensionStore:
    """The data of an extension on disk: values by key, and its own SQL tables.

    In a handler of reliable messages, everything written here and every reliable message sent takes effect together
    with the record that the handler's message was handled: once, and only if the handler succeeds. From a handler's
    first use of the store until it ends, other handlers of the extension wait at their first use of it. A handler that
    uses SQL makes the commits of all extensions wait, and fails with `TimeoutError` after 30 seconds; so await slow
    things, such as another peer's answer, before.

    Elsewhere, each write is on disk when its call returns; `transaction` makes several of them take effect together.

    A value is bytes, a str, bool, int of 64 bits, float other than NaN, list, tuple, dict with str, bytes or int keys,
    NodeId, PublicKey, ShortChannelId, a member of an Enum, or an object of a ``@message`` or ``@subtype`` class. It may
    contain values of these types, and None, up to 32 levels deep. It is read back with the same types.

    Every method raises `StoreError` if the database cannot be read or written. A handler need not catch it: its message
    is not acknowledged, and is sent again. If a write is cancelled before it returns, it may or may not have happened;
    a read that is cancelled has no effect. Keys are text that UTF-8 can hold, else `TypeError` or `ValueOutOfRange`.
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
        """Context manager: writes and reliable messages inside take effect together, on disk when the block ends.

        After an exception none of them has happened. In a handler of reliable messages, they are part of the handler's
        effects, and take effect with these or not at all. Raises `StoreError`.
        """
        async with self._unit():
            yield

    @overload
    async def get(self, key: str, default: None = None) -> Any: ...

    @overload
    async def get(self, key: str, default: D) -> D: ...

    @overload
    async def get(self, key: str, default: None = None, *, as_: type[T]) -> T | None: ...

    @overload
    async def get(self, key: str, default: D, *, as_: type[T]) -> T | D: ...

    async def get(self, key: str, default: Any = None, *, as_: Any = None) -> Any:
        """Return the value with this key, ``default`` if there is none.

        The value is of the type ``as_``, such as ``Order``, ``list[Order]`` or ``dict[str, int]``; without ``as_``, of
        the default's class, if there is a default. Objects and members of enums need one of both, as they are stored by
        the name of their class. Raises `TypeError`, naming key and path, if the value is of another type.
        """
        kept = await self._kept(key)
        if kept is None:
            return default
        if as_ is not None or default is None:
            return read(key, kept, as_)
        return read_like(key, kept, default)

    async def _kept(self, key: str) -> EncodedValue | None:
        raw = _key(key)
        own = await self._own()
        if raw in own:
            return own[raw]
        await self._store.ready()
        try:
            return self._store.values.get(self._extension, raw, committed=self._only_committed())
        except sqlite3.Error as error:
            raise explain(error, self._store.path) from error

    async def set(self, key: str, value: object) -> None:
        """Store a copy of a value under a key, replacing the one before.

        Raises `TypeError` for a type that cannot be stored, `ValueOutOfRange` for a value that is too large, naming key
        and path. None cannot be stored by itself: it stands for no value.
        """
        raw, kept = _key(key), keep(key, value)
        async with self._unit() as unit:
            (await unit.enter())[raw] = kept

    async def delete(self, key: str) -> None:
        """Delete the value with this key, if there is one. On disk when it returns, as with `set`."""
        raw = _key(key)
        async with self._unit() as unit:
            (await unit.enter())[raw] = None

    @overload
    async def items(self, prefix: str = "") -> list[tuple[str, Any]]: ...

    @overload
    async def items(self, prefix: str = "", *, as_: type[T]) -> list[tuple[str, T]]: ...

    async def items(self, prefix: str = "", *, as_: Any = None) -> list[tuple[str, Any]]:
        """Return all (key, value) pairs whose keys begin with ``prefix``, by key ascending.

        ``as_`` is as for `get`, for each of the values, and so is what it raises. All are read into memory at once.
        """
        raw = _key(prefix)
        own = await self._own()
        await self._store.ready()
        try:
            found = self._store.values.items(self._extension, raw, committed=self._only_committed())
        except sqlite3.Error as error:
            raise explain(error, self._store.path) from error
        found.update({key: value for key, value in own.items() if key.startswith(raw)})
        kept = [(key.decode(), value) for key, value in sorted(found.items()) if value is not None]
        return [(key, read(key, value, as_)) for key, value in kept]

    async def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Run one SQL statement on the extension's own tables, and return its rows.

        The names of the tables, and of their indices, views and triggers, begin with the extension's name, with ``_``
        for ``-``: ``quote_prices`` for an extension named quote. Statements that control transactions are refused: see
        `transaction`. Raises subclasses of `sqlite3.Error` for a statement that SQLite, or these rules, do not permit.
        """
        if not isinstance(sql, str):
            raise TypeError(f"SQL should be a str, not {type(sql).__name__}")
        async with self._unit() as unit:
            rows, wrote = await unit.execute(lambda database: database.guard.run(self._extension, sql, parameters))
            unit.wrote = unit.wrote or wrote
            return rows

    async def now(self) -> float:
        """Return the time, in seconds, by a clock for the ages of what is stored: only differences have a meaning.

        It counts the time in which the machine runs, and of its being off a day at a time. It never jumps: a wall clock
        that is wrong, or set, makes nothing older. A new store's begins at the time of the wall clock, in seconds since
        1970.
        """
        await self._store.ready()
        return self._store.ages()

    def _only_committed(self) -> bool:
        """Whether what is not committed is not shown: outside of units it may be told to others, and then not count."""
        return self._store.log.is_remote and self._store.current() is None

    async def _own(self) -> Mapping[bytes, EncodedValue | None]:
        """Return the values set in the current unit of work; empty without one."""
        unit = self._store.current()
        return {} if unit is None or unit.extension != self._extension else await unit.enter()


def _key(key: str) -> bytes:
    if not isinstance(key, str):
        raise TypeError(f"key should be a str, not {type(key).__name__}")
    try:
        return key.encode()
    except UnicodeEncodeError:
        raise ValueOutOfRange(f"key should be a str that UTF-8 can hold, not {key!r}") from None
