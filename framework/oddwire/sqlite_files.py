"""SQLite files that other programs may lock or move: what their errors mean, and who holds a lock."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from oddwire.errors import StoreError

__all__ = ["Place", "explain", "holders", "is_busy"]

_REASONS: Final = {
    sqlite3.SQLITE_FULL: ("full", "has no room: its disk is full, or its size limited; make room and try again"),
    sqlite3.SQLITE_READONLY: ("read-only", "cannot be written: it, its folder or its disk is read-only"),
    sqlite3.SQLITE_CORRUPT: ("corrupt", "is damaged; move it away, or restore it from a backup"),
    sqlite3.SQLITE_NOTADB: ("foreign", "is no database; choose another file"),
}
_MOVED: Final = 1032  # SQLITE_READONLY_DBMOVED, which Python does not name


def explain(error: Exception, path: str) -> StoreError:
    """Return the `StoreError` that says what an error of the database at ``path`` or its file means."""
    if isinstance(error, StoreError):
        return StoreError(str(error), path=error.path, reason=error.reason)
    if isinstance(error, BlockingIOError):
        text = f"{path} is in use by process {error.strerror}; stop it, or choose another file"
        return StoreError(text, path=path, reason="locked")
    if isinstance(error, OSError):
        return StoreError(f"{path} cannot be opened: {error.strerror}", path=path, reason="io")
    if is_busy(error):
        found = ", ".join(holders(path)) or "another program that looks into it"
        text = f"{path} is locked by {found}; let it finish, or end it, and try again ({error})"
        return StoreError(text, path=path, reason="locked")
    code = getattr(error, "sqlite_errorcode", 0)
    if code == _MOVED:
        return _moved(path)
    reason, text = _REASONS.get(code & 0xFF, ("io", "cannot be used"))
    return StoreError(f"{path} {text} ({error})", path=path, reason=reason)


def is_busy(error: Exception) -> bool:
    """Return whether an error says that another process has the database locked."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _moved(path: str) -> StoreError:
    text = f"{path} was moved, deleted or replaced while it was in use; put it back, or restart with what is there now"
    return StoreError(text, path=path, reason="moved")


class Place:
    """The identity of an open database's file: writes after a move would go to a file that nobody finds."""

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        self._files = self._look()

    def check(self) -> None:
        """Raise `StoreError` if the database at the path is not the one that was opened."""
        if self._look() != self._files:
            raise _moved(self._path)

    def _look(self) -> list[tuple[int, int] | None]:
        return [_identity(self._path + suffix) for suffix in ("", "-wal")]


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - called once per commit
    except OSError:
        return None
    return found.st_dev, found.st_ino


def holders(path: str, locks: Path = Path("/proc/locks")) -> list[str]:
    """Return who has a database locked for writing, as ``process 1234 (sqlite3)``; nobody where that is unknown.

    The database's files are not opened: closing them would release this process's own locks.
    """
    files = {_identity(path + suffix) for suffix in ("", "-wal", "-shm", "-journal")} - {None}
    numbers = {number for _, number in filter(None, files)}
    try:
        lines = locks.read_text().splitlines()
    except OSError:
        return []
    found = dict.fromkeys(pid for pid, number in _writers(lines) if number in numbers and pid != os.getpid())
    return [f"process {pid}{_name(pid)}" for pid in found]


def _writers(lines: Iterable[str]) -> Iterable[tuple[int, int]]:
    """Yield process id and inode from lines such as ``1: POSIX  ADVISORY  WRITE 1234 fe:01:5678 120 120``."""
    for line in lines:
        words = line.split()
        if "WRITE" in words[:5] and words[1] != "->":  # waiting processes have an arrow
            try:
                place = words.index("WRITE")
                yield int(words[place + 1]), int(words[place + 2].rpartition(":")[2])
            except (IndexError, ValueError):
                continue


def _name(pid: int) -> str:
    try:
        return f" ({Path(f'/proc/{pid}/comm').read_text().strip()})"
    except OSError:
        return ""
