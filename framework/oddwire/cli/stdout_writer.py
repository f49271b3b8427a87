"""Writing to stdout without waiting for who reads it."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Final

__all__ = ["PENDING", "StdoutWriter"]

PENDING: Final = 64 << 20
"""Bytes that may wait for a reader before who prints waits too."""


class StdoutWriter:
    """Writes to a descriptor in a thread of its own: a slow reader, or a terminal that is held, does not stop a node.

    When nobody reads any more, ``on_broken`` is called with the error, in that thread, and what is put from then on is
    dropped.
    """

    def __init__(self, descriptor: int, on_broken: Callable[[OSError], None], pending: int = PENDING) -> None:
        self.broken = False
        self._descriptor = descriptor
        self._on_broken = on_broken
        self._most = pending
        self._waiting: list[bytes] = []
        self._size = 0  # of what waits, and of what is being written
        self._changed = threading.Condition()
        threading.Thread(target=self._write, name="stdout", daemon=True).start()

    def put(self, data: bytes) -> None:
        """Have bytes written after all that was put before; waits while too much is pending."""
        with self._changed:
            self._changed.wait_for(lambda: self._size <= self._most or self.broken)
            if not self.broken:
                self._waiting.append(data)
                self._size += len(data)
                self._changed.notify_all()

    def drain(self, seconds: float) -> bool:
        """Wait until all is written; says whether it is, after ``seconds`` at most."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._size or self.broken, seconds)

    def _write(self) -> None:
        # os.write, as sys.stdout would hold a lock that the ending interpreter wants
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                data, self._waiting = memoryview(b"".join(self._waiting)), []
            try:
                while data:
                    try:
                        written = os.write(self._descriptor, data)
                    except BlockingIOError:  # whoever we share it with does not want to wait for a reader; we do
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
