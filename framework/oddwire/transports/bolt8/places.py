"""The places for a transport's peers: some for strangers, the rest for others, and always one for a dialed peer."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable

from oddwire.proto.keys import NodeId
from oddwire.transports.bolt8.limits import Bolt8Limits
from oddwire.transports.bolt8.peer import Bolt8Peer

__all__ = ["Places"]


class Places:
    """The places that peers take. ``known`` returns whether a node is known, besides those dialed before.

    ``counters`` counts, by the names of `Bolt8Limits`, peers refused and peers that lost their place.
    """

    def __init__(self, limits: Bolt8Limits, known: Callable[[NodeId], bool], counters: Counter[str]) -> None:
        self._limits = limits
        self._known = known
        self._counters = counters
        self._strangers: dict[NodeId, Bolt8Peer] = {}
        self._dialed: dict[NodeId, None] = {}

    def take(self, peer: Bolt8Peer, *, dialed: bool) -> None:
        """Record the place of a connected peer; ``dialed``: it was dialed by us, and so is known from now on."""
        if dialed:
            self._dialed.pop(peer.node_id, None)
            self._dialed[peer.node_id] = None
            if len(self._dialed) > self._limits.max_peers:
                del self._dialed[next(iter(self._dialed))]
        if self._is_stranger(peer.node_id):
            self._strangers[peer.node_id] = peer

    def leave(self, node_id: NodeId) -> None:
        """Free a peer's place."""
        self._strangers.pop(node_id, None)

    def make_room(self, node_id: NodeId, taken: int) -> bool:
        """Return whether a caller has a place, after taking it from an idle stranger if necessary.

        ``taken`` is the number of places in use.
        """
        limits, strangers = self._limits, self._strangers
        idle_since = math.inf  # a known caller may take the place of any stranger
        if self._is_stranger(node_id):
            if len(strangers) < limits.strangers and taken < limits.max_peers:
                return True
            idle_since = asyncio.get_running_loop().time() - limits.idle_seconds
        elif taken < limits.max_peers:
            return True
        quiet = min(strangers.values(), key=lambda peer: peer.last_spoke, default=None)
        if quiet is None or quiet.last_spoke > idle_since:
            self._counters["max_peers"] += 1
            return False
        self._counters["idle_seconds"] += 1
        quiet.rules.fail("idle, and its place is needed")
        quiet.flush()
        return True

    def _is_stranger(self, node_id: NodeId) -> bool:
        return node_id not in self._dialed and not self._known(node_id)
