"""What comes of peers, on its way into the stream: the sink of the node's transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from oddwire.cluster.gateway.limits import GatewayLimits
from oddwire.cluster.gateway.partition_queue import OVERHEAD
from oddwire.cluster.gateway.peer_conns import Conn, PauseReason, PeerConns, PeerState
from oddwire.cluster.gateway.publisher import Publisher
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo, Transport
from oddwire.transports.nats.packing import CONNECTED, DISCONNECTED, MARKER, PAYLOAD, ROOM, Entry
from oddwire.transports.nats.subjects import partition_of

__all__ = ["Inbound"]

logger = get_logger("oddwire.cluster.gateway")

_LONGEST: Final = 500  # characters of an address or a reason
_FEATURES: Final = 512  # bytes of a feature map: bits up to 4095; peers may send some 65,000 bytes of it


class Inbound:
    """Numbers connections and payloads, queues them by partition, and pauses peers of which too much waits.

    Until `begin`, peers that connect are kept, and paused.
    """

    def __init__(self, transport: Transport, limits: GatewayLimits) -> None:
        self.table = PeerConns()
        self.on_stopping: Callable[[str], object] | None = None
        """Called with the reason when the host node ends."""
        self.on_gone: Callable[[Conn], object] | None = None
        """Called with a connection that has ended."""
        self.publishers: list[Publisher] = []
        self.waiting = 0
        """Bytes that wait for the stream, of all peers."""
        self._transport = transport
        self._limits = limits
        self._early: dict[NodeId, tuple[PeerInfo, list[bytes]]] = {}
        self._held_back: set[NodeId] = set()

    def begin(self, publishers: list[Publisher]) -> None:
        """Take the queues of the partitions, in order, and what came before there were any."""
        self.publishers = publishers
        early, self._early = self._early, {}
        for info, payloads in early.values():
            self._transport.resume(info.node_id)
            self.peer_connected(info)
            for payload in payloads:
                self.payload_received(info.node_id, payload)

    # The transport's sink -----------------------------------------------------------------------------

    def peer_connected(self, peer: PeerInfo) -> None:
        """Give the connection its number, and queue that."""
        peer = PeerInfo(
            node_id=peer.node_id,
            address=_text(peer.address),
            direction=peer.direction,
            features=peer.features[-_FEATURES:],
        )
        if not self.publishers:
            self._early[peer.node_id] = (peer, [])
            self._transport.pause(peer.node_id)
            return
        conn = self.table.connect(peer, partition_of(peer.node_id, len(self.publishers)))
        entry = [CONNECTED, conn.number, peer.address, peer.direction, peer.features]
        conn.place = self._add(conn, entry, len(peer.features) + len(peer.address))
        if self._is_too_much(conn.peer):
            self._hold_back(conn.peer)

    def payload_received(self, peer: NodeId, payload: bytes) -> None:
        """Queue a payload."""
        state = self.table.peers.get(peer)
        if state is None or state.conn is None:
            if peer in self._early:
                self._early[peer][1].append(payload)
            return
        conn = state.conn
        number = conn.next_payload
        conn.next_payload = number + 1
        self._add(conn, [PAYLOAD, conn.number, number, payload], len(payload))
        if self._is_too_much(state):
            self._hold_back(state)

    def peer_disconnected(self, peer: NodeId, reason: str) -> None:
        """Queue the end of the connection; one of which nobody was told yet is not told at all."""
        self._early.pop(peer, None)
        state = self.table.peers.get(peer)
        conn = self.table.disconnect(peer)
        self._held_back.discard(peer)
        if conn is None or state is None:
            return
        if self.on_gone is not None:
            self.on_gone(conn)
        queue = self.publishers[state.partition].queue
        if conn.next_payload == 1 and queue.withdraw(conn.place):
            return
        self.table.peers.setdefault(peer, state)  # something of it waits again
        self._add(conn, [DISCONNECTED, conn.number, _text(reason)], min(len(reason), _LONGEST))

    def settled(self, peer: NodeId, call: Callable[[], object]) -> None:
        """Call at once: what came is in our hands."""
        call()

    def host_stopping(self, reason: str) -> None:
        """End the gateway with its host node."""
        if self.on_stopping is not None:
            self.on_stopping(reason)

    # For the gateway ----------------------------------------------------------------------------------

    def mark(self, partition: int, term: int, stored: Callable[[int], object]) -> list[Conn]:
        """Queue a marker, and return the connections as they are there. ``stored`` is called with its sequence."""
        publisher = self.publishers[partition]
        publisher.queue.add_marker([MARKER, term], stored)
        publisher.wake()
        return list(self.table.of(partition))

    def give_room(self, conn: Conn) -> None:
        """Tell the owner that a connection takes payloads again."""
        self._add(conn, [ROOM, conn.number], 0)

    def pause(self, peer: PeerState, reason: PauseReason) -> None:
        """Pause a peer, for one more reason."""
        if not peer.pauses:
            self._transport.pause(peer.node_id)
        peer.pauses.add(reason)

    def resume(self, peer: PeerState, reason: PauseReason) -> None:
        """Take a reason back; without any, the peer's payloads come again."""
        if reason in peer.pauses:
            peer.pauses.remove(reason)
            if not peer.pauses and peer.conn is not None:
                self._transport.resume(peer.node_id)

    def start_over(self) -> list[PeerInfo]:
        """Drop all that waits and every connection's number: the run is over. Return the peers that are connected.

        Their payloads are not queued until they are connected anew.
        """
        infos = [conn.info for conn in self.table.conns.values()]
        for publisher in self.publishers:
            publisher.queue.clear()
        for conn in list(self.table.conns.values()):
            if conn.peer.pauses:
                self._transport.resume(conn.peer.node_id)
            if self.on_gone is not None:
                self.on_gone(conn)
        self.table.conns.clear()
        self.table.peers.clear()
        self.waiting = 0
        self._held_back.clear()
        return infos

    def relax(self) -> None:
        """Resume peers of which little enough waits by now."""
        if not self._held_back or self.waiting > self._limits.waiting * 3 // 4:
            return
        for node_id in list(self._held_back):
            peer = self.table.peers.get(node_id)
            if peer is None:
                self._held_back.discard(node_id)
            elif peer.waiting * 2 <= self._limits.peer_waiting and not self.publishers[peer.partition].is_full:
                self._held_back.discard(node_id)
                self.resume(peer, "waiting")

    def released(self, node_id: NodeId, size: int) -> None:
        """Note that so much of a peer waits no more."""
        self.waiting -= size
        peer = self.table.peers.get(node_id)
        if peer is not None:
            peer.waiting -= size
            self.table.forget(peer)

    def _add(self, conn: Conn, entry: Entry, carried: int) -> int:
        peer = conn.peer
        publisher = self.publishers[peer.partition]
        place = publisher.queue.add(entry, conn.number, peer.node_id, carried)
        size = carried + OVERHEAD
        peer.waiting += size
        self.waiting += size
        publisher.wake()
        return place

    def _is_too_much(self, peer: PeerState) -> bool:
        return (
            peer.waiting > self._limits.peer_waiting
            or self.publishers[peer.partition].is_full
            or self.waiting > self._limits.waiting
        )

    def _hold_back(self, peer: PeerState) -> None:
        self._held_back.add(peer.node_id)
        self.pause(peer, "waiting")


def _text(text: str) -> str:
    """Return a text that msgpack can hold, and no long one."""
    return text[:_LONGEST].encode(errors="replace").decode()
