"""The inbound queue on an event loop: what is queued is delivered in turns, so that no peer blocks the others."""

from __future__ import annotations

import asyncio

from oddwire.proto.keys import NodeId
from oddwire.transports.inbound_queue import Event, InboundQueue

__all__ = ["InboundDelivery"]


class InboundDelivery:
    """Delivers the events in ``inbound``, on the loop where it is made, until `close`."""

    def __init__(self, inbound: InboundQueue) -> None:
        self.inbound = inbound
        self._loop = asyncio.get_running_loop()
        self._closed = False

    def push(self, peer: NodeId, event: Event) -> None:
        """Deliver an event, now or behind those that are queued."""
        if self.inbound.push(peer, event):
            self._drain_soon(peer)

    def resume(self, peer: NodeId) -> None:
        """Undo a pause; queued events are delivered soon."""
        if self.inbound.resume(peer):
            self._drain_soon(peer)

    def close(self, reason: str) -> None:
        """Drop queued events, and report every peer as disconnected. Idempotent."""
        self._closed = True
        self.inbound.close(reason)

    def _drain_soon(self, peer: NodeId) -> None:
        self._loop.call_soon(self._drain, peer)

    def _drain(self, peer: NodeId) -> None:
        if not self._closed and self.inbound.drain(peer):
            self._drain_soon(peer)
