"""Limits for disconnected peers whose messages are still queued or handled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from oddwire.app.dispatch.peer_queue import PeerQueue
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.session.peer.reassembly import STANDSTILL

if TYPE_CHECKING:
    from oddwire.app.dispatch.queue_workers import QueueWorkers
    from oddwire.app.limits.backpressure import Backpressure

__all__ = ["DepartedPeers"]

logger = get_logger("oddwire.app")

_QUEUES: Final = 1024  # disconnected peers whose handlers still run
_BYTES: Final = 64 << 20  # of their queued messages
_MOST: Final = 4  # factor on both limits while the oldest queue is recent


class DepartedPeers:
    """The queues of disconnected peers, oldest first. They share one limit, because node ids cost nothing to create."""

    def __init__(self, loop: asyncio.AbstractEventLoop, backpressure: Backpressure, workers: QueueWorkers) -> None:
        self._loop = loop
        self._backpressure = backpressure
        self._workers = workers
        self._queues: dict[NodeId, tuple[PeerQueue, int, float]] = {}
        self._held = 0

    def __len__(self) -> int:
        """Return the number of queues."""
        return len(self._queues)

    def add(self, queue: PeerQueue) -> None:
        """Add the queue of a disconnected peer; while over the limits, abandon the oldest queues."""
        now = self._loop.time()
        self.remove(queue)
        self._queues[queue.peer.node_id] = queue, queue.held, now
        self._held += queue.held
        while len(self._queues) > _QUEUES or self._held > _BYTES:
            oldest, _, since = next(iter(self._queues.values()))
            if since + STANDSTILL > now and len(self._queues) <= _MOST * _QUEUES and self._held <= _MOST * _BYTES:
                break
            self.remove(oldest)
            self._abandon(oldest)

    def remove(self, queue: PeerQueue) -> None:
        """Remove a queue that is drained, or whose peer has reconnected."""
        found = self._queues.pop(queue.peer.node_id, None)
        if found is not None:
            self._held -= found[1]

    def _abandon(self, queue: PeerQueue) -> None:
        workers = self._workers
        dropped = self._backpressure.drop(queue, "gone")
        running = [*queue.detached]
        if queue.wake is None and queue.worker is not None and not queue.worker.done():
            running.append(queue.worker)
            queue.worker.add_done_callback(lambda _: workers.wake(queue))  # for its disconnect hooks
        if not dropped and not running:
            return
        queue.abandoned = True
        for task in running:
            task.cancel("its peer has disconnected")
        logger.warning(
            "%d messages of %s, which has gone, are not handled, and %d handlers cancelled: others need the room",
            dropped,
            queue.peer,
            len(running),
        )
