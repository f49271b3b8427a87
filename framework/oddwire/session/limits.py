"""What a peer, and an extension with a peer, may use: limits, what meters rates, what counts those who went too far."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Final

from oddwire.errors import QuotaExceeded
from oddwire.records import FrozenRecord

__all__ = ["OF_ALL", "Allowance", "Counters", "Limits", "TokenBucket"]

_MIB: Final = 1 << 20
_DAY: Final = 24 * 60 * 60.0

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
"""The limits that cannot be an extension's: of faults nobody knows whose they are, and one is of all peers."""


class Limits(FrozenRecord, kw_only=True):
    """How much one peer may use; in an extension, how much of that it may have of that extension.

    An extension's hold within the application's, which hold in any case; those it was not given, it does not have.
    `OF_ALL` are the application's alone. Each is named as in `QuotaExceeded.limit` and in `Counters`. Raises
    `ValueError` naming one that cannot be.
    """

    messages_per_second: float = math.inf
    """Messages a second from a peer, with a second's worth at once; one that sends more is read later, nothing is lost.

    There is no limit unless one is set: a peer that sends faster than handlers take it is held back by its queue.
    """
    bytes_per_second: float = math.inf
    """Payload bytes a second from a peer, with a second's worth at once; as `messages_per_second`."""
    faults_per_second: float = 100.0
    """Frames a second of which nothing comes (refused, malformed, not asked for), with ten seconds' worth at once.

    A peer that sends more is read later: refusing is work, and a peer that makes much of it slows down nobody else.
    """
    programs: int = 16
    """Programs of a peer that have a session with us at once; one more takes the place of one that is idle."""
    requests: int = 64
    """Requests of a peer's program being handled at once, of all its programs four times as many; one more is refused.

    The peer is told in our hello.
    """
    request_bytes: int = 32 * _MIB
    """Bytes that the requests of a peer being handled take, decoded; one more is refused, but a single one never."""
    reply_bytes: int = 64 * _MIB
    """Bytes of replies of more than a payload that wait for a peer to read them; a single one may be larger.

    A request whose reply is one more is answered with a failure.
    """
    total_message_bytes: int = 256 * _MIB
    """Bytes that messages of all peers take, decoded, which wait for handlers or are handled, and that replies take.

    Beyond it a peer may have 64 KiB in its queue and in requests, and a single larger message: the next is read later,
    and its requests and transfers are refused for now. At twice of it, a request that needs room takes it from others.
    """
    open_requests: int = 1024
    """Requests of ours to a peer, streams included, that wait for replies at once."""
    stream_credit: int = 16
    """Parts of a stream that may be on their way to us, or wait here, before we have used those before them."""
    stream_seconds: float = 60.0
    """Seconds that a stream to a peer waits for it to take more; then it is given up, and its handler cancelled."""
    transfers: int = 16
    """Fragmented payloads of a peer being put together at once."""
    transfer_seconds: float = 60.0
    """Seconds without a new piece after which a fragmented payload is given up."""
    reassembly_bytes: int = 32 * _MIB
    """Bytes of all payloads of a peer being put together, in full, whether they have come yet or not."""
    total_reassembly_bytes: int = 256 * _MIB
    """Bytes of pieces of all peers that wait for the rest of their payloads."""
    outbox_messages: int = 100_000
    """Reliable messages to a peer that it has not acknowledged."""
    outbox_bytes: int = 256 * _MIB
    """Payload bytes of the reliable messages to a peer that it has not acknowledged."""
    total_outbox_bytes: int = 1024 * _MIB
    """Payload bytes, 256 more each, of the reliable messages to all peers that were not acknowledged.

    The last quarter of it is left to peers who have no more than 1 MiB waiting.
    """
    outbox_seconds: float = 14 * _DAY
    """Seconds after which a reliable message that was not acknowledged is given up.

    After 60 days peers may have forgotten what they handled: with more than 28 here, one could be handled twice.
    """
    lane_seconds: float = 60 * _DAY
    """Seconds without a message after which it is forgotten how far a peer's lane of reliable messages is.

    A peer that keeps a message for longer may have it handled twice, so it should be twice what peers have in
    ``outbox_seconds``, at least.
    """
    total_lanes: int = 100_000
    """Lanes of reliable messages with all peers of which is kept how far they are, in each direction.

    Of more, those are forgotten that have not been used for longest.
    """
    window_messages: int = 256
    """Reliable messages to a peer and extension sent ahead of its acknowledgement."""
    window_bytes: int = _MIB
    """Payload bytes of the reliable messages sent ahead of a peer's acknowledgement; a single one may be larger."""

    def __post_init__(self) -> None:
        """Check those that were given."""
        for name, value in vars(self).items():
            whole = Limits.__annotations__[name] == "int"
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not value > 0:
                kind = "a whole number" if whole else "a number"
                raise ValueError(f"{name} should be {kind} greater than 0, not {value!r}")

    def __replace__(self, /, **changes: Any) -> Limits:
        return Limits(**{**vars(self), **changes})

    @property
    def given(self) -> tuple[str, ...]:
        """The names of those that were given, be it their defaults."""
        return (*vars(self),)


class Allowance:
    """What one extension lets each peer have of it, within the application's limits; and how often that took effect."""

    __slots__ = ("_given", "counters", "extension", "limits")

    def __init__(self, extension: str, limits: Limits | None = None) -> None:
        self.extension = extension
        self.limits = limits or Limits()
        self.counters = Counters()
        self._given: dict[str, float] = {name: getattr(self.limits, name) for name in self.limits.given}

    def has(self, *names: str) -> bool:
        """Say whether the extension was given one of these limits."""
        return not self._given.keys().isdisjoint(names)

    def most(self, name: str) -> float:
        """Return a limit of the extension's own; infinity for one that it does not have."""
        return self._given.get(name, math.inf)

    def is_stricter(self, name: str, limits: Limits) -> bool:
        """Say whether the extension has a limit of its own, and a narrower one than the application's ``limits``."""
        most: float = getattr(limits, name)
        return self.most(name) < most

    def exceeded(self, name: str, text: str) -> QuotaExceeded:
        """Count a call of ours that goes too far, and give the error for it."""
        self.counters.exceeded[name] += 1
        return self.error(name, text)

    def error(self, name: str, text: str) -> QuotaExceeded:
        """Return the error that tells of a limit of the extension's."""
        return QuotaExceeded(f"extension {self.extension!r}: {text}", limit=name, extension=self.extension)


class TokenBucket:
    """Meters a rate: ``rate`` tokens a second flow in, a finite number, up to ``burst``, which it starts with.

    What is taken has happened already, so it is always granted, on credit if need be; whoever took it then pauses until
    the bucket has made up for it.
    """

    __slots__ = ("_burst", "_level", "_rate", "_then")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._then = now

    def take(self, amount: float, now: float) -> float:
        """Take ``amount`` tokens; give the seconds to pause, 0.0 for none."""
        level = self._level + (now - self._then) * self._rate
        if level > self._burst:
            level = self._burst
        self._then = now
        self._level = level = level - amount
        return 0.0 if level >= 0 else -level / self._rate


class Counters:
    """How often each limit took effect, by its name in `Limits`: always few names, whatever a peer does.

    ``refused`` are a peer's requests, messages and transfers answered with a failure (``allow``: not allowed;
    ``expired``: its caller's wait was over). ``dropped`` is what was ignored without one: ``allow``; ``frames`` out of
    place, ``kinds`` of frames not known; ``abandoned`` requests, whose caller has gone; too much that peers who have
    ``gone`` left behind; what came while its peer was ``not_connected``, or waited for its handler at ``closing``; and
    lanes of reliable messages that were forgotten.
    ``throttled`` says how often a peer was read later, ``exceeded`` how many calls of ours raised `QuotaExceeded`.
    ``undelivered`` are reliable messages of ours that a peer refused for good, or that were given up, and ``declined``
    those of peers that were refused for good here, both by the name of their `Code` in lower case: ``expired``,
    ``refused``, ``unsupported``; ``application`` for all codes that are an application's own. ``waiting`` says how
    often those of an extension have waited a minute for a connected peer, as ``nobody`` there spoke it.
    """

    __slots__ = ("declined", "dropped", "exceeded", "refused", "throttled", "undelivered", "waiting")

    def __init__(self) -> None:
        self.declined: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.exceeded: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.undelivered: Counter[str] = Counter()
        self.throttled: Counter[str] = Counter()
        self.waiting: Counter[str] = Counter()

    def add(self, other: Counters) -> None:
        """Add what another has counted: a peer's to those of all."""
        for name in self.__slots__:
            getattr(self, name).update(getattr(other, name))

    def to_json(self) -> dict[str, dict[str, int]]:
        """Return the counts that are not zero, for people and their tools."""
        counts = {name: {key: count for key, count in getattr(self, name).items() if count} for name in self.__slots__}
        return {name: found for name, found in counts.items() if found}
