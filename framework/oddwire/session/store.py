"""What outlives the process, in one SQLite database: units of work, committed in groups.

A unit of work is what takes effect together: a handler's writes to its store, the reliable messages it sent, and the
record that its message was handled. Units that end while a commit is under way share the next one, so that the disk is
waited for once a group. The commit runs in a thread; the loop goes on.

What takes part, the values of `ExtensionStore`, the outbox and the inbox, each gathers its share of the next commit in
memory (a `Part`), and writes it when the commit begins. So a unit that is given up leaves nothing to undo, and only
an author's own SQL holds the database while its unit lasts.

Who runs a handler whose effects have to be a unit, as `oddwire.session.inbox` does, writes::

    async with store.unit(extension) as unit:    # an exception gives the unit up
        await handler(...)                       # context.store and reliable sends find the unit themselves
        unit.at_end(record)                      # called as the unit ends; what it adds goes into the same commit
    await unit.durable()                         # until it is on disk, or StoreError
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, Token
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

from oddwire.errors import StoreError
from oddwire.session.database import MEMORY, Database, explain
from oddwire.session.values import Values

__all__ = ["Group", "Part", "Store", "Unit"]

logger = logging.getLogger("oddwire.session")

_Result = TypeVar("_Result")

_LATER: Final = 0.2  # seconds that what nobody waits for may wait for a commit
_REOPEN: Final = 5.0  # seconds between two attempts to open a database that cannot be opened


class Part(Protocol):
    """One who keeps something in the database. Everything is called on the loop, and returns at once."""

    def load(self, database: Database) -> None:
        """Read what was kept, as the database has been opened."""

    def begin(self) -> None:
        """Take what was gathered as the share of a commit that begins; what comes from now on is the next one's."""

    def write(self, writer: sqlite3.Connection) -> None:
        """Write the share."""

    def end(self, error: StoreError | None) -> None:
        """Learn that the commit has ended; after an error nothing of the share has happened."""


class Group:
    """What is committed together, for those who wait for it."""

    __slots__ = ("done", "error", "waiters")

    def __init__(self) -> None:
        self.done = False
        self.error: StoreError | None = None
        self.waiters: list[asyncio.Future[None]] = []

    async def durable(self) -> None:
        """Wait until it is on disk. Raises `StoreError` if it cannot be: then it has not happened."""
        if not self.done:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiters.append(waiter)
            await waiter
        if self.error is not None:
            raise explain(self.error, self.error.path)

    def end(self, error: StoreError | None) -> None:
        """Wake all who wait."""
        self.done, self.error = True, error
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)


class Unit:
    """What takes effect together, or not at all: an asynchronous context, once. See `Store.unit`."""

    __slots__ = (
        "_ends",
        "_entering",
        "_failed",
        "_token",
        "closed",
        "extension",
        "generation",
        "group",
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
        self.values: dict[bytes, Any] | None = None
        """What it has set, by key, None for deleted; None itself until it has looked at its extension's values."""
        self.sql = False
        """Whether it has the database to itself."""
        self.wrote = False
        """Whether its SQL has changed anything."""
        self.closed = False
        self._entering = asyncio.Lock()
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

    async def enter(self) -> dict[bytes, Any]:
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
            if self.generation != self.store.generation:
                raise self.store.lost()
            if not self.sql:
                await self.store.hold()
                self.sql = True
            return await self.store.work(work)

    async def durable(self) -> None:
        """Wait until the unit, which has ended, is on disk. Raises `StoreError` if it cannot be."""
        if self.group is not None:
            await self.group.durable()

    def _close(self, success: bool) -> None:
        self.closed = True
        store, kept = self.store, False
        try:
            if self.sql:
                store.release(keep=success and self.generation == store.generation, wrote=self.wrote)
            if success:
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


_current: ContextVar[Unit | None] = ContextVar("oddwire.session.unit", default=None)


class Store:
    """The database at ``path``, for one process at a time, or `MEMORY` for one that is gone with the process.

    ``values`` are the extensions' own; the outbox and the inbox join with `add`. A store that cannot be opened, or not
    be written, says so in whatever needs it, and is tried again: nothing has to be restarted once there is room.
    """

    def __init__(self, path: str | Path = MEMORY) -> None:
        self.path = str(path)
        self.values = Values()
        self.generation = 0
        """Goes up when a commit fails: units begun before may build on what has not happened."""
        self._parts: list[Part] = [self.values]
        self._database: Database | None = None
        self._error: StoreError | None = None
        self._opening = asyncio.Lock()
        self._opened_at = -_REOPEN
        self._closed = False
        self._thread: ThreadPoolExecutor | None = None
        self._writing = asyncio.Lock()
        self._kept = 0  # units that have written with SQL of their own, and await their commit
        self._locks: dict[str, asyncio.Lock] = {}
        self._group = Group()
        self._dirty = False
        self._committer: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def add(self, part: Part) -> None:
        """Have one more take part in commits. To be called before `open`."""
        self._parts.append(part)

    # Open and closed --------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether the database is open."""
        return self._database is not None

    async def open(self) -> None:
        """Open the database, made if it is new. Raises `StoreError` saying what is wrong; `ready` tries again."""
        async with self._opening:
            if self._closed:
                raise StoreError(f"{self.path} is closed", path=self.path, reason="closed")
            if self._database is not None:
                return
            self._opened_at = time.monotonic()
            if self._thread is None and self.path != MEMORY:
                self._thread = ThreadPoolExecutor(1, "oddwire-store")
            try:
                database: Database = await self._in_thread(lambda: Database(self.path))
                try:
                    for part in self._parts:
                        part.load(database)
                except sqlite3.Error as error:
                    database.abandon()
                    raise explain(error, self.path) from error
            except StoreError as error:
                self._error = error
                raise
            self._database = database

    async def ready(self) -> None:
        """Return at once if it is open; else open it, if the last attempt is some seconds ago. Raises `StoreError`."""
        if self._database is None:
            if self._error is not None and time.monotonic() < self._opened_at + _REOPEN and not self._closed:
                raise explain(self._error, self.path)
            await self.open()

    async def aclose(self) -> None:
        """Commit what has ended, and close. Idempotent."""
        async with self._opening:
            if self._closed:
                return
            self._closed = True
            try:
                if self._dirty or self._timer is not None:
                    group = self.touch()
                    with contextlib.suppress(StoreError):  # who waits for it is told
                        await group.durable()
                if self._committer is not None:
                    await self._committer
                database, self._database = self._database, None
                if database is not None:
                    async with self._writing:
                        await self._in_thread(database.close)
            finally:
                if self._thread is not None:
                    self._thread.shutdown()

    # Units ------------------------------------------------------------------------------------------

    def unit(self, extension: str) -> Unit:
        """Begin a unit of work: ``async with store.unit(name) as unit``; what is called there is part of it.

        Entering raises `StoreError` if the database cannot be opened; leaving does, if a commit failed meanwhile.
        """
        return Unit(self, extension)

    def current(self) -> Unit | None:
        """Give the unit this task is working on, if there is one."""
        unit = _current.get()
        return None if unit is None or unit.closed or unit.store is not self else unit

    def lock_of(self, extension: str) -> asyncio.Lock:
        """Give the lock that a unit has while it uses the extension's values and tables."""
        lock = self._locks.get(extension)
        if lock is None:
            lock = self._locks[extension] = asyncio.Lock()
        return lock

    def lost(self) -> StoreError:
        """Give the error for a unit that builds on what has not happened."""
        return explain(self._error or self.over(), self.path)

    def over(self) -> StoreError:
        """Give the error for what comes after its unit has ended."""
        return StoreError(f"{self.path}: the handler this was part of has ended", path=self.path, reason="closed")

    # The database, for one unit's own SQL -----------------------------------------------------------

    async def hold(self) -> None:
        """Have the database to oneself until `release`. Raises `StoreError`."""
        await self._writing.acquire()
        try:
            writer = self._open_database().writer
            await self._in_thread(lambda: _begin_unit(writer))
        except BaseException as failure:
            self._writing.release()
            if isinstance(failure, sqlite3.Error):
                raise explain(failure, self.path) from failure
            raise

    async def work(self, work: Callable[[Database], _Result]) -> _Result:
        """Run ``work`` in the thread while holding the database. Raises `StoreError` for what the disk says."""
        database = self._open_database()
        try:
            return await self._in_thread(lambda: work(database))
        except sqlite3.Error as failure:
            if not database.writer.in_transaction:  # SQLite has rolled back all of it, and not only the statement
                self._fail(explain(failure, self.path))
            if getattr(failure, "sqlite_errorcode", 0) & 0xFF in _DISK:
                raise explain(failure, self.path) from failure
            raise

    def release(self, *, keep: bool, wrote: bool) -> None:
        """Let others have the database, and keep what was done, or not. Raises `StoreError` if it cannot be kept."""
        writer = self._open_database().writer
        try:
            if not writer.in_transaction:
                if keep:
                    raise self.lost()
                return
            if not keep:
                writer.execute("ROLLBACK TO unit")
            writer.execute("RELEASE unit")
            self._kept += keep and wrote
            if not self._kept:
                writer.execute("ROLLBACK")  # there is nothing in it
        except sqlite3.Error as failure:
            error = explain(failure, self.path)
            self._fail(error)
            raise error from failure
        finally:
            self._writing.release()

    # Commits ----------------------------------------------------------------------------------------

    def touch(self) -> Group:
        """Have what was gathered committed soon, and give the group that it is part of."""
        self._dirty = True
        if self._committer is None:
            self._committer = asyncio.get_running_loop().create_task(self._commit_all())
        return self._group

    def touch_later(self) -> None:
        """Have what was gathered committed with the next commit, or in a while."""
        if self._timer is None and not self._dirty:
            self._timer = asyncio.get_running_loop().call_later(_LATER, self.touch)

    async def _commit_all(self) -> None:
        try:
            while self._dirty:
                async with self._writing:
                    await self._commit()
        finally:
            self._committer = None

    async def _commit(self) -> None:
        group = self._gathered()
        try:
            writer = self._open_database().writer
            if not writer.in_transaction:
                writer.execute("BEGIN IMMEDIATE")
            for part in self._parts:
                part.write(writer)
            await self._in_thread(lambda: writer.execute("COMMIT"))
        except Exception as failure:
            if not isinstance(failure, sqlite3.Error | StoreError):
                logger.exception("%s: what was gathered cannot be written", self.path)
            error = explain(failure, self.path)
            for part in self._parts:
                part.end(error)
            group.end(error)
            self._fail(error)
        else:
            self._kept = 0
            for part in self._parts:
                part.end(None)
            group.end(None)

    def _gathered(self) -> Group:
        group, self._group, self._dirty = self._group, Group(), False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for part in self._parts:
            part.begin()
        return group

    def _fail(self, error: StoreError) -> None:
        """Give up what has not been committed: it may build on what was just lost."""
        self.generation += 1
        self._error = error
        self._kept = 0
        if self._database is not None and self._database.writer.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._database.writer.execute("ROLLBACK")
        group = self._gathered()
        for part in self._parts:
            part.end(error)
        group.end(error)

    def _open_database(self) -> Database:
        if self._database is None:
            raise self._error or StoreError(f"{self.path} is not open", path=self.path, reason="closed")
        return self._database

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        """Run it to its end, cancelled or not: nobody else may use the database meanwhile."""
        if self._thread is None:
            return work()
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([future])
            if not future.cancelled():
                future.exception()
            raise


_DISK: Final = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY,
}


def _begin_unit(writer: sqlite3.Connection) -> None:
    if not writer.in_transaction:
        writer.execute("BEGIN IMMEDIATE")
    writer.execute("SAVEPOINT unit")
