"""How fast we send to a peer, and the limits of the transport. No I/O.

lightningd takes what it is given, however slowly the peer reads, and loses it with the connection; so we send no faster
than a lightningd at the other end takes messages.
"""

from __future__ import annotations

import math
from typing import Final

from oddwire.records import FrozenRecord

__all__ = ["ClnLimits", "Pace"]

_ROUNDING: Final = 1e-3  # of a byte, and more than sums of floating point numbers are off


class ClnLimits(FrozenRecord, kw_only=True):
    """What a `ClnTransport` does at most, a peer where nothing else is said."""

    rate: float | None = 1_000_000
    """Bytes a second sent to a peer; None for no limit. lightningd (v26.04 and later) takes 1 MB/s from a peer."""
    burst: int = 4_000_000
    """Bytes sent to a peer at once after a pause."""
    depth: int = 64
    """Messages to a peer that lightningd may have before it has taken the first."""
    held: int = 8 * 1024 * 1024
    """Bytes received that may wait for the application, before more are dropped and counted."""
    held_total: int = 64 * 1024 * 1024
    """The same for all peers together."""


class Pace:
    """When the next message may go to a peer. Times are seconds of any steady clock."""

    __slots__ = ("_burst", "_depth", "_open", "_rate", "_since", "_tokens")

    def __init__(self, limits: ClnLimits, now: float) -> None:
        self._rate = math.inf if limits.rate is None else limits.rate
        self._burst = max(limits.burst, 65535)
        self._depth = max(limits.depth, 1)
        self._tokens = float(self._burst)
        self._since = now
        self._open = 0

    def start_saved(self, size: int) -> bool:
        """Do as `start_send` does where it does not matter what time it is; else do nothing, and return False."""
        if self._open >= self._depth or self._tokens < size:
            return False
        self._tokens -= size
        self._open += 1
        return True

    def start_send(self, size: int, now: float) -> bool:
        """Begin to send ``size`` bytes, if they may go now; `end_send` has to follow."""
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
        """Take note that lightningd has answered."""
        self._open -= 1

    def delay(self, size: int) -> float | None:
        """Say in how many seconds ``size`` bytes that could not go may; None if `end_send` has to come first."""
        if self._open >= self._depth:
            return None
        return max((size - self._tokens) / self._rate, 0.0)
