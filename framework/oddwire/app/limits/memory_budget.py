"""How much memory the messages of all peers take that wait for handlers or are handled: no more than there may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from oddwire.session.peer.reassembly import STANDSTILL

if TYPE_CHECKING:
    from oddwire.app.dispatch.peer_queue import PeerQueue

__all__ = ["LARGE", "REQUEST_WEIGHT", "MemoryBudget", "MemoryUse"]

LARGE: Final = 66_000
"""Bytes from which on a message counts by itself: what came in fragments, or decodes to more than a payload holds."""
REQUEST_WEIGHT: Final = 2048
"""What a request that is handled is counted for beside its message: about what a task and its frames take."""


class MemoryUse:
    """What a request takes of the budget: its message if that is large, or a large reply that its peer has not read."""

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
        """Bytes of it that are a reply's, as sent."""

    def count_reply(self, size: int) -> None:
        """Count it as a reply of so many bytes, as sent."""
        self.reply = size
        self.queue.replies += size

    def evict(self) -> None:
        """Give up the request: others need the room."""
        self.end()
        self._evict()

    def end(self) -> None:
        """Give back what is taken. Idempotent."""
        if self._budget.uses.pop(self, self) is None:
            self._budget.held -= self.weight
            self.queue.requested -= self.weight
            self.queue.replies -= self.reply


class MemoryBudget:
    """Bytes of messages, decoded, of requests that are handled, and of large replies; ``most`` is the limit's.

    It is not closed to those who have nothing in it, as node ids are free to make: once it is `full`, each peer may
    have little, or one large message at a time, and more is read later, or refused. So that the sum of that has an end
    too, at twice of ``most`` a request that needs room takes it from the peer that has most, if that is more than its
    own would be, else from one that has been there for 5 s.
    """

    __slots__ = ("held", "most", "uses")

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0
        self.uses: dict[MemoryUse, None] = {}
        """What can be given up, the oldest first."""

    @property
    def full(self) -> bool:
        """Whether there is no room for a second large message of anybody."""
        return self.held >= self.most

    @property
    def closed(self) -> bool:
        """Whether there is none for a first one either."""
        return self.held >= 2 * self.most

    def take(self, queue: PeerQueue, weight: int, evict: Callable[[], object], now: float) -> MemoryUse | None:
        """Count a request, or its reply, until `MemoryUse.end`; None if there is no room, nor any to be made.

        Who does not read its replies takes nobody's room, or two of these would take each other's for ever.
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
