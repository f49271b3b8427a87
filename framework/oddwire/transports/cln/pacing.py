"""The pace of sending to a peer, and the limits of the transport. No I/O.

lightningd accepts all messages, however slowly the peer reads, and loses them with the connection; so we send no faster
than a lightningd at the other end accepts messages.
"""

from __future__ import annotations

import math
from typing import Final

from oddwire.records import FrozenRecord

__all__ = ["ClnLimits", "Pace"]

_ROUNDING: Final = 1e-3  # bytes: more than the rounding error of the sums


class ClnLimits(FrozenRecord, kw_only=True):
    """Limits of a `ClnTransport`, per peer unless stated otherwise."""

    rate: float | None = 1_000_000
    """Max bytes per second sent; None for no limit. lightningd (v26.04 and later) accepts 1 MB/s from a peer."""
    burst: int = 4_000_000
    """Max bytes sent at once after a pause."""
    depth: int = 64
    """Max messages to a peer passed to lightningd and not accepted yet."""
    held: int = 8 * 1024 * 1024
    """Max bytes received and queued for the application; more are dropped and counted."""
    held_total: int = 64 * 1024 * 1024
    """The same for all peers together."""


class Pace:
    """Computes when the next message to a peer may be sent. Times are seconds of any monotonic clock."""

    __slots__ = ("_burst", "_depth", "_open", "_rate", "_since", "_tokens")

    def __init__(self, limits: ClnLimits, now: float) -> None:
        self._rate = math.inf if limits.rate is None else limits.rate
        self._burst = max(limits.burst, 65535)
        self._depth = max(limits.depth, 1)
        self._tokens = float(self._burst)
        self._since = now
        self._open = 0

    def start_saved(self, size: int) -> bool:
        """Start as `start_send` does if that needs no clock; otherwise do nothing and return False."""
        if self._open >= self._depth or self._tokens < size:
            return False
        self._tokens -= size
        self._open += 1
        return True

    def start_send(self, size: int, now: float) -> bool:
        """Start to send ``size`` bytes and return True, if they may be sent now; `end_send` has to follow."""
        if self._open >= self._depth:
            return False
        if self._rate is not math.inf:
            if self._tokens < size:
                self._tokens = min(self._burst, self._tokens + (now - self._since) * self._rate)
                self._since = now
                if self._tokens < size - _ROUNDING:
                    return False
            self._tokens -= size
        self._open += 1
        return True

    def end_send(self) -> None:
        """Count an answer of lightningd."""
        self._open -= 1

    def delay(self, size: int) -> float | None:
        """Return the seconds until ``size`` bytes may be sent; None if `end_send` has to come first."""
        if self._open >= self._depth:
            return None
        return max((size - self._tokens) / self._rate, 0.0)
