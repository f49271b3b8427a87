"""What the embedded node tells of itself: messages by type, and raw events while somebody looks on."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from oddwire import clocks
from oddwire.insight.ring import Ring

if TYPE_CHECKING:
    from oddwire.node.node import Node

__all__ = ["NodeInsight"]

_STRANGE: Final = 64  # types that no plugin takes and that are counted by number
_MOST_PEERS: Final = 1000


class NodeInsight:
    """The counts and events of a node. Nothing is counted until somebody asks; from then on everything."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._began = clocks.monotonic()
        self._since: float | None = None
        self._counts: dict[tuple[int | None, str, str], list[int]] = {}
        self._strange: set[int] = set()
        self.ring = Ring(lambda: None, lambda: None)

    def close(self) -> None:
        """Keep no events any more: the node ends."""
        self.ring.end()

    def stats(self) -> dict[str, Any]:
        """Return what was counted, in the form of ``oddwire-stats``, and count from now on."""
        from oddwire.version import __version__  # imported late: it takes some milliseconds

        self._count()
        node = self._node
        messages = [
            {"extension": "", "type": type_id, "message": None, "direction": direction, "outcome": outcome}
            | {"count": count, "bytes": size}
            for (type_id, direction, outcome), (count, size) in self._counts.items()
        ]
        peers = [
            {"id": peer.hex, "address": peer.info.address, "direction": peer.info.direction, "session": False}
            | {"queue": 0, "queue_bytes": 0, "outbox": 0, "send_bytes": peer.backlog.queued}
            for peer in node.peers
        ]
        return {
            "program": "node",
            "kind": "node",
            "pid": os.getpid(),
            "oddwire": __version__,
            "node_id": node.node_id,
            "time": round(clocks.wall(), 6),
            "uptime": round(clocks.monotonic() - self._began, 6),
            "since": self._since,
            "extensions": [],
            "messages": messages,
            "handlers": [],
            "errors": [],
            "peers": peers[:_MOST_PEERS],
            "peers_total": len(peers),
            "queues": {"messages": 0, "bytes": sum(peer.backlog.queued for peer in node.peers), "tasks": 0},
            "outbox": [],
            "limits": {},
        }

    async def watch(
        self, after: int | None, wait: float, limit: int, types: Collection[int], peers: Collection[str]
    ) -> dict[str, Any]:
        """Return the events after a number, waiting for one; see `Ring.read`."""
        self._count()
        seen = await self.ring.read(after, wait, limit, types, peers)
        return {"events": seen.events, "next": seen.next, "missed": seen.missed, "node_id": self._node.node_id}

    def _count(self) -> None:
        if self._since is None:
            self._since = round(clocks.wall(), 6)
            self._node.peers.look_on(self)

    # As the peers tell it -----------------------------------------------------------------------------

    def message(self, direction: str, peer: str, payload: bytes, outcome: str) -> None:
        """Count a message, and keep it as an event if somebody looks on."""
        type_id = payload[0] << 8 | payload[1]
        key: int | None = type_id
        if outcome != "ok" and type_id not in self._strange:
            if len(self._strange) >= _STRANGE:
                key = None
            else:
                self._strange.add(type_id)
        found = self._counts.setdefault((key, direction, outcome), [0, 0])
        found[0] += 1
        found[1] += len(payload)
        if self.ring.is_kept:
            event = {"event": direction, "time": round(clocks.wall(), 6), "peer": peer, "type": type_id}
            self.ring.add({**event, "payload": payload.hex()})

    def connection(self, event: str, peer: str, **more: str) -> None:
        """Keep the begin or the end of a connection as an event, if somebody looks on."""
        if self.ring.is_kept:
            told = {name: text for name, text in more.items() if text}
            self.ring.add({"event": event, "time": round(clocks.wall(), 6), "peer": peer, **told})
