"""Group commit: what many have gathered is written in one transaction, and its commit runs in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol, TypeVar

from oddwire.errors import StoreError
from oddwire.log_limits import get_logger
from oddwire.session.store.database import MEMORY, Database
from oddwire.sqlite_files import explain, is_busy

__all__ = ["Group", "GroupCommit", "Part"]

logger = get_logger("oddwire.session")

_Result = TypeVar("_Result")

_LATER: Final = 0.2  # seconds that what nobody waits for may wait for a commit
_REOPEN: Final = 5.0  # seconds between two attempts to open a database that cannot be opened
_PATIENCE: Final = 5.0  # seconds that a commit waits for another program to be done with the database
_AT_END: Final = 1.0  # the same, of the last one
_POLL: Final = 0.05  # seconds between two looks whether it is


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


class GroupCommit:
    """The database at ``path``, and the parts that keep something in it.

    One who has gathered something calls `touch`. While a commit is under way the next one's share is gathered; after
    one that failed, nothing of what was gathered meanwhile happens either, as it may build on what was lost.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self.generation = 0
        """Goes up when a commit fails."""
        self._parts: list[Part] = []
        self._database: Database | None = None
        self._error: StoreError | None = None
        self._opening = asyncio.Lock()
        self._opened_at = -_REOPEN
        self._closed = False
        self._thread: ThreadPoolExecutor | None = None
        self._writing = asyncio.Lock()
        self._kept = 0  # how often `release` has kept something that is not committed yet
        self._group = Group()
        self._dirty = False
        self._trouble = ""  # why the last commit failed, if it did
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
                database: Database = await self._in_thread(self._load)
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

    def _load(self) -> Database:
        return Database(self.path)

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

    def lost(self) -> StoreError:
        """Return the error for a unit that builds on what has not happened."""
        return explain(self._error or self.over(), self.path)

    def over(self) -> StoreError:
        """Return the error for what comes after its unit has ended."""
        return StoreError(f"{self.path}: the handler this was part of has ended", path=self.path, reason="closed")

    # The database, for one alone --------------------------------------------------------------------

    async def hold(self) -> None:
        """Have the database to oneself until `release`. Raises `StoreError`."""
        await self._writing.acquire()
        try:
            writer = self._open_database().writer
            if not writer.in_transaction:
                await self._begin(writer)
            writer.execute("SAVEPOINT unit")
        except (sqlite3.Error, StoreError) as failure:
            self._writing.release()
            raise explain(failure, self.path) from failure
        except BaseException:
            self._writing.release()
            raise

    async def _begin(self, writer: sqlite3.Connection) -> None:
        """Begin to write, if the database is where it was; wait a while for another program that does."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            self._open_database().check()
            try:
                writer.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as failure:
                if not is_busy(failure) or loop.time() >= began + (_AT_END if self._closed else _PATIENCE):
                    raise
            await asyncio.sleep(_POLL)

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

    def touch_later(self, seconds: float = _LATER) -> None:
        """Have what was gathered committed with the next commit, or in a while."""
        if self._timer is None and not self._dirty:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.touch)

    async def _commit_all(self) -> None:
        try:
            while self._dirty:
                async with self._writing:
                    await self._commit()
        finally:
            self._committer = None

    async def _commit(self) -> None:
        group = None
        try:
            writer = self._open_database().writer
            if not writer.in_transaction:
                await self._begin(writer)
            group = self._gathered()
            for part in self._parts:
                part.write(writer)
            await self._in_thread(lambda: writer.execute("COMMIT"))
        except Exception as failure:
            if not isinstance(failure, sqlite3.Error | StoreError):
                logger.exception("%s: what was gathered cannot be written", self.path)
            error = explain(failure, self.path)
            if group is None:
                group = self._gathered()
            if error.reason not in (self._trouble, "closed"):
                self._trouble = error.reason
                logger.error("nothing can be kept for now, and what was to be is given up: %s", error)
            for part in self._parts:
                part.end(error)
            group.end(error)
            self._fail(error)
        else:
            if self._trouble:
                self._trouble = ""
                logger.warning("%s is written again", self.path)
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
