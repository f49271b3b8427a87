"""An author's door to the store: ``context.store``, values by key and SQL."""

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
    """What an extension keeps on disk: values by key, and tables of its own.

    In a handler of reliable messages all that it writes here, and every reliable message it sends, takes effect
    together with the record that its message was handled: once, and only if the handler ends well. From its first look
    at the store until it ends, other handlers of the extension wait when they come to theirs; one that uses SQL keeps
    everybody's commits waiting, and fails with `TimeoutError` after 30 seconds. So what takes long, another peer's
    answer say, is best awaited before.

    A value is bytes, a str, bool, int of 64 bits, float that is a number, list, tuple, dict with str, bytes or int
    keys, NodeId, PublicKey, ShortChannelId, a member of an Enum, or an object of a ``@message`` or ``@subtype`` class,
    and may hold others of these, None too, 32 levels deep. It comes back as what it was.

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

        The value is what ``as_`` says, ``Order``, ``list[Order]`` or ``dict[str, int]``, say; without it, of the
        default's class, which is needed for objects and members of enums, as they are kept by the name of their class.
        Raises `TypeError`, naming key and path, if it is something else.
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
            return self._store.values.get(self._extension, raw)
        except sqlite3.Error as error:
            raise explain(error, self._store.path) from error

    async def set(self, key: str, value: object) -> None:
        """Keep a value, as it is now: what is done to it later changes nothing.

        Raises `TypeError` for one of a kind that cannot be kept, `ValueOutOfRange` for one that is too large, naming
        key and path. None cannot be kept by itself: it stands for no value.
        """
        raw, kept = _key(key), keep(key, value)
        async with self._unit() as unit:
            (await unit.enter())[raw] = kept

    async def delete(self, key: str) -> None:
        """Forget the value with this key, if there is one."""
        raw = _key(key)
        async with self._unit() as unit:
            (await unit.enter())[raw] = None

    @overload
    async def items(self, prefix: str = "") -> list[tuple[str, Any]]: ...

    @overload
    async def items(self, prefix: str = "", *, as_: type[T]) -> list[tuple[str, T]]: ...

    async def items(self, prefix: str = "", *, as_: Any = None) -> list[tuple[str, Any]]:
        """Return all keys that begin with ``prefix``, ascending, and their values, as `get` does."""
        raw = _key(prefix)
        own = await self._own()
        await self._store.ready()
        try:
            found = self._store.values.items(self._extension, raw)
        except sqlite3.Error as error:
            raise explain(error, self._store.path) from error
        found.update({key: value for key, value in own.items() if key.startswith(raw)})
        kept = [(key.decode(), value) for key, value in sorted(found.items()) if value is not None]
        return [(key, read(key, value, as_)) for key, value in kept]

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

    async def _own(self) -> Mapping[bytes, EncodedValue | None]:
        """Return what the unit this is part of has set; nothing, where there is none."""
        unit = self._store.current()
        return {} if unit is None or unit.extension != self._extension else await unit.enter()


def _key(key: str) -> bytes:
    if not isinstance(key, str):
        raise TypeError(f"key should be a str, not {type(key).__name__}")
    try:
        return key.encode()
    except UnicodeEncodeError:
        raise ValueOutOfRange(f"key should be a str that UTF-8 can hold, not {key!r}") from None
