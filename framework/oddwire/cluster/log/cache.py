"""The cache of a partition's database: a SQLite file that is used as long as it is what the log says."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from oddwire.cluster.log.pages import Changes, apply
from oddwire.cluster.log.position import Position, PositionFile, digest_of
from oddwire.errors import StoreError
from oddwire.files import FileLock, make_folder
from oddwire.log_limits import get_logger
from oddwire.sqlite_files import explain

__all__ = ["MARK", "Cache", "mark_of"]

logger = get_logger("oddwire.cluster.log")

MARK: Final = """
CREATE TABLE IF NOT EXISTS oddwire_log (
    id INTEGER PRIMARY KEY CHECK (id = 1), term INTEGER NOT NULL, number INTEGER NOT NULL
)
"""
"""The table with the term and the number of the last commit: by it a file says itself what it is."""


def mark_of(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the term and the number of the last commit; 0 for a database without any. Raises `sqlite3.Error`."""
    try:
        row = connection.execute("SELECT term, number FROM oddwire_log").fetchone()
    except sqlite3.OperationalError:
        return 0, 0
    return (0, 0) if row is None else (row[0], row[1])


class Cache:
    """The files of one partition in ``folder``, for one process at a time, from `lock` to `release`.

    All methods may be called in a thread, and raise `StoreError` for what the disk refuses.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "store"
        self.main = -1
        """The database's file, open; -1 while it is not."""
        self.position = PositionFile(folder / "position")
        self._lock: FileLock | None = None

    def lock(self) -> None:
        """Make the folder, and lock it. Raises `StoreError` if another process uses it."""
        try:
            make_folder(self.folder)
            self._lock = FileLock(self.folder / "cache.lock")
        except OSError as error:
            raise explain(error, str(self.folder)) from error

    def release(self) -> None:
        """Close the files, which SQLite has closed before, and release the lock. Idempotent."""
        self._close()
        self.position.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def open(self) -> int:
        """Open the database's file, which is created if there is none, and return its handle."""
        if self.main < 0:
            try:
                self.main = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            except OSError as error:
                raise explain(error, str(self.path)) from error
        return self.main

    def clear(self) -> None:
        """Throw the files away."""
        self._close()
        self.position.clear()
        for suffix in ("", "-wal", "-shm", "-journal"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def _close(self) -> None:
        if self.main >= 0:
            os.close(self.main)
            self.main = -1

    def consolidate(self) -> Position | None:
        """Return the position of whole files, with everything in the database's own; else throw them away.

        Files are whole if nothing but what the position says has been written to them.
        """
        position = self.position.read()
        if position is not None:
            with contextlib.suppress(OSError, sqlite3.Error):
                if self._settle(position):
                    return position
        if self.path.exists():
            logger.info("the cache %s is not what it should be, and is thrown away", self.path)
        self.clear()
        return None

    def _settle(self, position: Position) -> bool:
        handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if digest_of(handle) != (position.size, position.digest):
                return False
        finally:
            os.close(handle)
        # What was committed and is not in the log is behind the position
        ahead = self.path.with_name(self.path.name + "-wal")
        if ahead.exists() or position.ahead:
            os.truncate(ahead, position.ahead)
        if not position.commit:
            return True
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            if mark_of(connection)[1] != position.commit:
                return False
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.close()
        return not busy

    def apply(self, changes: Iterable[Changes]) -> None:
        """Apply commits, in order, to the database's file, which SQLite has not opened."""
        handle = self.open()
        try:
            apply(handle, changes)
        except OSError as error:
            raise explain(error, str(self.path)) from error

    def check(self, commit: int) -> None:
        """Raise `StoreError` unless the database is that of a commit."""
        self._close()
        try:
            connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
            try:
                _, found = mark_of(connection)
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise explain(error, str(self.path)) from error
        if found != commit:
            text = f"{self.path} should be as of commit {commit}, and says that it is of {found}"
            raise StoreError(text, path=str(self.path), reason="corrupt")
