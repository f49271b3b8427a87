"""Peers who have gone while messages of theirs wait or are handled: they may leave so much behind, and no more."""

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

_QUEUES: Final = 1024  # peers who have gone whose handlers still run
_BYTES: Final = 64 << 20  # of messages of theirs that wait
_MOST: Final = 4  # so many times as much if none of it has been there for long


class DepartedPeers:
    """The queues of peers who have gone, the oldest first. Node ids are free to make, so all of them count together."""

    def __init__(self, loop: asyncio.AbstractEventLoop, backpressure: Backpressure, workers: QueueWorkers) -> None:
        self._loop = loop
        self._backpressure = backpressure
        self._workers = workers
        self._queues: dict[NodeId, tuple[PeerQueue, int, float]] = {}
        self._held = 0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._queues)

    def add(self, queue: PeerQueue) -> None:
        """Take in a queue whose peer has gone, and give up what others have left behind for too long."""
        now = self._loop.time()
        self.forget(queue)
        self._queues[queue.peer.node_id] = queue, queue.held, now
        self._held += queue.held
        while len(self._queues) > _QUEUES or self._held > _BYTES:
            oldest, _, since = next(iter(self._queues.values()))
            if since + STANDSTILL > now and len(self._queues) <= _MOST * _QUEUES and self._held <= _MOST * _BYTES:
                break
            self.forget(oldest)
            self._abandon(oldest)

    def forget(self, queue: PeerQueue) -> None:
        """Take out a queue that is drained, or whose peer is back."""
        found = self._queues.pop(queue.peer.node_id, None)
        if found is not None:
            self._held -= found[1]

    def _abandon(self, queue: PeerQueue) -> None:
        workers = self._workers
        dropped = self._backpressure.drop(queue, "gone")
        running = [*queue.detached]
        if queue.wake is None and queue.worker is not None and not queue.worker.done():
            running.append(queue.worker)
            queue.worker.add_done_callback(lambda _: workers.wake(queue))  # to bid it farewell
        if not dropped and not running:
            return
        queue.abandoned = True
        for task in running:
            task.cancel("its peer has gone")
        logger.warning(
            "%d messages of %s, which has gone, are not handled, and %d handlers cancelled: others need the room",
            dropped,
            queue.peer,
            len(running),
        )
