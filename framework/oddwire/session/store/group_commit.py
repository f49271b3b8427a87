"""Group commit: changes gathered by several parts are written in one transaction; the commit runs in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from oddwire.errors import StoreError
from oddwire.log_limits import get_logger
from oddwire.session.store.commit_log import CommitLog
from oddwire.session.store.database import MEMORY, Database
from oddwire.session.store.part import Part
from oddwire.sqlite_files import explain, is_busy

__all__ = ["Group", "GroupCommit"]

logger = get_logger("oddwire.session")

_Result = TypeVar("_Result")

_LATER: Final = 0.2  # seconds until a commit of changes that nobody waits for
_REOPEN: Final = 5.0  # min seconds between attempts to open a database that cannot be opened
_PATIENCE: Final = 5.0  # seconds that a commit waits for another process that writes to the database
_AT_END: Final = 1.0  # the same for the last commit
_POLL: Final = 0.05  # seconds between attempts while it waits


class Group:
    """One commit, for the tasks that wait for it."""

    __slots__ = ("done", "error", "waiters")

    def __init__(self) -> None:
        self.done = False
        self.error: StoreError | None = None
        self.waiters: list[asyncio.Future[None]] = []

    async def durable(self) -> None:
        """Wait until the commit is on disk. Raises `StoreError` if it failed. Cancellation does not stop the commit."""
        if not self.done:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiters.append(waiter)
            await waiter
        if self.error is not None:
            raise explain(self.error, self.error.path)

    def end(self, error: StoreError | None) -> None:
        """Set the outcome, and wake all waiting tasks."""
        self.done, self.error = True, error
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)


class GroupCommit:
    """The database at ``path``, and the parts with data in it.

    A part calls `touch` when it has gathered changes. While a commit is under way, parts gather changes for the next
    one; if it fails, these fail too, as they may build on what was lost. A commit has ended when it counts for ``log``,
    by default when it is on disk.
    """

    def __init__(self, path: str | Path, *, log: CommitLog | None = None) -> None:
        self.path = str(path)
        self.log = CommitLog() if log is None else log
        self.log.on_error = self._end
        self.generation = 0
        """The number of failed commits."""
        self._parts: list[Part] = []
        self._loaded: list[Part] = []
        self._database: Database | None = None
        self._error: StoreError | None = None
        self._opening = asyncio.Lock()
        self._opened_at = -math.inf
        self._closed = False
        self._thread: ThreadPoolExecutor | None = None
        self._writing = asyncio.Lock()
        self._kept = 0  # savepoints with changes that `release` has kept and that are not committed yet
        self._group = Group()
        self._dirty = False
        self._trouble = ""  # why the last commit failed, if it did
        self._committer: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._committing = asyncio.Lock()
        self._ending: asyncio.Task[None] | None = None

    def add(self, part: Part) -> None:
        """Add a part. It has to be called before `open`; parts are loaded and written in the order of calls."""
        self.add_idle(part)
        self.join(part)

    def add_idle(self, part: Part) -> None:
        """Add a part that is loaded, and takes no part in commits before it calls `join`: they cost nothing until then.

        It has to be called before `open`.
        """
        self._loaded.append(part)

    def join(self, part: Part) -> None:
        """Let a part of `add_idle` take part in all commits that begin from now on."""
        self._parts.append(part)

    # Open and closed --------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether the database is open."""
        return self._database is not None

    async def open(self) -> None:
        """Open the database, created if there is none. Raises `StoreError` with a reason; `ready` tries again."""
        async with self._opening:
            if self.log.error is not None:
                raise explain(self.log.error, self.path)
            if self._closed:
                raise StoreError(f"{self.path} is closed", path=self.path, reason="closed")
            if self._database is not None:
                return
            self._opened_at = asyncio.get_running_loop().time()
            if self._thread is None and self.path != MEMORY:
                self._thread = ThreadPoolExecutor(1, "oddwire-store")
            try:
                database: Database = await self._in_thread(self._load)
                try:
                    await self.log.opened(database, self._in_thread)
                    for part in self._loaded:
                        part.load(database)
                except (sqlite3.Error, StoreError) as error:
                    await self.log.abandon(database, self._in_thread)
                    raise explain(error, self.path) from error
            except StoreError as error:
                self._error = error
                raise
            self._database = database

    def _load(self) -> Database:
        return Database(self.path)

    async def ready(self) -> None:
        """Open the database if it is not open. Raises `StoreError`, that of the last attempt for 5 seconds after it."""
        if self._database is None:
            now = asyncio.get_running_loop().time()
            if self._error is not None and now < self._opened_at + _REOPEN and not self._closed:
                raise explain(self._error, self.path)
            await self.open()

    async def aclose(self) -> None:
        """Commit the gathered changes, and close the database. Further calls do nothing."""
        async with self._opening:
            if self._closed:
                return
            self._closed = True
            try:
                if self._dirty or self._timer is not None:
                    group = self.touch()
                    with contextlib.suppress(StoreError):  # tasks that wait for the group raise it
                        await group.durable()
                if self._committer is not None:
                    await self._committer
                database, self._database = self._database, None
                if database is not None:
                    async with self._writing:
                        await self.log.close(database, self._in_thread)
            except StoreError as error:
                logger.error("it is not recorded that the store was closed: %s", error)
            finally:
                if self._thread is not None:
                    self._thread.shutdown()

    def _end(self, error: StoreError) -> None:
        """Fail everything for good."""
        self._error = error
        if self._ending is None and not self._closed:
            logger.error("nothing is stored any more (%s): %s", error.reason, error)
            self._ending = asyncio.get_running_loop().create_task(self.abandon(error))

    async def abandon(self, error: StoreError | None = None) -> None:
        """Close the database as the end of the process would: what is not committed is lost, its waiting tasks fail.

        A commit under way is waited for: it may be on disk or not. ``error`` is what they fail with.
        """
        if self._closed:
            return
        self._closed = True
        error = error or StoreError(f"{self.path} was abandoned", path=self.path, reason="closed")
        self.log.give_up(error)
        async with self._committing:
            pass
        async with self._opening:
            database, self._database = self._database, None
            if database is not None:
                await self.log.abandon(database, self._in_thread)  # behind what the thread is doing
            self._fail(error)
            if self._committer is not None:
                await self._committer
            if self._thread is not None:
                self._thread.shutdown()

    def lost(self) -> StoreError:
        """Return the error for a unit of work that began before a commit failed."""
        return explain(self._error or self.over(), self.path)

    def over(self) -> StoreError:
        """Return the error for a call in a unit of work that has ended."""
        return StoreError(f"{self.path}: the handler this was part of has ended", path=self.path, reason="closed")

    # Exclusive use of the database ------------------------------------------------------------------

    async def hold(self) -> None:
        """Acquire the database for exclusive use until `release`, in a savepoint. Raises `StoreError`."""
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
        """Begin a transaction, waiting for another process that writes.

        Raises `sqlite3.OperationalError` after `_PATIENCE` seconds, `StoreError` if the file was moved or replaced.
        """
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
        """Run ``work`` in the thread, while the database is held.

        Raises `StoreError` for errors of the disk, and any other error of ``work`` as it is.
        """
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
        """Release the database, and keep or undo what was done; ``wrote`` says whether it changed anything.

        Raises `StoreError` if the changes cannot be kept.
        """
        try:
            writer = self._open_database().writer
            if not writer.in_transaction:
                if keep:
                    raise self.lost()
                return
            if not keep:
                writer.execute("ROLLBACK TO unit")
            writer.execute("RELEASE unit")
            self._kept += keep and wrote
            if not self._kept:
                writer.execute("ROLLBACK")  # nothing to commit
        except sqlite3.Error as failure:
            error = explain(failure, self.path)
            self._fail(error)
            raise error from failure
        finally:
            self._writing.release()

    # Commits ----------------------------------------------------------------------------------------

    def touch(self) -> Group:
        """Start a commit of the gathered changes, after one under way. Return the group that they are part of."""
        self._dirty = True
        if self._committer is None:
            self._committer = asyncio.get_running_loop().create_task(self._commit_all())
        return self._group

    def touch_later(self, seconds: float = _LATER) -> None:
        """Commit the gathered changes with the next commit, or after ``seconds``."""
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
            async with self._committing:
                await self.log.commit(self._open_database(), self._in_thread)
        except Exception as failure:
            if not isinstance(failure, sqlite3.Error | StoreError):
                logger.exception("%s: what was gathered cannot be written", self.path)
            error = explain(failure, self.path)
            if group is None:
                group = self._gathered()
            if error.reason not in (self._trouble, "closed") and self.log.error is None:
                self._trouble = error.reason
                logger.error("nothing can be stored for now, and uncommitted changes are dropped: %s", error)
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
        """Roll back and fail everything that is not committed: it may build on what was just lost."""
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
        """Run ``work`` in the thread. If cancelled, wait for its end, as nobody else may use the database meanwhile."""
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
