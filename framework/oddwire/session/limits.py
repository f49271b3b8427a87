"""Limits for each peer, and for each extension with a peer; token buckets for rates, counters of exceeded limits."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Final

from oddwire.errors import QuotaExceeded
from oddwire.records import FrozenRecord

__all__ = ["OF_ALL", "Allowance", "Counters", "Limits", "TokenBucket"]

_MIB: Final = 1 << 20
_DAY: Final = 24 * 60 * 60.0
_ROUNDING: Final = 1e-8  # seconds: more than the rounding error of a clock in its first three years

OF_ALL: Final = (
    "faults_per_second",
    "lane_seconds",
    "programs",
    "reply_bytes",
    "request_bytes",
    "stream_seconds",
    "total_lanes",
    "total_message_bytes",
    "total_outbox_bytes",
    "total_reassembly_bytes",
)
"""The limits that an extension cannot have: a fault belongs to no extension, and ``total_*`` are of all peers."""


class Limits(FrozenRecord, kw_only=True):
    """Limits for one peer; in an extension, for one peer's use of that extension.

    The limits of an extension apply in addition to the application's, never instead of them; a limit that is not passed
    does not exist for the extension. `OF_ALL` are the application's alone. The names are those of
    `QuotaExceeded.limit` and of `Counters`. Raises `ValueError` naming a limit whose value is not a number above 0.
    """

    messages_per_second: float = math.inf
    """Messages per second from a peer, with bursts of one second's worth; above it the peer is throttled.

    Nothing is lost. There is no limit by default: a peer that sends faster than handlers run is held back by its
    inbound queue.
    """
    bytes_per_second: float = math.inf
    """Payload bytes per second from a peer, with bursts of one second's worth; as `messages_per_second`."""
    faults_per_second: float = 100.0
    """Faults per second (frames refused, malformed or not asked for), with bursts of ten seconds' worth.

    A peer that sends more is throttled: refusing a frame is work too, and must not slow down other peers.
    """
    programs: int = 16
    """Programs of a peer that have a session with us at once; one more replaces one that is idle."""
    requests: int = 64
    """Requests of one program of a peer handled at once; all its programs together may have four times as many.

    One more is refused. Our hello tells the peer this number.
    """
    request_bytes: int = 32 * _MIB
    """Decoded bytes of the requests of a peer that are being handled; one more is refused, but never a single one."""
    reply_bytes: int = 64 * _MIB
    """Bytes of replies larger than one payload that wait for a peer to read them; a single one may be larger.

    A request whose reply would exceed it is answered with a failure.
    """
    total_message_bytes: int = 256 * _MIB
    """Decoded bytes of the messages of all peers that wait for handlers or are being handled, and of replies.

    Above it a peer may still have 64 KiB in its inbound queue and in requests, or a single larger message; then it is
    throttled, and its requests and transfers are refused for now. At twice the limit, a request that needs room takes
    it from those of other peers.
    """
    open_requests: int = 1024
    """Our requests to a peer, streams included, that wait for replies at once."""
    stream_credit: int = 16
    """Parts of a stream to us that may be under way or wait here before the caller has read the earlier ones."""
    stream_seconds: float = 60.0
    """Seconds that a stream to a peer waits for credit; then it fails as `EXPIRED`, and its handler is cancelled."""
    transfers: int = 16
    """Transfers (fragmented payloads) of a peer being reassembled at once."""
    transfer_seconds: float = 60.0
    """Seconds without a new piece after which a transfer fails as `EXPIRED`."""
    reassembly_bytes: int = 32 * _MIB
    """Total bytes of all transfers of a peer under way, by their announced length, received yet or not."""
    total_reassembly_bytes: int = 256 * _MIB
    """Bytes of the pieces of all peers that wait for the rest of their payloads."""
    outbox_messages: int = 100_000
    """Reliable messages to a peer that it has not acknowledged."""
    outbox_bytes: int = 256 * _MIB
    """Payload bytes of the reliable messages to a peer that it has not acknowledged."""
    total_outbox_bytes: int = 1024 * _MIB
    """Payload bytes, plus 256 per message, of the reliable messages to all peers that were not acknowledged.

    The last quarter is reserved for peers with no more than 1 MiB waiting.
    """
    outbox_seconds: float = 14 * _DAY
    """Seconds after which a reliable message that was not acknowledged expires.

    Peers may drop their records of what they handled after 60 days: with more than 28 days here, a message could be
    handled twice.
    """
    lane_seconds: float = 60 * _DAY
    """Seconds without a message after which the record of a peer's lane of reliable messages is removed.

    A message that a peer keeps for longer may be handled twice, so this should be at least twice the
    ``outbox_seconds`` of peers.
    """
    total_lanes: int = 100_000
    """Records of lanes of reliable messages with all peers, in each direction.

    Above it, the lanes that have been unused for longest are removed.
    """
    window_messages: int = 256
    """Reliable messages of one lane (to one peer and extension) sent ahead of its ack."""
    window_bytes: int = _MIB
    """Payload bytes of the reliable messages of one lane sent ahead of its ack; a single message may be larger."""

    def __post_init__(self) -> None:
        """Check the limits that were passed."""
        for name, value in vars(self).items():
            whole = Limits.__annotations__[name] == "int"
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not value > 0:
                kind = "a whole number" if whole else "a number"
                raise ValueError(f"{name} should be {kind} greater than 0, not {value!r}")

    def __replace__(self, /, **changes: Any) -> Limits:
        return Limits(**{**vars(self), **changes})

    @property
    def given(self) -> tuple[str, ...]:
        """The names of the limits that were passed, even if with their default values."""
        return (*vars(self),)


class Allowance:
    """The limits of one extension for each peer, within the application's, and how often each took effect."""

    __slots__ = ("_given", "counters", "extension", "limits")

    def __init__(self, extension: str, limits: Limits | None = None) -> None:
        self.extension = extension
        self.limits = limits or Limits()
        self.counters = Counters()
        self._given: dict[str, float] = {name: getattr(self.limits, name) for name in self.limits.given}

    def has(self, *names: str) -> bool:
        """Return whether the extension has one of these limits of its own."""
        return not self._given.keys().isdisjoint(names)

    def most(self, name: str) -> float:
        """Return the extension's own limit of this name; infinity if it has none."""
        return self._given.get(name, math.inf)

    def is_stricter(self, name: str, limits: Limits) -> bool:
        """Return whether the extension's own limit of this name is below the one in the application's ``limits``."""
        most: float = getattr(limits, name)
        return self.most(name) < most

    def exceeded(self, name: str, text: str) -> QuotaExceeded:
        """Count a call of ours that exceeded a limit, and return the error for it."""
        self.counters.exceeded[name] += 1
        return self.error(name, text)

    def error(self, name: str, text: str) -> QuotaExceeded:
        """Return the error that names a limit of the extension."""
        return QuotaExceeded(f"extension {self.extension!r}: {text}", limit=name, extension=self.extension)


class TokenBucket:
    """Meters a rate: ``rate`` tokens per second (finite) flow in, up to ``burst``, the initial level.

    Tokens are taken for what has happened already, so `take` always succeeds, and the level may fall below zero; the
    caller then pauses until it is back at zero. Times are seconds of any one clock that does not go back.
    """

    __slots__ = ("_burst", "_level", "_rate", "_then")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._then = now

    def take(self, amount: float, now: float) -> float:
        """Take ``amount`` tokens. Return the seconds to pause, 0.0 for none."""
        level = self._level + (now - self._then) * self._rate
        if level > self._burst:
            level = self._burst
        self._then = now
        level -= amount
        pause = 0.0 if level >= 0.0 else -level / self._rate
        if pause <= _ROUNDING:  # not even kept for later, where it would add up
            level, pause = max(level, 0.0), 0.0
        self._level = level
        return pause


class Counters:
    """How often each limit took effect, by its name in `Limits`; the set of names is fixed, whatever a peer does.

    ``refused`` counts a peer's requests, messages and transfers answered with a failure (``allow``: not allowed;
    ``expired``: its caller's wait was over).

    ``dropped`` counts what was ignored without a failure: ``allow``; ``unasked_reply``, answers of JSON-RPC for which
    no call waits; ``frames`` out of place; unknown ``kinds`` of
    frames; ``abandoned`` requests, whose caller has gone; messages above a limit left by peers that have ``gone``;
    messages that came while their peer was ``not_connected``, or waited for a handler at ``closing``; answers to plain
    requests that nobody awaits (``late_reply``); and lanes of reliable messages that were removed.

    ``throttled`` counts how often a peer was throttled, ``exceeded`` how many calls of ours raised `QuotaExceeded`.

    ``undelivered`` counts reliable messages of ours that a peer refused for good or that expired, ``declined`` those of
    peers that were refused for good here, both by the name of their `Code` in lower case: ``expired``, ``refused``,
    ``unsupported``; ``application`` for all codes of the application's own; ``unsettled`` counts those of ours that
    were sent again until they were too old. ``waiting`` counts how often reliable
    messages of an extension waited a minute for a connected peer because ``nobody`` there spoke it.

    ``failed`` counts what handlers, hooks, jobs and tasks of extensions raised, by the extension's name.
    """

    __slots__ = ("declined", "dropped", "exceeded", "failed", "refused", "throttled", "undelivered", "waiting")

    def __init__(self) -> None:
        self.declined: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.exceeded: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.undelivered: Counter[str] = Counter()
        self.throttled: Counter[str] = Counter()
        self.waiting: Counter[str] = Counter()

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}={found}" for name, found in self.to_json().items())
        return f"Counters({counts})"

    def add(self, other: Counters) -> None:
        """Add the counts of ``other``: those of one peer to those of all."""
        for name in self.__slots__:
            getattr(self, name).update(getattr(other, name))

    def to_json(self) -> dict[str, dict[str, int]]:
        """Return the counts that are not zero: ``{"refused": {"requests": 3}, ...}``."""
        counts = {name: {key: count for key, count in getattr(self, name).items() if count} for name in self.__slots__}
        return {name: found for name, found in counts.items() if found}
