"""The sink of an application with rate limits per peer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from oddwire.app.limits.access import Meter
from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo, Sink

if TYPE_CHECKING:
    from oddwire.app.dispatch.core import Core
    from oddwire.app.limits.backpressure import Backpressure

__all__ = ["RateLimitedSink"]


class RateLimitedSink:
    """Meters payloads of all kinds on their way to ``sink``, and throttles a peer that exceeds a rate.

    No payload is lost: the peer is read later.
    """

    def __init__(self, sink: Sink, core: Core, backpressure: Backpressure) -> None:
        self._sink = sink
        self._loop = core.loop
        self._limits = core.limits
        self._counters = core.counters
        self._queues = core.queues
        self._backpressure = backpressure
        self._meters: dict[NodeId, Meter] = {}

    def peer_connected(self, peer: PeerInfo) -> None:
        """Create the peer's meter, and pass the event on."""
        self._meters[peer.node_id] = Meter(self._limits, self._loop.time())
        self._sink.peer_connected(peer)

    def payload_received(self, peer: NodeId, payload: bytes) -> None:
        """Meter a payload, throttle its peer if necessary, and pass the payload on."""
        meter, queue = self._meters.get(peer), self._queues.get(peer)
        if meter is not None and queue is not None:
            seconds, limit = meter.take(len(payload), self._loop.time())
            if seconds:
                self._counters.throttled[limit] += 1
                self._backpressure.throttle(queue, seconds)
        self._sink.payload_received(peer, payload)

    def peer_disconnected(self, peer: NodeId, reason: str) -> None:
        """Drop the peer's meter, and pass the event on."""
        self._meters.pop(peer, None)
        self._sink.peer_disconnected(peer, reason)

    def settled(self, peer: NodeId, call: Callable[[], object]) -> None:
        """Pass the question on to the sink."""
        self._sink.settled(peer, call)

    def host_stopping(self, reason: str) -> None:
        """Pass the event on to the sink."""
        self._sink.host_stopping(reason)
