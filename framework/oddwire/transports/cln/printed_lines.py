"""The application's printed lines, for the node's log."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from oddwire.log_limits import LIMITED
from oddwire.transports.cln.writer import Level

__all__ = ["PrintedLines"]

_LINE: Final = 16 * 1024  # max bytes of an unfinished line
_READ: Final = 1 << 16
_LAST_READS: Final = 64  # max reads at the end


class PrintedLines:
    """Reads ``fd``, a descriptor that does not block, and passes each line to ``log``; None: no descriptor."""

    def __init__(self, fd: int | None, log: Callable[[Level, str], None]) -> None:
        self.fd = fd
        self.has_ended = fd is None
        """Whether the descriptor is at its end."""
        self._log = log
        self._rest = b""

    def read(self) -> bool:
        """Log some of the available lines; return False if there was nothing to read."""
        if self.fd is None:
            return False
        try:
            data = os.read(self.fd, _READ)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.has_ended = True
            return False
        self._log_lines(data)
        return True

    def read_last(self) -> None:
        """Log all that is available, up to 4 MiB, with an unfinished last line."""
        for _ in range(_LAST_READS):
            if not self.read():
                break
        if self._rest:
            self._log_lines(b"\n")

    def _log_lines(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            if line.strip() and LIMITED.takes("print", len(line)):
                self._log("info", line.removesuffix(b"\r").decode(errors="backslashreplace"))
