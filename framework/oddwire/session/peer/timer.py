"""One event-loop timer for the deadlines of all peers, as a timer per deadline would be slow."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from oddwire.proto.keys import NodeId

if TYPE_CHECKING:
    from oddwire.session.peer.peer_session import PeerSession

__all__ = ["PeerTimer"]

_SPARE: Final = 64  # entries of the heap besides two per peer, above which it is rebuilt


class PeerTimer:
    """Calls `PeerSession.tick` of each of ``peers`` at the earliest time passed to `wake` for it."""

    __slots__ = ("_due", "_loop", "_peers", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, peers: Mapping[NodeId, PeerSession]) -> None:
        self._loop = loop
        self._peers = peers
        self._due: list[tuple[float, NodeId]] = []  # a heap; of node ids, so that it keeps no closed peer in memory
        self._timer: asyncio.TimerHandle | None = None

    def wake(self, peer: PeerSession, when: float) -> None:
        """Schedule a peer's `PeerSession.tick` for ``when`` at the latest, in seconds of the event loop's clock."""
        if when >= peer.due or peer.closed:
            return
        peer.due = when
        due = self._due
        if len(due) > 2 * len(self._peers) + _SPARE:  # most are outdated: a peer can cause any number
            due[:] = [(other.due, node_id) for node_id, other in self._peers.items() if other.due < math.inf]
            heapq.heapify(due)
        heapq.heappush(due, (when, peer.node_id))
        if due[0][0] == when:
            self._arm()

    def close(self) -> None:
        """Cancel the timer. Call it once every peer has disconnected."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._due.clear()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._due[0][0], self._tick)

    def _tick(self) -> None:
        now = self._loop.time()
        if self._timer is not None:
            now = max(now, self._timer.when())  # asyncio may call it a nanosecond early: it is on time all the same
        self._timer = None
        while self._due and self._due[0][0] <= now:
            when, node_id = heapq.heappop(self._due)
            peer = self._peers.get(node_id)
            if peer is not None and when == peer.due:  # else its tick was earlier, or it has closed
                peer.due = math.inf
                peer.tick(now)
        if self._due and self._timer is None:
            self._arm()
