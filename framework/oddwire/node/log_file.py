"""The file of a node's log: lines are appended for as long as the node runs, even if the file is moved or deleted."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from oddwire.files import open_log

__all__ = ["LogFile"]

_AGAIN: Final = 1.0  # seconds between attempts to open the file


class LogFile:
    """The file at ``path``, created if there is none. Raises `OSError` if it cannot be opened at first.

    Later it is opened again when it was deleted; one that was moved is written to until `reopen`, as log rotation
    expects. Writing never blocks: `write` raises while a pipe has no reader or a slow one, or the disk is full.
    ``clock`` returns seconds that do not go back.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path.absolute()  # the process may change its working directory
        self._clock = clock
        self._handle = -1
        self._torn = False  # whether the file ends within a line
        self._open_at = clock()
        self._error: OSError | None = None
        self._closed = False
        try:
            self._handle = self._open()
        except OSError as error:
            if error.errno != errno.ENXIO:  # a pipe without a reader: it may come later
                raise
            self._error = error

    def write(self, text: str) -> None:
        """Append a text. Raises `OSError` if only a part of it, or nothing, could be written."""
        self._look()
        if self._handle < 0:
            raise self._error or OSError(errno.EBADF, "it is closed")
        data = text.encode("utf-8", "replace")
        data = b"\n" + data if self._torn else data
        while data:
            written = os.write(self._handle, data)
            self._torn = not data[:written].endswith(b"\n")
            data = data[written:]

    def flush(self) -> None:
        """Do nothing: writes are not buffered."""

    def reopen(self) -> None:
        """Open the file that is at the path now. Raises `OSError`, and keeps the open file, if it cannot."""
        handle = self._open()
        self._drop()
        self._handle, self._torn = handle, False

    def close(self) -> None:
        """Close the file; later writes fail. Idempotent."""
        self._closed = True
        self._drop()

    def _open(self) -> int:
        return open_log(self._path)  # not blocking: opening a pipe without a reader would block the node

    def _drop(self) -> None:
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def _look(self) -> None:
        """Open the file again if it was deleted or could not be opened, at most once per `_AGAIN` seconds."""
        if self._handle >= 0:
            if os.fstat(self._handle).st_nlink:
                return
            self._drop()
        now = self._clock()
        if self._closed or now < self._open_at:
            return
        try:
            self.reopen()
            self._error = None
        except OSError as error:
            self._open_at = now + _AGAIN
            self._error = error
