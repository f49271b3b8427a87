"""The writer of stdout: whole documents and log lines for the node, from any thread, without waiting."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from typing import Final

from oddwire.jsonrpc.documents import encode
from oddwire.printable import printable

__all__ = ["Level", "Writer"]

Level = str
"""``trace``, ``debug``, ``info``, ``unusual`` or ``broken``."""

_LEVELS: Final = frozenset({"trace", "debug", "info", "unusual", "broken"})
_CHUNK: Final = 1 << 18
_LINE: Final = 16 * 1024  # characters of a log line
_MOST_LINES: Final = 4096  # max lines queued for a node that does not read


class Writer:
    """Writes to the descriptor ``fd``, which is non-blocking; `flush` writes queued data, in order."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._queue: deque[bytes] = deque()
        self._unsent: bytes | memoryview = b""
        self._lost_lines = 0
        self._writing = threading.Lock()

    def put(self, data: bytes) -> None:
        """Queue whole documents."""
        self._queue.append(data)

    def put_log(self, level: Level, text: str) -> None:
        """Queue lines for the node's log, made `printable`; dropped, and counted, while too many wait to be read."""
        if level not in _LEVELS:
            level = "info"
        for line in text.removesuffix("\n").split("\n") if text else ():
            if len(self._queue) >= _MOST_LINES:
                self._lost_lines += 1
                continue
            if len(line) > _LINE:
                line = f"{line[:_LINE]}... ({len(line)} characters)"
            # Without JSON escapes: lightningd prints a message verbatim if it does not know one
            params = {"level": level, "message": printable(line)}
            self._queue.append(encode({"jsonrpc": "2.0", "method": "log", "params": params}))

    def flush(self) -> bool:
        """Write as much as the node accepts now; return whether data is left.

        While another thread flushes, that thread does it: it looks at the queue once more when it is done.
        """
        while self._queue or self._unsent or self._lost_lines:
            if not self._writing.acquire(blocking=False):
                return False
            try:
                if self._write():
                    return True
            finally:
                self._writing.release()
        return False

    def close(self) -> None:
        """Close the descriptor, unless it is one of the standard ones; data queued from now on is lost."""
        with self._writing:
            fd, self.fd = self.fd, -1
            if fd > 2:
                with contextlib.suppress(OSError):
                    os.close(fd)

    def _write(self) -> bool:
        queue = self._queue
        while True:
            if not self._unsent:
                if not queue:
                    if not self._lost_lines:
                        return False
                    lost, self._lost_lines = self._lost_lines, 0
                    self.put_log("unusual", f"{lost} lines of log were dropped: the node did not read them")
                pieces, size = [], 0
                while queue and size < _CHUNK:
                    pieces.append(queue.popleft())
                    size += len(pieces[-1])
                self._unsent = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            try:
                written = os.write(self.fd, self._unsent)
            except BlockingIOError:
                return True
            except OSError:
                # The node reads no more; the end of stdin reports it
                queue.clear()
                self._unsent = b""
                self._lost_lines = 0
                return False
            self._unsent = memoryview(self._unsent)[written:] if written < len(self._unsent) else b""
