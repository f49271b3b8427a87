"""What goes to the node by stdout: whole documents and lines of its log, from any thread, without waiting."""

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
_MOST_LINES: Final = 4096  # that wait for a node that does not read


class Writer:
    """Writes to the descriptor ``fd``, which does not block. What is put is written in that order, by `flush`."""

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
            # No escapes of JSON's are left in it: lightningd prints a message as it came if it does not know one
            params = {"level": level, "message": printable(line)}
            self._queue.append(encode({"jsonrpc": "2.0", "method": "log", "params": params}))

    def flush(self) -> bool:
        """Write what the node takes now; true if it takes no more, and something is left.

        While another thread does the same, it is left to that one, which looks at the queue once more when it is done.
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
        """Close the descriptor, unless it is one of the standard ones; what is put from now on is lost."""
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
                    self.put_log("unusual", f"{lost} lines of log were left out: nobody read them")
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
                # Nobody will read it; stdin tells the end
                queue.clear()
                self._unsent = b""
                self._lost_lines = 0
                return False
            self._unsent = memoryview(self._unsent)[written:] if written < len(self._unsent) else b""
