"""The times of leases, and one lease's deadline. Pure: the time is passed in.

A lease is a key in a bucket whose keys live for ``ttl`` seconds after they were last written. The broker counts from
the moment at which it stored the key, which is after the write was sent; so who counts from there is never too late.
"""

from __future__ import annotations

from typing import Final

from oddwire.records import FrozenRecord

__all__ = ["TIMES", "LeaseClock", "LeaseTimes"]


class LeaseTimes(FrozenRecord, kw_only=True):
    """Seconds: ``ttl`` of the bucket; ``renew`` between renewals; ``margin`` before its end at which a lease is over.

    ``free`` is how long a partition is left to the worker that should have it, before any other takes it; ``better``
    how long an owner waits before it hands over to a worker that should have it; ``watchdog`` how long the event loop
    has, once a lease is over, before the process is ended; ``backoff`` and ``longest`` are the first and the longest
    pause after a take that failed, ``again`` the first after a program that has ended by itself; ``forget`` how long a
    worker that has failed is passed over.
    """

    ttl: float = 10.0
    renew: float = 2.0
    margin: float = 2.0
    free: float = 2.0
    better: float = 10.0
    watchdog: float = 1.0
    backoff: float = 1.0
    again: float = 0.25
    longest: float = 30.0
    forget: float = 300.0

    def __post_init__(self) -> None:
        if not 0 < self.renew < self.ttl - self.margin:
            raise ValueError("a lease should be renewed before it is over: renew < ttl - margin")
        if not 0 < self.watchdog <= self.margin:
            raise ValueError("a process should end before its lease can be another's: watchdog <= margin")


TIMES: Final = LeaseTimes()
"""Those of a cluster: above the broker's own fail-over, which takes four to five seconds."""


class LeaseClock:
    """When a lease is to be renewed, and when it is over. All times are of one monotonic clock, in seconds."""

    __slots__ = ("_attempt", "_counted", "_times")

    def __init__(self, times: LeaseTimes, sent: float) -> None:
        """Begin with a lease that was asked for at ``sent``, and granted."""
        self._times = times
        self._attempt = self._counted = sent

    @property
    def deadline(self) -> float:
        """When the lease is over, unless a renewal is granted before."""
        return self._counted + self._times.ttl - self._times.margin

    @property
    def due(self) -> float:
        """When the next renewal is to be sent."""
        return self._attempt + self._times.renew

    @property
    def kill(self) -> float:
        """When the process is to be ended, if it has not let go by then."""
        return self.deadline + self._times.watchdog

    def sent(self, now: float) -> None:
        """Note that a renewal is sent."""
        self._attempt = now

    def granted(self, sent: float) -> None:
        """Note that the renewal that was sent at ``sent`` was granted."""
        self._counted = max(self._counted, sent)

    def is_over(self, now: float) -> bool:
        """Return whether the lease is over. Once it is, no renewal that is granted later brings it back."""
        return now >= self.deadline
