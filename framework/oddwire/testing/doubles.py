"""`ScriptedTransport`: a transport without a network, whose peers do what a test says."""

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
    """Remembers everything that is asked of it, and brings what a test lets it bring.

    ``manifest`` is what `open` was given; ``sent`` what was sent; ``warnings`` and ``hangups`` are texts and reasons by
    peer; ``flow`` is every pause and resume. A peer that is paused holds what it is made to say, as any transport does.
    """

    def __init__(self) -> None:
        self.manifest: Manifest | None = None
        self.sent: list[tuple[NodeId, bytes]] = []
        self.warnings: list[tuple[NodeId, str]] = []
        self.hangups: list[tuple[NodeId, str]] = []
        self.flow: list[tuple[str, NodeId]] = []
        self.closed = False
        self.stuck = asyncio.Event()
        """Cleared by `stick`: sends wait until it is set."""
        self.stuck.set()
        self._sink: Sink | None = None
        self._held: dict[NodeId, deque[bytes]] = {}
        self._paused: set[NodeId] = set()

    # What the test does -----------------------------------------------------------------------------

    def connect_peer(self, node_id: NodeId, features: Iterable[int] = ()) -> None:
        """Let a peer connect."""
        self._held[node_id] = deque()
        self._opened.peer_connected(PeerInfo(node_id=node_id, address="script", features=feature_bytes(features)))

    def receive(self, node_id: NodeId, payload: bytes) -> None:
        """Let a connected peer say something."""
        self._held[node_id].append(payload)
        self._hand_on(node_id)

    def lose_peer(self, node_id: NodeId, reason: str = "connection lost") -> None:
        """Let a peer go; what it is paused with is lost."""
        del self._held[node_id]
        self._paused.discard(node_id)
        self._opened.peer_disconnected(node_id, reason)

    def stick(self) -> None:
        """Let every `send` wait from now on, until ``stuck.set()``."""
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
        """Hang up on a peer."""
        self.hangups.append((peer, reason))
        if peer in self._held:
            self.lose_peer(peer, reason)

    def warn(self, peer: NodeId, text: str) -> None:
        """Keep the warning."""
        self.warnings.append((peer, text))

    async def aclose(self) -> None:
        """Lose every peer. Idempotent."""
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
