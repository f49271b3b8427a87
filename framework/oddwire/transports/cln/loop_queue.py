"""What was read from the node, in whichever thread, on its way to the loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from oddwire.proto.keys import NodeId
from oddwire.transports.cln.reader import Item
from oddwire.transports.cln.stdin_watch import StdinWatch

__all__ = ["LoopQueue", "TakeItems"]

_OVERHEAD: Final = 128  # what a payload costs besides its bytes

TakeItems = Callable[[list[Item], dict[NodeId, int]], None]
"""Takes what came, in order, and how many payloads of whom had to be dropped."""


class LoopQueue:
    """Hands chunks to ``take_items`` on ``loop``, in order, one an iteration.

    While the loop takes nothing, payloads of up to ``backlog`` bytes wait; what exceeds them is dropped and counted.
    Once the loop has caught up after that, it is handed nothing, which says that no more was dropped. The ``watch`` is
    told when the loop has come.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, take_items: TakeItems, backlog: int, watch: StdinWatch) -> None:
        self.take_items = take_items
        self._watch = watch
        self._loop = loop
        self._backlog = backlog
        self._chunks: deque[tuple[list[Item], dict[NodeId, int], int]] = deque()
        self._bytes_put = 0
        self._bytes_taken = 0
        self._is_due = False  # the loop will call, or is in, `deliver`
        self._lossy = False  # of what the loop has taken since it last caught up, something was dropped

    # By whoever reads ---------------------------------------------------------------------------------

    def put_items(self, items: list[Item], size: int) -> None:
        """Queue what came, whose payloads have ``size`` bytes; without the payloads if there is no room for them."""
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
        """Queue why nothing more is to be done for the node."""
        self._chunks.append(([reason], {}, 0))

    def wake_loop(self) -> bool:
        """Have the loop take what waits, from any thread; false if it is closed."""
        if self._chunks and not self._is_due:
            self._is_due = True
            try:
                self._loop.call_soon_threadsafe(self.deliver)
            except RuntimeError:  # closed, and nobody takes anything any more
                self._chunks.clear()
                self._is_due = False
                return False
        return True

    # On the loop --------------------------------------------------------------------------------------

    def deliver_now(self) -> None:
        """Hand on the next chunk, unless that is due anyway."""
        if not self._is_due:
            self.deliver()

    def deliver(self) -> None:
        """Hand on the next chunk, and have the others follow in later iterations."""
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
            # Others on the loop have their turn between chunks. What is added meanwhile needs no other wake-up
            if chunks:
                self._loop.call_soon(self.deliver)
            else:
                self._is_due = False
                self.wake_loop()
