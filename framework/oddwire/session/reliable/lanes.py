"""The state machines of reliable delivery: a sender and a receiver for each lane. No I/O.

A lane carries one extension's reliable messages to one peer, in order. Its sender numbers them; a message's number
never changes, its ``sequence`` on the wire is the number less an ``offset``, which changes with the epoch. Times are
seconds of one clock that does not go back. The caller reports what is on disk: a sender never sends, and a receiver
never acknowledges, what is not.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final, NamedTuple

from oddwire.session.wire.fields import fit_refusals
from oddwire.session.wire.frame_types import MAX_NUMBER, MAX_WINDOW, Ack, AckFlag, Refusal, Scope

__all__ = ["Receiver", "Sender", "Settled", "Verdict"]

_FIRST_PAUSE: Final = 5.0  # seconds without an ack until messages are resent; doubles each time
_LAST_PAUSE: Final = 60.0
_HASTE: Final = 1.0  # min seconds between two acks, or resends, for the same gap: a peer cannot cause more


class Settled(NamedTuple):
    """The result of an ack: the numbers from ``first`` up to, but not including, ``stop`` are settled.

    ``failures`` maps the numbers that were refused to code and text. ``epoch`` is not 0 if the lane has to be
    renumbered, in an epoch greater than this one.
    """

    first: int
    stop: int
    failures: Mapping[int, tuple[int, str]]
    epoch: int = 0


class Sender:
    """The sender of one lane to one peer: which messages are under way, and which to send next.

    ``base`` is the lowest number that is not settled on disk (acknowledged, refused or given up), ``stop`` the number
    of the next new message. Payloads of up to ``window`` messages and ``window_bytes`` bytes, or a single larger one,
    are held in memory and under way at once; the rest stays on disk until `wanted` asks for it.

    Invariant between calls: ``base <= settled <= sent <= loaded <= stop``. Numbers below ``base`` are settled on disk;
    those up to ``settled`` in memory alone; those up to ``sent`` were sent and wait for their ack; those up to
    ``loaded`` are held and not sent; those up to ``stop`` are on disk only. The payloads held are exactly those from
    ``settled`` up to ``loaded``.
    """

    __slots__ = (
        "_again_at",
        "_barrier",
        "_dead",
        "_frozen",
        "_held",
        "_held_bytes",
        "_linked",
        "_loaded",
        "_pause",
        "_renumber_at",
        "_sent",
        "base",
        "deadline",
        "epoch",
        "offset",
        "settled",
        "stop",
        "window",
        "window_bytes",
    )

    def __init__(
        self, *, epoch: int, offset: int, base: int, stop: int, window: int = 256, window_bytes: int = 1 << 20
    ) -> None:
        self.epoch = epoch
        self.offset = offset
        self.base = base
        self.settled = base
        """Numbers below it are settled, on disk or only in memory."""
        self.stop = stop
        self.window = min(window, MAX_WINDOW)
        self.window_bytes = window_bytes
        self.deadline = math.inf
        """When to call `tick`; infinity for never."""
        self._held: deque[bytes] = deque()  # the payloads from `settled` up to `_loaded`
        self._held_bytes = 0
        self._loaded = base
        self._sent = base
        self._linked = False
        self._pause = _FIRST_PAUSE
        self._again_at = -math.inf
        self._renumber_at = -math.inf
        self._frozen = False  # while a new epoch is being written
        self._dead: dict[int, tuple[int, str]] = {}  # given up, to be settled after those before them
        self._barrier = base  # nothing is sent until base on disk reaches it (protocol, The sender: "base on disk")

    # Sessions begin and end -------------------------------------------------------------------------

    def connected(self) -> None:
        """Start from the first number that is not settled: whether later ones have arrived is unknown."""
        self._linked = True
        self._sent = self.settled
        self._pause = _FIRST_PAUSE
        self._again_at = self._renumber_at = -math.inf
        self.deadline = math.inf

    def disconnected(self) -> None:
        """Send and hold nothing until `connected`."""
        self._linked = False
        self.deadline = math.inf
        self._held.clear()
        self._held_bytes = 0
        self._loaded = self._sent = self.settled

    # Messages to send -------------------------------------------------------------------------------

    def _has_room(self) -> bool:
        return not self._held or (len(self._held) < self.window and self._held_bytes < self.window_bytes)

    def added(self, payload: bytes) -> None:
        """Record that the next message is on disk. It is held if those before it are, and the window has room."""
        if self._linked and self._loaded == self.stop and self._has_room():
            self._hold(payload)
        self.stop += 1

    def _hold(self, payload: bytes) -> None:
        self._held.append(payload)
        self._held_bytes += len(payload)
        self._loaded += 1

    def wanted(self) -> tuple[int, int]:
        """Return the first number to read from disk, and the max number of messages; 0 if none are needed."""
        if not self._linked or self._loaded >= self.stop or not self._has_room():
            return self._loaded, 0
        return self._loaded, min(self.stop - self._loaded, self.window - len(self._held))

    def load(self, payloads: Iterable[bytes]) -> None:
        """Hold the payloads that `wanted` asked for, as far as the window has room."""
        for payload in payloads:
            if not self._has_room():
                break
            self._hold(payload)

    @property
    def ready(self) -> bool:
        """Whether `take` returns messages now, or will after the payloads that are `wanted` were loaded."""
        if not self._linked or self._frozen or self.base < self._barrier:
            return False
        held = self._sent < min(self._loaded, self.base + MAX_WINDOW, *self._dead)
        return held or (self._loaded < self.stop and self._has_room())

    def take(self, now: float) -> list[tuple[int, bytes]]:
        """Return the messages to send now, as (sequence, payload) in order. They count as sent."""
        end = min(self._loaded, self.base + MAX_WINDOW, *self._dead)
        if self._sent >= end or not self._linked or self._frozen or self.base < self._barrier:
            return []
        first, self._sent = self._sent, end
        if self.deadline == math.inf:
            self.deadline = now + self._pause
        return list(enumerate(islice(self._held, first - self.settled, end - self.settled), first - self.offset))

    # Acks -------------------------------------------------------------------------------------------

    def acknowledged(self, ack: Ack, now: float) -> Settled:
        """Apply an ack (protocol, The sender); `take` may return more messages afterwards.

        After a `Settled` with an epoch, nothing is sent until `renumbered` or `not_renumbered` is called. A false ack
        affects only the messages to the peer that sends it.
        """
        first = self.settled
        nothing = Settled(first, first, {})
        if ack.epoch < self.epoch or ack.epoch == MAX_NUMBER or self._frozen:  # there is no greater epoch to go to
            return nothing
        if ack.epoch > self.epoch or ack.value + self.offset >= self.stop:
            # The peer has seen more than we have sent: our database was restored from an older copy
            if now < self._renumber_at:
                return nothing
            self._renumber_at = now + _FIRST_PAUSE
            self._frozen = True
            return nothing._replace(epoch=ack.epoch)
        stop = ack.value + self.offset + 1
        failures: dict[int, tuple[int, str]] = {}
        if stop > first:
            for sequence, code, text in ack.failures:
                if first <= sequence + self.offset < stop:
                    failures[sequence + self.offset] = (code, text)
            self._settle(stop, failures)
            self._pause = _FIRST_PAUSE
            self.deadline = now + _FIRST_PAUSE if self._sent > self.settled else math.inf
        if ack.flags & AckFlag.AGAIN and (stop > first or now >= self._again_at):
            self._again_at = now + _HASTE
            self._sent = self.settled
        return Settled(first, self.settled, failures)

    def drop(self, number: int, code: int, text: str) -> Settled:
        """Give up one message, with the code and text of its failure. It is settled once those before it are."""
        first = self.settled
        failures: dict[int, tuple[int, str]] = {}
        if first <= number < self.stop:
            self._dead[number] = (code, text)
            self._settle(first, failures)
        return Settled(first, self.settled, failures)

    def expire(self, stop: int) -> None:
        """Settle all messages below ``stop`` without success: they are too old."""
        if stop > self.settled:
            self._settle(stop, {})
            self._barrier = max(self._barrier, stop)

    def _settle(self, stop: int, failures: dict[int, tuple[int, str]]) -> None:
        while self._dead and (first := min(self._dead)) <= stop:
            reason = self._dead.pop(first)
            if first == stop:
                failures[first] = reason
                stop = self._barrier = first + 1
        for _ in range(self.settled, min(stop, self._loaded)):
            self._held_bytes -= len(self._held.popleft())
        self.settled = stop
        self._loaded = max(self._loaded, stop)
        self._sent = max(self._sent, stop)

    def tick(self, now: float) -> None:
        """If the ack is overdue, start again from the first message that is not settled; `take` returns it."""
        if now >= self.deadline:
            self._pause = min(2 * self._pause, _LAST_PAUSE)
            self._sent = self.settled
            self.deadline = math.inf

    # Commits ----------------------------------------------------------------------------------------

    def stored(self, base: int) -> None:
        """Record that all messages below ``base`` are settled on disk."""
        waited = self.base < self._barrier
        self.base = max(self.base, base)
        if waited and self.base >= self._barrier:
            self._sent = self.settled  # the peer took nothing after the given-up messages, as it had not seen this base

    def renumbered(self, epoch: int, offset: int) -> None:
        """Record that the new epoch is on disk, in which the first message that is not settled has sequence 1."""
        self.epoch = epoch
        self.offset = offset
        self._sent = self.settled
        self._frozen = False

    def not_renumbered(self) -> None:
        """Record that the new epoch could not be written; the peer's next ack causes another attempt."""
        self._frozen = False


class Verdict(enum.Enum):
    """What to do with a data frame."""

    HANDLE = enum.auto()
    """Handle its message: it is the next one."""
    ACK = enum.auto()
    """Send an ack: it was handled before, or its epoch is over."""
    AGAIN = enum.auto()
    """Send an ack with *again*: messages before it are missing."""
    IGNORE = enum.auto()
    """Do nothing: it is being handled, or the missing messages were asked for a moment ago."""


class Receiver:
    """The receiver of one lane from one peer: which messages were taken, handled, and are on disk.

    ``last`` is the last sequence that was handled or refused, on disk; ``handled`` the last whose handler has ended;
    ``taken`` the last that was taken to be handled. ``tries`` counts failed attempts to handle the message after
    ``handled``. ``unverified`` is the number of further messages whose attempts are counted on disk before they begin,
    because the last process died, and one of them may be the cause.
    """

    __slots__ = (
        "_requested",
        "_requested_at",
        "base",
        "epoch",
        "handled",
        "last",
        "refusals",
        "refusals_outdated",
        "taken",
        "tries",
        "unverified",
    )

    def __init__(
        self,
        *,
        epoch: int = 0,
        last: int = 0,
        tries: int = 0,
        refusals: Iterable[Refusal] = (),
        unverified: bool = False,
    ) -> None:
        self.epoch = epoch
        self.last = self.handled = self.taken = last
        self.tries = tries
        self.refusals = {refusal.sequence: refusal for refusal in refusals}
        """The refusals on disk that the sender may not know, by sequence, ascending."""
        self.base = 0
        self.refusals_outdated = False
        """Whether there are refusals to delete from disk: of another epoch, or below ``base``."""
        self.unverified = MAX_WINDOW if unverified else 0
        self._requested = -1
        self._requested_at = -math.inf

    def receive(self, epoch: int, base: int, sequence: int, now: float) -> Verdict:
        """Decide what to do with a data frame (protocol, The receiver). After `Verdict.HANDLE` it counts as taken."""
        if epoch != self.epoch:
            if epoch < self.epoch:
                return Verdict.ACK
            if self.taken > self.last:
                return Verdict.IGNORE  # messages of the old epoch end first: one may be the same message
            self.epoch = epoch
            self.last = self.handled = self.taken = base - 1
            self.refusals.clear()
            self.refusals_outdated = True
            self.tries = self.base = 0
        elif base > self.last + 1:
            # The sender gave up the messages between, or our database was restored from an older copy
            self.last = base - 1
            if self.last > self.handled:
                self.handled = self.last
                self.tries = 0
            self.taken = max(self.taken, self.last)
        if base > self.base:
            self.base = base
            while self.refusals and (first := next(iter(self.refusals))) < base:
                del self.refusals[first]
                self.refusals_outdated = True
        if sequence <= self.taken:
            return Verdict.ACK if sequence <= self.last else Verdict.IGNORE
        if sequence == self.taken + 1:
            self.taken = sequence
            return Verdict.HANDLE
        return self._request_missing(now)

    def _request_missing(self, now: float) -> Verdict:
        """Decide whether to ask for the missing messages: once for each gap, and again after a second."""
        if self._requested == self.taken and now < self._requested_at + _HASTE:
            return Verdict.IGNORE
        self._requested, self._requested_at = self.taken, now
        return Verdict.AGAIN

    def is_next(self, epoch: int, sequence: int) -> bool:
        """Return whether a message that was taken is to be handled now: not if one before it failed meanwhile."""
        return epoch == self.epoch and self.handled < sequence <= self.taken and sequence == self.handled + 1

    def finished(self, sequence: int) -> None:
        """Record that a handler has ended; its effects are written with the next commit."""
        self.handled = sequence
        self.tries = 0
        if self.unverified:
            self.unverified -= 1

    def stored(self, epoch: int, last: int, refusals: Iterable[Refusal] = ()) -> bool:
        """Record what a commit has written. Return whether an ack is due, as ``last`` has risen."""
        if epoch != self.epoch or last <= self.last:
            return False
        self.last = last
        for refusal in refusals:
            self.refusals[refusal.sequence] = refusal
        return True

    def dropped(self) -> None:
        """Drop the messages that were taken and not handled: the sender has to send them again."""
        self.taken = self.handled

    def failed(self) -> None:
        """Reset to the state on disk: a commit failed."""
        self.handled = self.taken = self.last

    def ack(self, lane: int, flags: int = 0) -> Ack:
        """Return an ack of all messages handled and refused on disk, with the refusals."""
        failures = fit_refusals(self.refusals.values()) if self.refusals else ()
        return Ack(Scope.LANE, flags, lane, self.epoch, self.last, failures)
