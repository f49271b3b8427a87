"""Making what is kept for peers due on their new connections, in slices, so that the event loop is free in between."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from oddwire.app.resending.entries import Entry
from oddwire.proto.keys import NodeId

__all__ = ["Renewals"]

_AT_ONCE: Final = 200  # messages made due before other tasks have their turn


class Renewals:
    """What is still to be made due, by peer. ``renew`` is called with each entry in order; ``spawn`` starts a task."""

    def __init__(self, renew: Callable[[Entry], object], spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self._renew = renew
        self._spawn = spawn
        self._waiting: dict[NodeId, deque[Entry]] = {}

    def __contains__(self, node_id: NodeId) -> bool:
        """Return whether there is more to be made due for a peer."""
        return node_id in self._waiting

    def begin(self, node_id: NodeId, entries: Iterable[Entry]) -> None:
        """Renew a peer's entries, in place of those that are left: the first of them at once."""
        waiting = self._waiting[node_id] = deque(entries)
        if self._go_on(node_id, waiting):
            self._spawn(self._rest(node_id, waiting))

    def add(self, entry: Entry) -> bool:
        """Renew an entry behind those that its peer has; return False if there are none."""
        waiting = self._waiting.get(entry.ident.node_id)
        if waiting is None:
            return False
        waiting.append(entry)
        return True

    def end(self, node_id: NodeId) -> None:
        """Renew no more of a peer's entries, which has disconnected."""
        self._waiting.pop(node_id, None)

    async def _rest(self, node_id: NodeId, waiting: deque[Entry]) -> None:
        more = True
        try:
            while more:
                await asyncio.sleep(0)  # also at first: an event loop may run a task's first step eagerly
                more = self._go_on(node_id, waiting)
        finally:
            if self._waiting.get(node_id) is waiting:
                self.end(node_id)

    def _go_on(self, node_id: NodeId, waiting: deque[Entry]) -> bool:
        """Renew the next entries; return whether there are more, of the same connection."""
        for _ in range(min(_AT_ONCE, len(waiting))):
            if self._waiting.get(node_id) is not waiting:
                return False
            self._renew(waiting.popleft())
        if not waiting and self._waiting.get(node_id) is waiting:
            self.end(node_id)
        return self._waiting.get(node_id) is waiting
