"""Files that are ours alone: locked while a process lives, for their owner's eyes, and on disk when they say so."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from pathlib import Path

__all__ = ["FileLock", "open_database"]


class FileLock:
    """Holds the file at ``path`` locked, its content the process id, until `release`.

    The kernel releases it when the process ends, however it ends. Raises `BlockingIOError` while somebody holds it;
    its ``strerror`` is the content they wrote, their process id. Raises `OSError` if the file cannot be made.
    """

    def __init__(self, path: Path, mode: int = 0o600) -> None:
        self.path = path
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, mode)
        try:
            # Two kinds: lightningd takes the second, which does not tell apart two owners in one process
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._handle, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._handle)
            raise BlockingIOError(errno.EWOULDBLOCK, holder, str(path)) from None
        os.ftruncate(self._handle, 0)
        os.write(self._handle, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let others have it. Idempotent."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def open_database(path: Path) -> sqlite3.Connection:
    """Open the SQLite database at ``path``, made for its owner's eyes only if it is new.

    A transaction is on disk when its commit returns; transactions are begun by hand. One thread at a time may use the
    connection, any of them. Raises `OSError` or `sqlite3.Error`.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))  # what is kept may be secret
    except FileExistsError:
        pass
    else:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # that the file is there has to outlive a power cut, too
        finally:
            os.close(folder)
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
    except BaseException:
        database.close()
        raise
    return database
