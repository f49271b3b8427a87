"""The queue from the thread that reads stdin to the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from oddwire.proto.keys import NodeId
from oddwire.transports.cln.reader import Item
from oddwire.transports.cln.stdin_watch import StdinWatch

__all__ = ["LoopQueue", "TakeItems"]

_OVERHEAD: Final = 128  # bytes counted per payload besides its length

TakeItems = Callable[[list[Item], dict[NodeId, int]], None]
"""Receives items, in order, and the number of dropped payloads by peer."""


class LoopQueue:
    """Passes chunks to ``take_items`` on ``loop``, in order, one per iteration.

    While the loop is busy, payloads of up to ``backlog`` bytes are queued; further ones are dropped and counted. Once
    the loop has caught up after that, it receives an empty list: no more was dropped. The ``watch`` is notified when
    the loop takes a chunk.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, take_items: TakeItems, backlog: int, watch: StdinWatch) -> None:
        self.take_items = take_items
        self._watch = watch
        self._loop = loop
        self._backlog = backlog
        self._chunks: deque[tuple[list[Item], dict[NodeId, int], int]] = deque()
        self._bytes_put = 0
        self._bytes_taken = 0
        self._is_due = False  # `deliver` is scheduled or running
        self._lossy = False  # something was dropped since the loop last caught up

    # Called by the reader of stdin --------------------------------------------------------------------

    def put_items(self, items: list[Item], size: int) -> None:
        """Queue items, whose payloads have ``size`` bytes; without the payloads if there is no room for them."""
        dropped = dict[NodeId, int]()
        size += len(items) * _OVERHEAD
        if self._bytes_put - self._bytes_taken + size > self._backlog:
            for item in items:
                if type(item) is tuple:
                    dropped[item[0]] = dropped.get(item[0], 0) + 1
            items, size = [item for item in items if type(item) is not tuple], 0
        self._bytes_put += size
        self._chunks.append((items, dropped, size))

    def put_end(self, reason: str) -> None:
        """Queue the reason why the node is done with us."""
        self._chunks.append(([reason], {}, 0))

    def wake_loop(self) -> bool:
        """Schedule `deliver` on the loop, from any thread; return False if the loop is closed."""
        if self._chunks and not self._is_due:
            self._is_due = True
            try:
                self._loop.call_soon_threadsafe(self.deliver)
            except RuntimeError:  # the loop is closed
                self._chunks.clear()
                self._is_due = False
                return False
        return True

    # Called on the loop -------------------------------------------------------------------------------

    def deliver_now(self) -> None:
        """Deliver the next chunk, unless that is scheduled."""
        if not self._is_due:
            self.deliver()

    def deliver(self) -> None:
        """Deliver the next chunk, and schedule the others for later iterations."""
        self._watch.beat += 1
        self._is_due = True
        chunks = self._chunks
        try:
            if chunks:
                items, dropped, size = chunks.popleft()
                self.take_items(items, dropped)
                self._lossy = self._lossy or bool(dropped)
                if self._lossy and not chunks:
                    self._lossy = False
                    self.take_items([], {})
                self._bytes_taken += size
        finally:
            # Other callbacks run between chunks. Items added meanwhile need no further wake-up
            if chunks:
                self._loop.call_soon(self.deliver)
            else:
                self._is_due = False
                self.wake_loop()
