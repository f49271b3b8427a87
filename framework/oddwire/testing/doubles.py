"""`ScriptedTransport`: a transport without a network, whose peers are controlled by the test."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from oddwire.errors import PeerNotConnected, TransportError
from oddwire.proto.features import feature_bytes
from oddwire.proto.keys import NodeId
from oddwire.transports.base import MAX_PAYLOAD, MIN_PAYLOAD, Manifest, PeerInfo, Sink, Transport, wrong_length

__all__ = ["ScriptedTransport"]


class ScriptedTransport(Transport):
    """Records all calls, and delivers the events that a test triggers.

    ``manifest`` is the argument of `open`; ``sent`` are the payloads sent; ``warnings`` and ``hangups`` are texts and
    reasons by peer; ``flow`` is every pause and resume. The payloads of a paused peer are held, as in any transport.
    """

    def __init__(self) -> None:
        self.manifest: Manifest | None = None
        self.sent: list[tuple[NodeId, bytes]] = []
        self.warnings: list[tuple[NodeId, str]] = []
        self.hangups: list[tuple[NodeId, str]] = []
        self.flow: list[tuple[str, NodeId]] = []
        self.closed = False
        self.stuck = asyncio.Event()
        """An event, cleared by `stick`: sends wait until it is set."""
        self.stuck.set()
        self._sink: Sink | None = None
        self._held: dict[NodeId, deque[bytes]] = {}
        self._paused: set[NodeId] = set()

    # For the test -----------------------------------------------------------------------------------

    def connect_peer(self, node_id: NodeId, features: Iterable[int] = ()) -> None:
        """Connect a peer."""
        self.connect_as(PeerInfo(node_id=node_id, address="script", features=feature_bytes(features)))

    def connect_as(self, peer: PeerInfo) -> None:
        """Connect a peer, of whom all is told."""
        self._held[peer.node_id] = deque()
        self._opened.peer_connected(peer)

    def has(self, node_id: NodeId) -> bool:
        """Return whether a peer is connected."""
        return node_id in self._held

    def receive(self, node_id: NodeId, payload: bytes) -> None:
        """Deliver a payload from a connected peer, or hold it while the peer is paused."""
        self._held[node_id].append(payload)
        self._hand_on(node_id)

    def lose_peer(self, node_id: NodeId, reason: str = "connection lost") -> None:
        """Disconnect a peer; the payloads held for it are lost."""
        del self._held[node_id]
        self._paused.discard(node_id)
        self._opened.peer_disconnected(node_id, reason)

    def stick(self) -> None:
        """Block every `send` from now on, until ``stuck.set()``."""
        self.stuck.clear()

    # Transport --------------------------------------------------------------------------------------

    async def open(self, manifest: Manifest, sink: Sink) -> None:  # noqa: D102 - as the base says
        self.manifest = manifest
        self._sink = sink

    async def send(self, peer: NodeId, payload: bytes) -> None:  # noqa: D102 - as the base says
        if peer not in self._held:
            raise PeerNotConnected(f"no connection to {peer}", node_id=str(peer))
        if not MIN_PAYLOAD <= len(payload) <= MAX_PAYLOAD:
            raise wrong_length(len(payload))
        await self.stuck.wait()
        self.sent.append((peer, payload))

    def pause(self, peer: NodeId) -> None:  # noqa: D102 - as the base says
        self.flow.append(("pause", peer))
        self._paused.add(peer)

    def resume(self, peer: NodeId) -> None:  # noqa: D102 - as the base says
        self.flow.append(("resume", peer))
        self._paused.discard(peer)
        self._hand_on(peer)

    async def disconnect(self, peer: NodeId, reason: str = "") -> None:
        """Record the reason, and disconnect the peer."""
        self.hangups.append((peer, reason))
        if peer in self._held:
            self.lose_peer(peer, reason)

    def warn(self, peer: NodeId, text: str) -> None:
        """Record the warning."""
        self.warnings.append((peer, text))

    async def aclose(self) -> None:
        """Disconnect every peer. Idempotent."""
        self.closed = True
        for peer in list(self._held):
            self.lose_peer(peer, "closed by us")

    @property
    def _opened(self) -> Sink:
        if self._sink is None:
            raise TransportError("open the transport first: start the application")
        return self._sink

    def _hand_on(self, peer: NodeId) -> None:
        while peer not in self._paused and self._held.get(peer):
            self._opened.payload_received(peer, self._held[peer].popleft())
