"""Peers who have gone while messages of theirs wait or are handled: they may leave so much behind, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from oddwire.app.dispatch.peer_queue import PeerQueue
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.session.peer.reassembly import STANDSTILL

if TYPE_CHECKING:
    from oddwire.app.dispatch.dispatcher import Dispatcher

__all__ = ["DepartedPeers"]

logger = get_logger("oddwire.app")

_LANES: Final = 1024  # peers who have gone whose handlers still run
_BYTES: Final = 64 << 20  # of messages of theirs that wait
_MOST: Final = 4  # so many times as much if none of it has been there for long


class DepartedPeers:
    """The lanes of peers who have gone, the oldest first. Node ids are free to make, so all of them count together."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._lanes: dict[NodeId, tuple[PeerQueue, int, float]] = {}
        self._held = 0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._lanes)

    def add(self, lane: PeerQueue) -> None:
        """Take in a lane whose peer has gone, and give up what others have left behind for too long."""
        now = self._dispatcher.loop.time()
        self.forget(lane)
        self._lanes[lane.peer.node_id] = lane, lane.held, now
        self._held += lane.held
        while len(self._lanes) > _LANES or self._held > _BYTES:
            oldest, _, since = next(iter(self._lanes.values()))
            if since + STANDSTILL > now and len(self._lanes) <= _MOST * _LANES and self._held <= _MOST * _BYTES:
                break
            self.forget(oldest)
            self._abandon(oldest)

    def forget(self, lane: PeerQueue) -> None:
        """Take out a lane that is drained, or whose peer is back."""
        found = self._lanes.pop(lane.peer.node_id, None)
        if found is not None:
            self._held -= found[1]

    def _abandon(self, lane: PeerQueue) -> None:
        dispatcher = self._dispatcher
        dropped = dispatcher.drop(lane, "gone")
        running = [*lane.detached]
        if lane.wake is None and lane.worker is not None and not lane.worker.done():
            running.append(lane.worker)
            lane.worker.add_done_callback(lambda _: dispatcher.wake(lane))  # to bid it farewell
        if not dropped and not running:
            return
        lane.abandoned = True
        for task in running:
            task.cancel("its peer has gone")
        logger.warning(
            "%d messages of %s, which has gone, are not handled, and %d handlers cancelled: others need the room",
            dropped,
            lane.peer,
            len(running),
        )
