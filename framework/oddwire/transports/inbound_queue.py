"""The inbound queue of the application, for hosts that deliver at once and cannot be paused. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

from oddwire.exit_exceptions import must_pass
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo, Sink

__all__ = ["Dropped", "Event", "HeldLimits", "InboundQueue", "PeerInbound"]

logger = get_logger("oddwire.transports")

_OVERHEAD: Final = 64  # bytes counted per payload besides its length
_TURN: Final = 256  # payloads of one peer delivered before others have their turn

Event = PeerInfo | bytes | str
"""An event of a peer: it connects, sends a payload, or disconnects for a reason."""


class HeldLimits(Protocol):
    """How much is queued for the application at most, in bytes; more is dropped and counted."""

    @property
    def held(self) -> int:
        """Of one peer."""
        raise NotImplementedError

    @property
    def held_total(self) -> int:
        """Of all peers together."""
        raise NotImplementedError


class Dropped:
    """Counts messages that were received and dropped, as the application did not accept them in time."""

    def __init__(self) -> None:
        self.total = 0
        self._peers: dict[NodeId, int] = {}
        self._bursts: dict[NodeId, int] = {}

    def __repr__(self) -> str:
        return f"<{self.total} dropped>"

    @property
    def peers(self) -> Mapping[NodeId, int]:
        """The number of dropped messages by peer."""
        return MappingProxyType(self._peers)

    def add(self, peer: NodeId, count: int = 1) -> None:
        """Count dropped messages; the first of a burst is logged."""
        self.total += count
        self._peers[peer] = self._peers.get(peer, 0) + count
        if peer not in self._bursts:
            logger.warning("messages of %s are dropped: more of them wait than the limit allows", peer)
        self._bursts[peer] = self._bursts.get(peer, 0) + count

    def end_burst(self, peer: NodeId) -> None:
        """Log the number of the burst, if any: messages of this peer are accepted again, or it has disconnected."""
        count = self._bursts.pop(peer, 0) if self._bursts else 0
        if count:
            logger.warning("%d message%s of %s had to be dropped", count, "" if count == 1 else "s", peer)


class PeerInbound:
    """One peer's inbound queue. While ``clear``, payloads go straight to the sink."""

    __slots__ = ("clear", "draining", "held", "paused", "queue", "staged", "up")

    def __init__(self) -> None:
        self.up = False
        self.paused = False
        self.clear = False
        """Connected, not paused, and nothing queued."""
        self.draining = False
        self.queue: deque[Event] = deque()
        self.staged: list[bytes] = []
        self.held = 0


class InboundQueue:
    """Delivers the events of every peer to ``sink``, in order, and queues them while the application pauses the peer.

    ``peers`` are the peers' queues, for callers that bypass `push`: see `PeerInbound.clear`.
    """

    def __init__(self, sink: Sink, limits: HeldLimits, dropped: Dropped) -> None:
        self.peers: dict[NodeId, PeerInbound] = {}
        self.held = 0
        """Queued bytes, of all peers."""
        self.sink = sink
        self._limits = limits
        self._dropped = dropped

    def stage(self, peer: NodeId, payload: bytes) -> None:
        """Queue a payload of a peer that the sink does not know yet: it is delivered after the peer's `PeerInfo`."""
        inbound = self._of_peer(peer)
        if self._has_room(peer, inbound, payload):
            inbound.staged.append(payload)

    def push(self, peer: NodeId, event: Event) -> bool:
        """Deliver an event, or queue it behind others; return whether `drain` has to be called."""
        inbound = self._of_peer(peer)
        if type(event) is bytes:
            if inbound.clear:
                self._sink_payload(peer, event)
                return False
            if not self._has_room(peer, inbound, event):
                return False
        elif isinstance(event, PeerInfo):
            self._hold(inbound, event.features)
        elif inbound.queue and isinstance(last := inbound.queue[-1], PeerInfo):
            # A connection without a payload is not told: a paused peer may connect and disconnect for ever
            inbound.queue.pop()
            self._release(inbound, last.features)
            return self.drain(peer)
        inbound.queue.append(event)
        inbound.clear = False
        if isinstance(event, PeerInfo) and inbound.staged:
            inbound.queue += inbound.staged
            inbound.staged = []
        return self.drain(peer)

    def pause(self, peer: NodeId) -> None:
        """Queue events from the next payload on. Peers that the sink does not know are ignored."""
        inbound = self.peers.get(peer)
        if inbound is not None and inbound.up:
            inbound.paused = True
            inbound.clear = False

    def resume(self, peer: NodeId) -> bool:
        """Undo `pause`; return whether `drain` has to be called."""
        inbound = self.peers.get(peer)
        if inbound is None or not inbound.paused:
            return False
        inbound.paused = False
        inbound.clear = inbound.up and not inbound.queue
        return bool(inbound.queue) and not inbound.draining

    def drain(self, peer: NodeId) -> bool:
        """Deliver some queued events; return whether it has to be called again, after other peers had their turn."""
        inbound = self.peers.get(peer)
        if inbound is None or inbound.draining:
            return False
        queue = inbound.queue
        inbound.draining = True
        for _ in range(_TURN):
            # A disconnect is queued, too: payloads sent before it come first
            if not queue or inbound.paused:
                break
            event = queue.popleft()
            if type(event) is bytes:
                self._release(inbound, event)
                self._sink_payload(peer, event)
            elif isinstance(event, PeerInfo):
                self._release(inbound, event.features)
                inbound.up = True
                self._call(self.sink.peer_connected, event)
            elif isinstance(event, str):
                inbound.up = inbound.paused = False
                self._call(self.sink.peer_disconnected, peer, event)
        inbound.draining = False
        if queue:
            return not inbound.paused
        inbound.clear = inbound.up and not inbound.paused
        if not inbound.held:
            self._dropped.end_burst(peer)
        if not inbound.up and not inbound.staged:
            self.peers.pop(peer, None)
        return False

    def close(self, reason: str) -> None:
        """Drop queued events, and call the sink's `peer_disconnected` for every peer."""
        for peer, inbound in list(self.peers.items()):
            waiting = len(inbound.staged) + sum(type(event) is bytes for event in inbound.queue)
            if waiting:
                logger.info("%d messages of %s are dropped: %s", waiting, peer, reason)
            self._dropped.end_burst(peer)
            inbound.queue.clear()
            inbound.staged.clear()
            inbound.clear = False
            if inbound.up:
                inbound.up = False
                self._call(self.sink.peer_disconnected, peer, reason)
        self.peers.clear()
        self.held = 0

    def _of_peer(self, peer: NodeId) -> PeerInbound:
        inbound = self.peers.get(peer)
        if inbound is None:
            inbound = self.peers[peer] = PeerInbound()
        return inbound

    def _has_room(self, peer: NodeId, inbound: PeerInbound, payload: bytes) -> bool:
        size = len(payload) + _OVERHEAD
        if inbound.held + size > self._limits.held or self.held + size > self._limits.held_total:
            self._dropped.add(peer)
            return False
        self._hold(inbound, payload)
        return True

    def _hold(self, inbound: PeerInbound, data: bytes) -> None:
        size = len(data) + _OVERHEAD
        inbound.held += size
        self.held += size

    def _release(self, inbound: PeerInbound, data: bytes) -> None:
        size = len(data) + _OVERHEAD
        inbound.held -= size
        self.held -= size

    def _sink_payload(self, peer: NodeId, payload: bytes) -> None:
        try:
            self.sink.payload_received(peer, payload)
        except BaseException as error:
            if must_pass(error):
                raise
            logger.exception("the sink raised over a payload of %s", peer)

    def _call(self, function: object, *arguments: object) -> None:
        try:
            function(*arguments)  # type: ignore[operator]
        except BaseException as error:
            if must_pass(error):
                raise
            logger.exception("the sink raised")
