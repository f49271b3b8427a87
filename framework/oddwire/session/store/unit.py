"""The store: units of work in one SQLite database, committed in groups.

The effects of a unit of work take effect together or not at all: a handler's writes to its store, the reliable messages
it sent, and the record that its message was handled. Units that end while a commit is under way share the next one, so
that the disk is waited for once per group. The commit runs in a thread, while the event loop goes on.

The values of `ExtensionStore`, the outbox and the inbox are parts of the store (`Part`): each gathers its changes for
the next commit in memory, and writes them when the commit begins. So a unit that fails leaves nothing to undo, and only
authors' own SQL holds the database while its unit lasts.

To run a handler as a unit, as `oddwire.session.reliable.inbox` does::

    async with store.unit(extension) as unit:    # an exception discards the unit
        await handler(...)                       # context.store and reliable sends find the unit by themselves
        unit.at_end(record)                      # called when the unit ends; its changes are in the same commit
    await unit.durable()                         # waits for the disk; raises StoreError
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
from oddwire.session.store.commit_log import CommitLog
from oddwire.session.store.database import MEMORY, Database
from oddwire.session.store.group_commit import Group, GroupCommit
from oddwire.session.store.store_numbers import StoreNumbers, new_number
from oddwire.session.store.value_encoding import EncodedValue
from oddwire.session.store.values import StoredValues
from oddwire.sqlite_files import explain

__all__ = ["MOST_HELD", "Store", "Unit"]

_Result = TypeVar("_Result")

MOST_HELD: Final = 30.0
"""Max seconds from a handler's first SQL statement to its end."""
_AGAIN: Final = 1.0


class Unit:
    """A unit of work: its effects take effect together or not at all. An async context manager for one use.

    See `Store.unit`.
    """

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
        """The values set in the unit, by key, None for deleted ones; None until `enter` was called."""
        self.sql = False
        """Whether the unit holds the database."""
        self.wrote = False
        """Whether its SQL has changed anything."""
        self.late = False
        """Whether it held the database for more than `MOST_HELD`, and its SQL was undone."""
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
            if self._entering.locked():  # another task of the handler runs a statement: wait for its end
                async with self._entering:
                    pass
        finally:
            self._close(kind is None)

    def at_end(self, call: Callable[[], None], failed: Callable[[], None] | None = None) -> None:
        """Call ``call`` when the unit succeeds, without an event-loop iteration before; ``failed`` when it fails."""
        self._ends.append(call)
        if failed is not None:
            self._failed.append(failed)

    async def enter(self) -> dict[bytes, EncodedValue | None]:
        """Lock the extension's values and tables until the unit ends. Return the values that the unit has set.

        The lock keeps other units from changing what this one has read. Raises `StoreError` if the unit has ended.
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
        """Run ``work`` on the database in a thread. From now on the unit holds the database until it ends.

        Raises `StoreError`, `TimeoutError` if the unit held the database for too long, and the errors of ``work``.
        """
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
        """Undo the unit's SQL and release the database: its handler may be waiting for something, for ever."""
        if self.closed or not self.sql:
            return
        if self._entering.locked():  # a statement is running
            self._limit = asyncio.get_running_loop().call_later(_AGAIN, self._give_way)
            return
        self.late, self.sql = True, False
        with contextlib.suppress(StoreError):  # after an error the SQL is undone as well
            self.store.release(keep=False, wrote=self.wrote)

    async def durable(self) -> None:
        """Wait until the unit, which has ended, is on disk. Raises `StoreError` if its commit failed."""
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
        "SQL blocks all commits until the handler ends: this one took too long, and was rolled back; "
        "await slow operations before the first statement"
    )


_current: ContextVar[Unit | None] = ContextVar("oddwire.session.unit", default=None)


class Store(GroupCommit):
    """The database at ``path``, for one process at a time, or in `MEMORY`, where it is lost with the process.

    ``values`` are those of extensions; the outbox and the inbox are added with `add`. If the database cannot be opened
    or written, calls that need it raise `StoreError`, and later ones try again: no restart is needed once the disk has
    room.

    ``number`` is the store's number if it is created, ``extensions`` are the names of those loaded; see `Database`.
    ``ages`` is the clock for times in the database. ``log`` is where commits are to be before they count.
    """

    def __init__(
        self,
        path: str | Path = MEMORY,
        *,
        number: int | None = None,
        extensions: Collection[str] = (),
        ages: Ages | None = None,
        log: CommitLog | None = None,
    ) -> None:
        super().__init__(path, log=log)
        self._number = new_number() if number is None else number
        self._extensions = extensions
        self.on_new: Callable[[], object] | None = None
        """Called in the store's thread when the file was created."""
        self.most_held = MOST_HELD
        self.ages = ages or Ages()
        self.identity = StoreNumbers(self.path, self._number)
        """The numbers of the store."""
        self.add(ClockMarks(self.ages))  # first: other parts read times
        self.add(self.identity)
        self.values = StoredValues()
        self.add(self.values)
        self._locks: dict[str, asyncio.Lock] = {}

    def _load(self) -> Database:
        database = Database(self.path, number=self._number, extensions=self._extensions, cached=self.log.is_remote)
        try:
            if database.is_moving:
                from oddwire.session.store.move import settle  # rarely needed

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
        """Return a new unit of work: ``async with store.unit(name) as unit``; calls inside the block are part of it.

        Entering the block raises `StoreError` if the database cannot be opened; leaving it, if a commit failed
        meanwhile.
        """
        return Unit(self, extension)

    def current(self) -> Unit | None:
        """Return the current task's unit of work in this store, None if it has none."""
        unit = _current.get()
        return None if unit is None or unit.closed or unit.store is not self else unit

    def lock_of(self, extension: str) -> asyncio.Lock:
        """Return the lock that a unit holds while it uses the extension's values and tables."""
        lock = self._locks.get(extension)
        if lock is None:
            lock = self._locks[extension] = asyncio.Lock()
        return lock
