"""The store of a partition: a commit counts when the partition's log has it, which takes it from its owner alone."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from oddwire.cluster.log.cache import MARK, Cache
from oddwire.cluster.log.entries import Kind, Link
from oddwire.cluster.log.pages import pack
from oddwire.cluster.log.position import Position, digest_of
from oddwire.cluster.log.replay import catch_up
from oddwire.cluster.log.snapshot_maker import SnapshotMaker
from oddwire.cluster.log.subject import LogPlace
from oddwire.cluster.log.write_ahead import WriteAheadLog
from oddwire.cluster.log.writer import LogWriter
from oddwire.errors import StoreError
from oddwire.log_limits import get_logger
from oddwire.session.store.commit_log import InThread, RemoteLog
from oddwire.session.store.database import Database
from oddwire.sqlite_files import explain

if TYPE_CHECKING:
    from oddwire.proto.keys import NodeId
    from oddwire.transports.nats.connection import BrokerConnection

__all__ = ["ReplicatedStore"]

logger = get_logger("oddwire.cluster.log")

T = TypeVar("T")

_SNAPSHOT: Final = 16 << 20
_AHEAD: Final = 8  # SQLite's write-ahead log has whole pages, and may be so many times as long


class ReplicatedStore(RemoteLog):
    """The store of a partition, for one ownership: `take`, `catch_up`, then ``Application(store=...)``, then `aclose`.

    ``place`` is the partition's log, ``folder`` that of the partition's cache, which may be thrown away at any time
    while nobody uses it. ``owner`` is a name for people. A snapshot is made when the log has grown by
    ``snapshot_after`` bytes, or by the size of the database if that is more.

    What is added to ``on_fenced`` is called once, with the error, when nothing is stored any more: its reason is
    ``fenced`` if another owner has the log or `lost` was called, another one if the cache or the broker refuses.
    """

    def __init__(self, place: LogPlace, folder: Path, *, owner: str = "", snapshot_after: int = _SNAPSHOT) -> None:
        super().__init__()
        self.on_fenced: list[Callable[[StoreError], object]] = []
        self._place = place
        self._cache = Cache(folder)
        self._owner = owner
        self._snapshot_after = snapshot_after
        self._snapshots = SnapshotMaker(
            place, self, lambda body: self._unless_lost(self._owned().append(Kind.SNAPSHOT, body))
        )
        self._writer: LogWriter | None = None
        self._position: Position | None = None
        self._ahead: WriteAheadLog | None = None
        self._main: os.stat_result | None = None  # the database's file as `catch_up` has left it
        self._data_version = 0
        self._under_way: set[asyncio.Task[Any]] = set()
        self._is_ahead = False  # whether the cache has what the log does not have

    @classmethod
    def of_partition(
        cls, connection: BrokerConnection, node: NodeId, partition: int, cache: Path, *, owner: str = ""
    ) -> ReplicatedStore:
        """Return the store of a node's partition, with a folder of its own in the folder ``cache``."""
        from oddwire.cluster.log.jetstream import JetStreamLog  # needs nats-py

        place = JetStreamLog(connection, node, partition)
        return cls(place, cache / f"{node}.{partition}", owner=owner)

    @property
    def path(self) -> str:
        """The path of the database's file."""
        return str(self._cache.path)

    @property
    def term(self) -> int:
        """The term of `take`, 0 before."""
        return 0 if self._writer is None else self._writer.term

    @property
    def position(self) -> Position | None:
        """Where in the log the store is, None before `catch_up`."""
        return self._position

    # Ownership --------------------------------------------------------------------------------------

    async def take(self) -> int:
        """Become the owner of the log, and return the term. From now on the former owner's commits are refused.

        Waits for a broker. Raises `StoreError`: ``fenced`` if another was quicker, ``corrupt`` for a damaged log. If
        cancelled, the log may be ours or not.
        """
        self._writer = await self._unless_lost(LogWriter.take(self._place, self._owner))
        return self._writer.term

    async def catch_up(self) -> None:
        """Bring the cache up to the log. Waits for a broker. Raises `StoreError`: ``corrupt`` if the log is damaged."""
        writer = self._owned()
        await asyncio.to_thread(self._cache.lock)
        self._position = await self._unless_lost(catch_up(self._place, self._cache, writer.sequence))
        if self._position.commit:
            self._main = await asyncio.to_thread(self._cache.path.stat)
        else:
            await asyncio.to_thread(self._cache.clear)

    def lost(self, why: str) -> None:
        """Store nothing any more, as the partition is not ours: what waits for the log fails. Idempotent."""
        self._fence(StoreError(f"{self._place.log.name}: {why}", path=self.path, reason="fenced"))

    async def aclose(self) -> None:
        """Close the files, after the application's end. Idempotent."""
        await self._snapshots.stop()
        await asyncio.to_thread(self._cache.release)

    def _owned(self) -> LogWriter:
        if self._writer is None:
            raise StoreError(f"{self.path} has no owner: take() comes first", path=self.path, reason="closed")
        return self._writer

    def _fence(self, error: StoreError) -> StoreError:
        if self.error is None:
            self.error = error
            self._snapshots.cancel()
            for task in self._under_way:
                task.cancel()
            self.on_error(error)
            if error.reason != "closed":
                for call in self.on_fenced:
                    call(error)
        return self.error

    async def _unless_lost(self, work: Coroutine[Any, Any, T]) -> T:
        """Await work; it is cancelled, and the error raised, when nothing is to be stored any more."""
        if self.error is not None:
            work.close()
            raise explain(self.error, self.path)
        task = asyncio.create_task(work)
        self._under_way.add(task)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        finally:
            self._under_way.discard(task)
        if task.cancelled():
            raise explain(self.error or self._fence(_ended(self.path)), self.path)
        return task.result()

    # As `oddwire.session.store.commit_log.CommitLog` ------------------------------------------------

    async def opened(self, database: Database, in_thread: InThread) -> None:
        """Have the log take what opening the database has written, with the mark of the first commit."""
        try:
            await self._append(await in_thread(lambda: self._prepare(database)))
            _show(database.reader)
        except (StoreError, sqlite3.Error, OSError, ValueError) as failure:
            raise self._fence(explain(failure, self.path)) from failure

    def _prepare(self, database: Database) -> bytes:
        if self._position is None:
            raise StoreError(
                f"{self.path} is not up to its log: catch_up() comes first", path=self.path, reason="closed"
            )
        self._is_ahead = True  # opening has written
        writer, main = database.writer, self._cache.open()
        size, digest = digest_of(main)
        was, now = self._main, os.fstat(main)
        page_size = writer.execute("PRAGMA page_size").fetchone()[0]
        if (size > page_size) if was is None else ((was.st_mtime_ns, was.st_size) != (now.st_mtime_ns, now.st_size)):
            raise self._foreign()
        self._position = self._position._replace(size=size, digest=digest)
        self._ahead = WriteAheadLog(self._cache.path, main, 0 if was is None else size // page_size)
        writer.execute(MARK)
        (self._data_version,) = writer.execute("PRAGMA data_version").fetchone()
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT OR IGNORE INTO oddwire_log VALUES (1, 0, 0)")
        return self._seal(database, all_=True)

    async def commit(self, database: Database, in_thread: InThread) -> None:
        """Commit, and wait for the log. Raises `StoreError`, which ends the store if it was committed here alone."""
        try:
            data = await in_thread(lambda: self._seal(database))
        except _Broken as error:
            raise explain(self._fence(error), self.path) from error
        await self._append(data)
        try:
            _show(database.reader)
            if self._is_snapshot_due():
                await self._begin_snapshot(database, in_thread)
        except sqlite3.Error as error:
            raise self._fence(explain(error, self.path)) from error

    def _foreign(self) -> StoreError:
        self._is_ahead = True
        text = f"another program has written to {self.path}, a cache that is ours alone"
        return _Broken(text, path=self.path, reason="moved")

    def _seal(self, database: Database, *, all_: bool = False) -> bytes:
        """Commit, and return the body of its entry. Runs in the store's thread."""
        if self.error is not None:
            raise explain(self.error, self.path)
        assert self._position is not None and self._ahead is not None  # noqa: S101, PT018 - narrows the types
        writer, ahead, number = database.writer, self._ahead, self._position.commit + 1
        if self._is_ahead is not all_ or writer.execute("PRAGMA data_version").fetchone() != (self._data_version,):
            raise self._foreign()
        writer.execute("UPDATE oddwire_log SET term = ?, number = ?", (self.term, number))
        writer.execute("COMMIT")
        self._is_ahead = True
        try:
            found = ahead.committed(all_=all_)
            data = pack(number, found.page_size, found.size, found.pages, ahead.before)
            ahead.settle(found.size)
        except (OSError, ValueError) as error:
            text = f"{self.path}: what was committed cannot be read: {error}"
            raise _Broken(text, path=self.path, reason="io") from error
        return data

    async def _append(self, data: bytes) -> None:
        writer, position, ahead = self._owned(), self._position, self._ahead
        assert position is not None and ahead is not None  # noqa: S101, PT018 - narrows the types
        end = ahead.at
        try:
            sequence, link = await self._unless_lost(writer.append(Kind.COMMIT, data))
        except StoreError as error:
            raise explain(self._fence(error), self.path) from error
        self._is_ahead = False
        position = self._position or position  # a snapshot may have been told meanwhile
        position = position._replace(sequence=sequence, link=link, term=self.term, ahead=end)
        self._have(position._replace(commit=position.commit + 1, grown=position.grown + len(data)))

    def _have(self, position: Position) -> None:
        self._position = position
        try:
            self._cache.position.write(position)
        except OSError as error:
            logger.warning("where the cache %s is cannot be written down: %s", self.path, error)

    async def close(self, database: Database, in_thread: InThread) -> None:
        """Record that the store was closed, and close it."""
        await self._snapshots.stop()

        def record() -> bytes:
            database.writer.execute("BEGIN IMMEDIATE")
            database.writer.execute("UPDATE oddwire_state SET clean = 1")
            return self._seal(database)

        try:
            if self.error is not None:
                raise explain(self.error, self.path)
            await self._append(await in_thread(record))
        except sqlite3.Error as error:
            raise explain(error, self.path) from error
        finally:
            await self._close(database, in_thread)

    async def abandon(self, database: Database, in_thread: InThread) -> None:
        """Close the database; a cache that has what is not in the log is thrown away."""
        self._fence(_ended(self.path))
        await self._close(database, in_thread)

    async def _close(self, database: Database, in_thread: InThread) -> None:
        await self._snapshots.stop()
        await in_thread(database.abandon)
        await in_thread(self._closed)

    def _closed(self) -> None:
        """Write down where the cache is, whose write-ahead log is in it now; or throw it away."""
        if self._ahead is not None:
            self._ahead.close()
        wal = Path(self.path + "-wal")
        if self._is_ahead or self._position is None or (wal.exists() and wal.stat().st_size):
            self._cache.clear()
            return
        size, digest = digest_of(self._cache.open())
        self._have(self._position._replace(ahead=0, size=size, digest=digest))

    def give_up(self, error: StoreError) -> None:
        """Let a method that waits for the log raise ``error``."""
        self._fence(error)

    # Snapshots --------------------------------------------------------------------------------------

    def _is_snapshot_due(self) -> bool:
        position, ahead = self._position, self._ahead
        assert position is not None and ahead is not None  # noqa: S101, PT018 - narrows the types
        enough = max(self._snapshot_after, ahead.size * ahead.page_size)
        return self._snapshots.task is None and (position.grown >= enough or ahead.at >= _AHEAD * enough)

    async def _begin_snapshot(self, database: Database, in_thread: InThread) -> None:
        """Move everything into the database's file, which stays as it is until the snapshot is made."""
        position, ahead = self._position, self._ahead
        assert position is not None and ahead is not None  # noqa: S101, PT018 - narrows the types
        position = position._replace(grown=0)
        database.reader.execute("COMMIT")
        try:
            checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)"
            busy, _, _ = await in_thread(lambda: database.writer.execute(checkpoint).fetchone())
        except sqlite3.Error as error:
            busy = 1
            logger.warning("no snapshot of %s: %s", self.path, explain(error, self.path))
        finally:
            _show(database.reader)
        if busy:
            self._have(position._replace(digest=bytes(16)))  # some of it may have been moved
            return
        ahead.cleared()
        self._have(position._replace(ahead=0, digest=bytes(16)))
        self._snapshots.begin(position, self.term, self._cache.main)

    def snapshot_uploaded(self, size: int, digest: bytes) -> None:
        """Write down what the database's file is."""
        assert self._position is not None  # noqa: S101 - narrows the type
        self._have(self._position._replace(size=size, digest=digest))

    def snapshot_appended(self, sequence: int, link: Link) -> None:
        """Go on behind the snapshot's entry."""
        assert self._position is not None  # noqa: S101 - narrows the type
        if sequence > self._position.sequence:
            self._have(self._position._replace(sequence=sequence, link=link))

    def snapshot_refused(self, error: StoreError) -> None:
        """Store nothing any more."""
        self._fence(error)


class _Broken(StoreError):
    """The database has what the log does not have, and never will."""


def _ended(path: str) -> StoreError:
    return StoreError(f"{path} was abandoned", path=path, reason="closed")


def _show(reader: sqlite3.Connection) -> None:
    """Let the reader see what is committed now, and nothing that is committed later."""
    if reader.in_transaction:
        reader.execute("COMMIT")
    reader.execute("BEGIN")
    reader.execute("SELECT 1 FROM oddwire_state").fetchone()
