"""What outlives the process, in one SQLite database: units of work, committed in groups.

A unit of work is what takes effect together: a handler's writes to its store, the reliable messages it sent, and the
record that its message was handled. Units that end while a commit is under way share the next one, so that the disk is
waited for once a group. The commit runs in a thread; the loop goes on.

What takes part, the values of `ExtensionStore`, the outbox and the inbox, each gathers its share of the next commit in
memory (a `Part`), and writes it when the commit begins. So a unit that is given up leaves nothing to undo, and only
an author's own SQL holds the database while its unit lasts.

Who runs a handler whose effects have to be a unit, as `oddwire.session.reliable.inbox` does, writes::

    async with store.unit(extension) as unit:    # an exception gives the unit up
        await handler(...)                       # context.store and reliable sends find the unit themselves
        unit.at_end(record)                      # called as the unit ends; what it adds goes into the same commit
    await unit.durable()                         # until it is on disk, or StoreError
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Collection
from contextvars import ContextVar, Token
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from oddwire.errors import StoreError
from oddwire.session.store.ages import Ages
from oddwire.session.store.clock_marks import ClockMarks
from oddwire.session.store.database import MEMORY, Database
from oddwire.session.store.group_commit import Group, GroupCommit
from oddwire.session.store.store_numbers import StoreNumbers, new_number
from oddwire.session.store.value_encoding import EncodedValue
from oddwire.session.store.values import StoredValues
from oddwire.sqlite_files import explain

__all__ = ["MOST_HELD", "Store", "Unit"]

_Result = TypeVar("_Result")

MOST_HELD: Final = 30.0
"""Seconds from a handler's first SQL until it has to have ended."""
_AGAIN: Final = 1.0


class Unit:
    """What takes effect together, or not at all: an asynchronous context, once. See `Store.unit`."""

    __slots__ = (
        "_ends",
        "_entering",
        "_failed",
        "_limit",
        "_token",
        "closed",
        "extension",
        "generation",
        "group",
        "late",
        "sql",
        "store",
        "values",
        "wrote",
    )
    _token: Token[Unit | None]

    def __init__(self, store: Store, extension: str) -> None:
        self.store = store
        self.extension = extension
        self.generation = store.generation
        self.group: Group | None = None
        self.values: dict[bytes, EncodedValue | None] | None = None
        """What it has set, by key, None for deleted; None itself until it has looked at its extension's values."""
        self.sql = False
        """Whether it has the database to itself."""
        self.wrote = False
        """Whether its SQL has changed anything."""
        self.late = False
        """Whether it had the database for too long, and what it did there was undone."""
        self.closed = False
        self._entering = asyncio.Lock()
        self._limit: asyncio.TimerHandle | None = None
        self._ends: list[Callable[[], None]] = []
        self._failed: list[Callable[[], None]] = []

    async def __aenter__(self) -> Self:
        await self.store.ready()
        self.generation = self.store.generation
        self._token = _current.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _current.reset(self._token)
        try:
            if self._entering.locked():  # a task of the handler's is still at it: let its statement end
                async with self._entering:
                    pass
        finally:
            self._close(kind is None)

    def at_end(self, call: Callable[[], None], failed: Callable[[], None] | None = None) -> None:
        """Have ``call`` called as the unit ends, before anything else can happen; ``failed`` if it is given up."""
        self._ends.append(call)
        if failed is not None:
            self._failed.append(failed)

    async def enter(self) -> dict[bytes, EncodedValue | None]:
        """Keep others out of the extension's values and tables until the unit ends; give what it has set.

        So nobody changes what the unit has read before it ends.
        """
        if self.values is None:
            async with self._entering:
                if self.values is None:
                    await self.store.lock_of(self.extension).acquire()
                    if self.closed:
                        self.store.lock_of(self.extension).release()
                        raise self.store.over()
                    self.values = {}
        return self.values

    async def execute(self, work: Callable[[Database], _Result]) -> _Result:
        """Run ``work`` on the database in a thread. From here on the unit has the database to itself, until it ends."""
        await self.enter()
        async with self._entering:  # one statement of a unit at a time
            if self.closed:
                raise self.store.over()
            if self.late:
                raise _too_long()
            if self.generation != self.store.generation:
                raise self.store.lost()
            if not self.sql:
                await self.store.hold()
                self.sql = True
                self._limit = asyncio.get_running_loop().call_later(self.store.most_held, self._give_way)
            return await self.store.work(work)

    def _give_way(self) -> None:
        """Let the others commit at last: whoever holds the database, and awaits something else, may do so for ever."""
        if self.closed or not self.sql:
            return
        if self._entering.locked():  # a statement is running
            self._limit = asyncio.get_running_loop().call_later(_AGAIN, self._give_way)
            return
        self.late, self.sql = True, False
        with contextlib.suppress(StoreError):  # all is undone anyway
            self.store.release(keep=False, wrote=self.wrote)

    async def durable(self) -> None:
        """Wait until the unit, which has ended, is on disk. Raises `StoreError` if it cannot be."""
        if self.group is not None:
            await self.group.durable()

    def _close(self, success: bool) -> None:
        self.closed = True
        store, kept = self.store, False
        if self._limit is not None:
            self._limit.cancel()
        try:
            if self.sql:
                store.release(keep=success and self.generation == store.generation, wrote=self.wrote)
            if success:
                if self.late:
                    raise _too_long()
                if self.generation != store.generation:
                    raise store.lost()
                if self.values:
                    store.values.gather(self.extension, self.values)
                for call in self._ends:
                    call()
                if self.values or self._ends or self.wrote:
                    self.group = store.touch()
                kept = True
        finally:
            if not kept:
                for call in self._failed:
                    call()
            if self.values is not None:
                store.lock_of(self.extension).release()


def _too_long() -> TimeoutError:
    return TimeoutError(
        "SQL keeps everybody's commits waiting until the handler ends: this one took too long, and was undone; "
        "await what takes long before the first statement"
    )


_current: ContextVar[Unit | None] = ContextVar("oddwire.session.unit", default=None)


class Store(GroupCommit):
    """The database at ``path``, for one process at a time, or `MEMORY` for one that is gone with the process.

    ``values`` are the extensions' own; the outbox and the inbox join with `add`. A store that cannot be opened, or not
    be written, says so in whatever needs it, and is tried again: nothing has to be restarted once there is room.

    ``number`` is the store's if it is made now, ``extensions`` are the names of those that are loaded; see `Database`.
    ``ages`` is the clock by which times in it are told.
    """

    def __init__(
        self,
        path: str | Path = MEMORY,
        *,
        number: int | None = None,
        extensions: Collection[str] = (),
        ages: Ages | None = None,
    ) -> None:
        super().__init__(path)
        self._number = new_number() if number is None else number
        self._extensions = extensions
        self.on_new: Callable[[], object] | None = None
        """Called in the store's thread when the file has been made."""
        self.most_held = MOST_HELD
        self.ages = ages or Ages()
        self.identity = StoreNumbers(self.path, self._number)
        """By which numbers peers know it."""
        self.add(ClockMarks(self.ages))  # first: what is read after it has times
        self.add(self.identity)
        self.values = StoredValues()
        self.add(self.values)
        self._locks: dict[str, asyncio.Lock] = {}

    def _load(self) -> Database:
        database = Database(self.path, number=self._number, extensions=self._extensions)
        try:
            if database.is_moving:
                from oddwire.session.store.move import settle  # which few need

                settle(database)
        except BaseException as error:
            database.close(clean=database.clean)
            if isinstance(error, sqlite3.Error):
                raise explain(error, self.path) from error
            raise
        if database.is_new and self.on_new is not None:
            self.on_new()
        return database

    def unit(self, extension: str) -> Unit:
        """Begin a unit of work: ``async with store.unit(name) as unit``; what is called there is part of it.

        Entering raises `StoreError` if the database cannot be opened; leaving does, if a commit failed meanwhile.
        """
        return Unit(self, extension)

    def current(self) -> Unit | None:
        """Return the unit this task is working on, if there is one."""
        unit = _current.get()
        return None if unit is None or unit.closed or unit.store is not self else unit

    def lock_of(self, extension: str) -> asyncio.Lock:
        """Return the lock that a unit has while it uses the extension's values and tables."""
        lock = self._locks.get(extension)
        if lock is None:
            lock = self._locks[extension] = asyncio.Lock()
        return lock
