"""SQLite's write-ahead log beside the cache: what a commit has put there.

Nobody but this process writes to the database, and no page is moved from the write-ahead log into it (a *checkpoint*)
but by `WriteAheadLog.clear`. So a commit's pages are those behind the last commit's, up to the one that says how many
pages the database has.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Committed", "WriteAheadLog"]

_HEAD: Final = 32  # magic, version, page size, number of the checkpoint, two salts, checksum
_FRAME: Final = 24  # page's number, pages of the database where a commit ends or 0, two salts, checksum


class Committed(NamedTuple):
    """The pages that were committed, by number, and the number of pages that the database has now."""

    page_size: int
    size: int
    pages: dict[int, bytes]


class WriteAheadLog:
    """The write-ahead log of the database at ``path``, whose file is open as ``main`` and has ``size`` pages.

    ``main`` should be opened before SQLite opens the file, and closed after it has closed it: closing it earlier would
    release SQLite's locks, which are the process's.
    """

    def __init__(self, path: Path, main: int, size: int) -> None:
        self.path = path.with_name(path.name + "-wal")
        self.at = 0
        """Where the last commit ends."""
        self.size = size
        """The pages of the database after the last commit."""
        self._main = main
        self._handle = -1
        self.page_size = 0
        """Bytes of a page, 0 before the first commit."""
        self._salt = b""
        self._new: dict[int, int] = {}
        self._places: dict[int, int] = {}  # where a page's newest version is, if it is not in the database's file

    def committed(self, *, all_: bool = False) -> Committed:
        """Return what one commit has written since the last call; with ``all_``, what all have.

        Raises `ValueError` if that is not there, which is for a database that another program has written to.
        """
        if self._handle < 0:
            self._handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        if not self.at:
            head = os.pread(self._handle, _HEAD, 0)
            if len(head) < _HEAD:
                raise ValueError("its write-ahead log is empty after a commit")
            self.page_size, self._salt, self.at = int.from_bytes(head[8:12], "big"), head[16:24], _HEAD
        step = _FRAME + self.page_size
        whole, pages = dict[int, tuple[int, bytes]](), dict[int, tuple[int, bytes]]()
        size, at = 0, self.at
        while not size or all_:
            frame = os.pread(self._handle, step, at)
            if len(frame) < step or frame[8:16] != self._salt:
                break
            pages[int.from_bytes(frame[:4], "big")] = at + _FRAME, frame[_FRAME:]
            at += step
            if found := int.from_bytes(frame[4:8], "big"):
                size, self.at = found, at
                whole.update(pages)
                pages.clear()
        if not size:
            raise ValueError("its write-ahead log does not have what was committed")
        self._new = {number: place for number, (place, _) in whole.items()}
        return Committed(self.page_size, size, {number: page for number, (_, page) in whole.items()})

    def before(self, number: int) -> bytes:
        """Return what a page was before what `committed` has returned; empty for a new one."""
        if number > self.size:
            return b""
        place = self._places.get(number)
        if place is not None:
            return os.pread(self._handle, self.page_size, place)
        return os.pread(self._main, self.page_size, (number - 1) * self.page_size)

    def settle(self, size: int) -> None:
        """Count what `committed` has returned as what pages are; ``size`` is the number of pages now."""
        self._places.update(self._new)
        self.size = size

    def cleared(self) -> None:
        """Begin anew, after a checkpoint that has moved all of it into the database's file."""
        self.at = 0
        self._places.clear()

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
