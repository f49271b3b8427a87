"""Writing to stdout without waiting for its reader."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Final

__all__ = ["PENDING", "StdoutWriter"]

PENDING: Final = 64 << 20
"""Max bytes that wait for the reader; above it, `StdoutWriter.put` waits too."""


class StdoutWriter:
    """Writes to a descriptor in a thread, so that a slow reader, or a terminal that is held, does not stop a node.

    When the descriptor cannot be written any more, ``on_broken`` is called with the error, in that thread, and all
    further bytes are dropped.
    """

    def __init__(self, descriptor: int, on_broken: Callable[[OSError], None], pending: int = PENDING) -> None:
        self.broken = False
        self._descriptor = descriptor
        self._on_broken = on_broken
        self._most = pending
        self._waiting: list[bytes] = []
        self._size = 0  # bytes that wait or are being written
        self._changed = threading.Condition()
        threading.Thread(target=self._write, name="stdout", daemon=True).start()

    def put(self, data: bytes) -> None:
        """Queue bytes for writing, in the order of calls; blocks while more than ``pending`` bytes wait."""
        with self._changed:
            self._changed.wait_for(lambda: self._size <= self._most or self.broken)
            if not self.broken:
                self._waiting.append(data)
                self._size += len(data)
                self._changed.notify_all()

    def drain(self, seconds: float) -> bool:
        """Wait up to ``seconds`` until everything is written. Return whether it is, or cannot be."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._size or self.broken, seconds)

    def _write(self) -> None:
        # os.write, as sys.stdout would hold a lock that the interpreter needs at its end
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                data, self._waiting = memoryview(b"".join(self._waiting)), []
            try:
                while data:
                    try:
                        written = os.write(self._descriptor, data)
                    except BlockingIOError:  # another process made the shared descriptor non-blocking: wait ourselves
                        poll = select.poll()
                        poll.register(self._descriptor, select.POLLOUT)
                        poll.poll()
                        continue
                    data = data[written:]
                    with self._changed:
                        self._size -= written
                        self._changed.notify_all()
            except OSError as error:
                with self._changed:
                    self.broken = True
                    self._changed.notify_all()
                self._on_broken(error)
                return
