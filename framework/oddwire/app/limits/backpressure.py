"""Pausing of peers: for a long queue, for the memory that all peers' messages take, or for a rate limit."""

from __future__ import annotations

from oddwire.app.dispatch.core import Core
from oddwire.app.dispatch.peer_queue import LONG, PeerQueue
from oddwire.app.limits.memory_budget import LARGE

__all__ = ["Backpressure"]


class Backpressure:
    """Counts queued and large messages, and pauses and resumes peers at the transport accordingly.

    The counters are `PeerQueue.held`, `counted` and `large`, and for all peers `MemoryBudget.held`. A queue's `held`
    is also updated inline where messages enter and leave it, because that is the path of nearly every message.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._transport = core.transport
        self._budget = core.memory_budget
        self._counters = core.counters

    # Queues -----------------------------------------------------------------------------------------

    def hold(self, queue: PeerQueue, weight: int) -> None:
        """Count a message that waits in a queue, or for hooks before it."""
        queue.held += weight
        if queue.held > queue.mark:
            self.full(queue)

    def let_go(self, queue: PeerQueue, weight: int) -> None:
        """End the count of `hold` for a message that is taken elsewhere than by the queue's worker."""
        queue.held -= weight
        if queue.counted or queue.held > LONG:
            self.recount(queue)
        if queue.paused:
            self.resume_if_drained(queue)

    def ask(self, queue: PeerQueue) -> None:
        """Count one more who waits for the peer, who is read on then, until `PeerQueue.request_ended`."""
        queue.request_begun()
        if queue.paused:
            self.resume_if_drained(queue)

    def full(self, queue: PeerQueue) -> None:
        """Recount a long queue, and pause its peer if the queue is too long and the peer is not paused."""
        if queue.held > queue.mark:
            self.recount(queue)
        if not queue.paused and (queue.is_full or (self._budget.full and queue.is_long)):
            if not queue.is_full:
                self._counters.throttled["total_message_bytes"] += 1
            self.pause(queue)

    def recount(self, queue: PeerQueue) -> None:
        """Count a long queue in the memory budget of all peers; its large messages are counted separately."""
        if not queue.counted and queue.held <= LONG:
            return
        counted = max(0, queue.held - queue.large) if queue.held > LONG else 0
        self._budget.held += counted - queue.counted
        queue.counted = counted
        queue.mark = queue.held + LONG if counted else LONG

    def drop(self, queue: PeerQueue, why: str) -> int:
        """Drop the messages of a queue, count them under ``why``, and return their number."""
        dropped = queue.drop_messages()
        for weight in dropped:
            if weight > LARGE:
                self.release(queue, weight)
        self.recount(queue)
        self._counters.dropped[why] += len(dropped)
        return len(dropped)

    # Large messages ---------------------------------------------------------------------------------

    def take(self, queue: PeerQueue, weight: int) -> None:
        """Count a large message until `release`; while the budget is full, its peer is paused until then."""
        self._count(queue, weight)
        if self._budget.full and not queue.paused and not queue.is_asking:
            self._counters.throttled["total_message_bytes"] += 1
            self.pause(queue)

    def release(self, queue: PeerQueue, weight: int) -> None:
        """End the count of `take`, and resume the peer if there is room."""
        self._count(queue, -weight)
        if queue.paused:
            self.resume_if_drained(queue)

    def _count(self, queue: PeerQueue, weight: int) -> None:
        self._budget.held += weight
        queue.large += weight

    def is_crowded(self, queue: PeerQueue | None) -> bool:
        """Return whether a peer may send nothing large now: the budget is closed, or full while the peer uses it."""
        budget = self._budget
        return budget.closed or (budget.full and queue is not None and queue.large + queue.requested > 0)

    # Pausing ----------------------------------------------------------------------------------------

    def pause(self, queue: PeerQueue) -> None:
        """Pause a peer until `resume_if_drained` finds room."""
        queue.paused = True
        self._transport.pause(queue.peer.node_id)

    def resume_if_drained(self, queue: PeerQueue) -> None:
        """Resume a paused peer if there is room."""
        if not queue.has_room or self._core.closing:
            return
        if self._core.queues.get(queue.peer.node_id) is not queue:
            return  # the peer has another one since, which may be full
        if self._budget.full:
            self.recount(queue)
            if queue.is_long or (not queue.is_asking and self.is_crowded(queue) and queue.large > 0):
                return
        queue.paused = False
        self._transport.resume(queue.peer.node_id)

    def throttle(self, queue: PeerQueue, seconds: float) -> None:
        """Pause a peer for ``seconds``, whatever room its queue has, or for longer if it is throttled already."""
        until = self._core.loop.time() + seconds
        if queue.throttle is not None:
            until = max(until, queue.throttle.when())
            queue.throttle.cancel()
        queue.throttle = self._core.loop.call_at(until, self._end_throttle, queue)
        if not queue.paused:
            self.pause(queue)

    def _end_throttle(self, queue: PeerQueue) -> None:
        queue.throttle = None
        if queue.paused:
            self.resume_if_drained(queue)
