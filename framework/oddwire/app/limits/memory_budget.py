"""The limit on the memory of all peers' messages that are queued or being handled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from oddwire.session.peer.reassembly import STANDSTILL

if TYPE_CHECKING:
    from oddwire.app.dispatch.peer_queue import PeerQueue

__all__ = ["LARGE", "REQUEST_WEIGHT", "MemoryBudget", "MemoryUse"]

LARGE: Final = 66_000
"""Bytes above which a message is counted separately: it came in fragments, or decodes to more than a payload holds."""
REQUEST_WEIGHT: Final = 2048
"""Bytes counted for a request in addition to its message: about the size of a task and its stack frames."""


class MemoryUse:
    """A request's part of the budget: its large message, or a large reply that the peer has not read."""

    __slots__ = ("_budget", "_evict", "queue", "reply", "since", "weight")

    def __init__(
        self, budget: MemoryBudget, queue: PeerQueue, weight: int, evict: Callable[[], object], since: float
    ) -> None:
        self._budget = budget
        self._evict = evict
        self.queue = queue
        self.weight = weight
        self.since = since
        self.reply = 0
        """Bytes of the reply, as sent; 0 for a request's message."""

    def count_reply(self, size: int) -> None:
        """Count it as a reply of ``size`` bytes, as sent."""
        self.reply = size
        self.queue.replies += size

    def evict(self) -> None:
        """Abort the request, because other peers need the room."""
        self.end()
        self._evict()

    def end(self) -> None:
        """Return the memory to the budget. Idempotent."""
        if self._budget.uses.pop(self, self) is None:
            self._budget.held -= self.weight
            self.queue.requested -= self.weight
            self.queue.replies -= self.reply


class MemoryBudget:
    """Bytes of decoded messages, of requests being handled, and of large replies; ``most`` is the configured limit.

    Peers without any part of it are admitted beyond ``most``, because others can create node ids for free: once the
    budget is `full`, each peer may have little, or one large message at a time, and the rest is read later, or
    refused. To bound that sum too, a request that needs room at twice ``most`` evicts one of the peer with the largest
    part, if that is more than its own would be, else one that has been there for 5 s.
    """

    __slots__ = ("held", "most", "uses")

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0
        self.uses: dict[MemoryUse, None] = {}
        """The uses that can be evicted, oldest first."""

    @property
    def full(self) -> bool:
        """Whether no peer may have a second large message."""
        return self.held >= self.most

    @property
    def closed(self) -> bool:
        """Whether no peer may have a first large message either."""
        return self.held >= 2 * self.most

    def take(self, queue: PeerQueue, weight: int, evict: Callable[[], object], now: float) -> MemoryUse | None:
        """Count a request, or its reply, until `MemoryUse.end`; return None if there is no room, even by eviction.

        A peer with unread replies evicts nothing, as two such peers would evict each other's for ever.
        """
        while self.held + weight > 2 * self.most and self.held:
            if queue.replies or not self._make_room(queue, weight, now):
                return None
        use = MemoryUse(self, queue, weight, evict, now)
        self.uses[use] = None
        self.held += weight
        queue.requested += weight
        return use

    def _make_room(self, queue: PeerQueue, weight: int, now: float) -> bool:
        if not self.uses:
            return False
        largest = max(self.uses, key=lambda use: use.queue.requested)
        if largest.queue is queue or largest.queue.requested <= queue.requested + weight:
            largest = next(iter(self.uses))
            if largest.since + STANDSTILL > now:
                return False
        largest.evict()
        return True
