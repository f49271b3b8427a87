"""The connections of a node's peers, numbered, and what each of them waits for. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo

__all__ = ["Conn", "PauseReason", "PeerConns", "PeerState"]

PauseReason = Literal["waiting", "worker"]
"""Why a peer is paused: too much of it waits for the stream, or its worker wants it so."""

_FIRST: Final = 1


class Conn:
    """One connection of a peer: ``number`` is unique in the gateway's life, and so in each of its runs."""

    __slots__ = ("info", "next_payload", "number", "peer", "place")

    def __init__(self, number: int, info: PeerInfo, peer: PeerState) -> None:
        self.number = number
        self.info = info
        self.peer = peer
        self.next_payload = _FIRST
        """The number of its next payload."""
        self.place = 0
        """Of its `CONNECTED` in the queue of the partition."""


class PeerState:
    """A peer that is connected, or of which something waits."""

    __slots__ = ("conn", "node_id", "partition", "pauses", "waiting")

    def __init__(self, node_id: NodeId, partition: int) -> None:
        self.node_id = node_id
        self.partition = partition
        self.conn: Conn | None = None
        self.waiting = 0
        """Bytes of it that wait for the stream, of all its connections."""
        self.pauses: set[PauseReason] = set()


class PeerConns:
    """The peers by node id, and their connections by number."""

    def __init__(self) -> None:
        self.peers: dict[NodeId, PeerState] = {}
        self.conns: dict[int, Conn] = {}
        """Those that are there now."""
        self._next = 1

    def __len__(self) -> int:
        return len(self.conns)

    def connect(self, info: PeerInfo, partition: int) -> Conn:
        """Return a new connection of a peer; the former one, if there is one, is gone."""
        node_id = info.node_id
        peer = self.peers.get(node_id)
        if peer is None:
            peer = self.peers[node_id] = PeerState(node_id, partition)
        if peer.conn is not None:
            del self.conns[peer.conn.number]
        conn = peer.conn = self.conns[self._next] = Conn(self._next, info, peer)
        self._next += 1
        return conn

    def disconnect(self, node_id: NodeId) -> Conn | None:
        """Return the connection that a peer had, and which is gone now; None if it had none."""
        peer = self.peers.get(node_id)
        if peer is None or peer.conn is None:
            return None
        conn, peer.conn = peer.conn, None
        del self.conns[conn.number]
        peer.pauses.clear()
        self.forget(peer)
        return conn

    def forget(self, peer: PeerState) -> None:
        """Forget a peer, unless it is connected or something of it waits."""
        if peer.conn is None and not peer.waiting:
            self.peers.pop(peer.node_id, None)

    def of(self, partition: int) -> Iterator[Conn]:
        """Yield the connections of a partition's peers."""
        return (conn for conn in self.conns.values() if conn.peer.partition == partition)
