"""The sink of an application that limits what a peer may send a second; the others do without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oddwire.app.limits.access import Meter
from oddwire.session.limits import Counters, Limits
from oddwire.transports.base import NodeId, PeerInfo

if TYPE_CHECKING:
    from oddwire.app.dispatch.dispatcher import Dispatcher

__all__ = ["RateLimitedSink"]


class RateLimitedSink:
    """Meters payloads of all kinds, and has a peer that sends too many read later: nothing is lost."""

    def __init__(self, dispatcher: Dispatcher, limits: Limits, counters: Counters) -> None:
        self._dispatcher = dispatcher
        self._limits = limits
        self._counters = counters
        self._meters: dict[NodeId, Meter] = {}

    def peer_connected(self, peer: PeerInfo) -> None:
        """Begin to meter a peer."""
        self._meters[peer.node_id] = Meter(self._limits, self._dispatcher.loop.time())
        self._dispatcher.peer_connected(peer)

    def payload_received(self, peer: NodeId, payload: bytes) -> None:
        """Meter a payload, and hand it on."""
        meter, queue = self._meters.get(peer), self._dispatcher.queues.get(peer)
        if meter is not None and queue is not None:
            seconds, limit = meter.take(len(payload), self._dispatcher.loop.time())
            if seconds:
                self._counters.throttled[limit] += 1
                self._dispatcher.throttle(queue, seconds)
        self._dispatcher.payload_received(peer, payload)

    def peer_disconnected(self, peer: NodeId, reason: str) -> None:
        """Forget a peer."""
        self._meters.pop(peer, None)
        self._dispatcher.peer_disconnected(peer, reason)

    def host_stopping(self, reason: str) -> None:
        """Hand it on."""
        self._dispatcher.host_stopping(reason)
