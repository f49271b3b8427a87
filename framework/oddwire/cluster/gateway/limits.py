"""How much a gateway holds for peers and for workers."""

from __future__ import annotations

from oddwire.records import FrozenRecord

__all__ = ["GatewayLimits"]


class GatewayLimits(FrozenRecord, kw_only=True):
    """Sizes in bytes; what is held for a peer counts some bytes more for each message."""

    peer_waiting: int = 1 << 20
    """Of one peer that waits for the stream: above it, the peer is paused until half of it is left."""
    waiting: int = 64 << 20
    """Of all peers together: above it, every peer that sends something is paused."""
    peer_unsent: int = 256 << 10
    """For one peer that reads slowly: above it, its worker is told to wait until half of it is left."""
    unsent: int = 64 << 20
    """For all peers together: above it, workers are told to wait for each peer that is behind."""
    calls: int = 64
    """Dials and calls of the host's methods under way, of all workers together."""
