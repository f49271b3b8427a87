"""The file of a node's log: appended to line by line, for as long as the node runs, whatever becomes of the file."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from oddwire.files import open_log

__all__ = ["LogFile"]

_AGAIN: Final = 1.0  # seconds between two attempts to open it


class LogFile:
    """The file at ``path``, made if it is new. Raises `OSError` if it cannot be opened at first.

    Later it is opened anew when it was deleted or replaced; one that was moved is written to until `reopen`, as those
    who rotate logs expect. A pipe that nobody reads, or not fast enough, does not hold anybody up: what it does not
    take is an error of `write`, as is a full disk, until it is over.
    ``clock`` is seconds that only ascend.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path.absolute()  # whatever folder the process changes to
        self._clock = clock
        self._handle = -1
        self._torn = False  # whether it ends within a line
        self._open_at = clock()
        self._error: OSError | None = None
        self._closed = False
        try:
            self._handle = self._open()
        except OSError as error:
            if error.errno != errno.ENXIO:  # a pipe, whose reader may come yet
                raise
            self._error = error

    def write(self, text: str) -> None:
        """Append a text, all of it or, with `OSError`, at most its beginning."""
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
        """Do nothing: nothing is held back."""

    def reopen(self) -> None:
        """Open what is at the path now. Raises `OSError`, and what was written to stays."""
        handle = self._open()
        self._drop()
        self._handle, self._torn = handle, False

    def close(self) -> None:
        """Close it for good. Idempotent."""
        self._closed = True
        self._drop()

    def _open(self) -> int:
        return open_log(self._path)  # not blocking: else a pipe without a reader would hold up the node

    def _drop(self) -> None:
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def _look(self) -> None:
        """Open the file again if what is open has no name any more, or nothing is, and not tried a moment ago."""
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
