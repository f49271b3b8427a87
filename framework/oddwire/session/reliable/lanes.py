"""What makes a message arrive once, as decisions: a sender and a receiver for each lane to a peer. No I/O.

A lane carries one extension's reliable messages to one peer, in order. Its sender numbers them; a number is for ever,
its ``sequence`` on the wire is the number less an ``offset``, which changes with the epoch. Time is seconds that only
ascend. What is on disk is the caller's to say: a sender never sends, a receiver never acknowledges, what is not.
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

_FIRST_PAUSE: Final = 5.0  # seconds without an ack until what is on its way is sent again; doubles each time
_LAST_PAUSE: Final = 60.0
_HASTE: Final = 1.0  # seconds between two answers to the same complaint: a peer cannot make us send more often


class Settled(NamedTuple):
    """What an ack has changed: the numbers from ``first`` up to, but not with, ``stop`` are settled.

    ``failures`` are those of them which were refused, by number. ``epoch`` is not 0 if the lane has to be numbered
    anew, from an epoch greater than this one.
    """

    first: int
    stop: int
    failures: Mapping[int, tuple[int, str]]
    epoch: int = 0


class Sender:
    """One lane to one peer: what is on its way and what to send next.

    ``base`` is the lowest number that on disk is not settled (acknowledged or given up), ``stop`` the number that the
    next message will have. Payloads of up to ``window`` messages and ``window_bytes`` bytes, a single larger one
    aside, are held and on their way at once; the rest stays on disk until `wanted` asks for it.

    Between calls this holds: ``base <= settled <= sent <= loaded <= stop``. Below ``base`` all is settled on disk; from
    there up to ``settled`` in memory alone; up to ``sent`` it was sent and waits for its ack; up to ``loaded`` it is
    held, and only on disk from there up to ``stop``. Held are exactly the payloads from ``settled`` up to ``loaded``.
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
        """All below are settled, on disk or not yet."""
        self.stop = stop
        self.window = min(window, MAX_WINDOW)
        self.window_bytes = window_bytes
        self.deadline = math.inf
        """When `tick` has something to do."""
        self._held: deque[bytes] = deque()  # the payloads from `settled` up to `_loaded`
        self._held_bytes = 0
        self._loaded = base
        self._sent = base
        self._linked = False
        self._pause = _FIRST_PAUSE
        self._again_at = -math.inf
        self._renumber_at = -math.inf
        self._frozen = False  # while a new epoch is being written
        self._dead: dict[int, tuple[int, str]] = {}  # given up, with those before still on their way
        self._barrier = base  # what follows a hole is sent once the base on disk is past it, for peers to see

    # The link comes and goes ------------------------------------------------------------------------

    def connected(self) -> None:
        """Start from the first that is not settled: what was on its way is in doubt."""
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

    # What there is to send --------------------------------------------------------------------------

    def _has_room(self) -> bool:
        return not self._held or (len(self._held) < self.window and self._held_bytes < self.window_bytes)

    def added(self, payload: bytes) -> None:
        """Note that the next message is on disk; it is held if those before it are, and there is room."""
        if self._linked and self._loaded == self.stop and self._has_room():
            self._hold(payload)
        self.stop += 1

    def _hold(self, payload: bytes) -> None:
        self._held.append(payload)
        self._held_bytes += len(payload)
        self._loaded += 1

    def wanted(self) -> tuple[int, int]:
        """Return the first number to read from disk, and how many at most: 0 while nothing is missing."""
        if not self._linked or self._loaded >= self.stop or not self._has_room():
            return self._loaded, 0
        return self._loaded, min(self.stop - self._loaded, self.window - len(self._held))

    def load(self, payloads: Iterable[bytes]) -> None:
        """Take what `wanted` asked for, as far as there is room."""
        for payload in payloads:
            if not self._has_room():
                break
            self._hold(payload)

    @property
    def ready(self) -> bool:
        """Whether `take` has something now, or once what is `wanted` was loaded."""
        if not self._linked or self._frozen or self.base < self._barrier:
            return False
        held = self._sent < min(self._loaded, self.base + MAX_WINDOW, *self._dead)
        return held or (self._loaded < self.stop and self._has_room())

    def take(self, now: float) -> list[tuple[int, bytes]]:
        """Return what is to be sent now, as (sequence, payload) in order; it counts as sent."""
        end = min(self._loaded, self.base + MAX_WINDOW, *self._dead)
        if self._sent >= end or not self._linked or self._frozen or self.base < self._barrier:
            return []
        first, self._sent = self._sent, end
        if self.deadline == math.inf:
            self.deadline = now + self._pause
        return list(enumerate(islice(self._held, first - self.settled, end - self.settled), first - self.offset))

    # What comes back --------------------------------------------------------------------------------

    def acknowledged(self, ack: Ack, now: float) -> Settled:
        """Draw the conclusions from a peer's ack; `take` may have more afterwards.

        After a `Settled` with an epoch nothing is sent until `renumbered`, or `not_renumbered`. A peer that lies harms
        what we send to it, and nothing else.
        """
        first = self.settled
        nothing = Settled(first, first, {})
        if ack.epoch < self.epoch or ack.epoch == MAX_NUMBER or self._frozen:  # there is no greater epoch to go to
            return nothing
        if ack.epoch > self.epoch or ack.value + self.offset >= self.stop:
            # It knows of what we do not: our database is an older copy of itself
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

    def give_up(self, number: int, code: int, text: str) -> Settled:
        """Give up one message: it is settled once those before it are."""
        first = self.settled
        failures: dict[int, tuple[int, str]] = {}
        if first <= number < self.stop:
            self._dead[number] = (code, text)
            self._settle(first, failures)
        return Settled(first, self.settled, failures)

    def expire(self, stop: int) -> None:
        """Give up all below ``stop``."""
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
        """Send again what has not been acknowledged for too long: `take` has it."""
        if now >= self.deadline:
            self._pause = min(2 * self._pause, _LAST_PAUSE)
            self._sent = self.settled
            self.deadline = math.inf

    # What the disk has ------------------------------------------------------------------------------

    def stored(self, base: int) -> None:
        """Note that on disk all below ``base`` is settled."""
        waited = self.base < self._barrier
        self.base = max(self.base, base)
        if waited and self.base >= self._barrier:
            self._sent = self.settled  # what was sent past the hole has not been taken

    def renumbered(self, epoch: int, offset: int) -> None:
        """Note that the lane has a new epoch on disk, in which the first that is not settled has sequence 1."""
        self.epoch = epoch
        self.offset = offset
        self._sent = self.settled
        self._frozen = False

    def not_renumbered(self) -> None:
        """Note that the new epoch could not be written; the peer's next ack leads to another try."""
        self._frozen = False


class Verdict(enum.Enum):
    """What to do with a data frame."""

    HANDLE = enum.auto()
    """It is the next one."""
    ACK = enum.auto()
    """It was handled before: acknowledge again."""
    AGAIN = enum.auto()
    """Something before it is missing: acknowledge what is there, and ask for the rest."""
    IGNORE = enum.auto()
    """It is under way already, or the peer has been told."""


class Receiver:
    """One lane from one peer: what has come, what was handled, what is on disk.

    ``last`` is the last sequence handled, with its effects on disk; ``handled`` the last whose handler has ended;
    ``taken`` the last that was accepted for handling. ``tries`` counts how often handling the one after ``handled``
    was begun in vain, ``unverified`` how many are to be counted before they are begun, as the process ended badly.
    """

    __slots__ = (
        "_told",
        "_told_at",
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
        """What was refused for good, on disk, until the sender knows; ascending."""
        self.base = 0
        self.refusals_outdated = False
        """Whether refusals on disk, of another epoch or below ``base``, are not needed any more."""
        self.unverified = MAX_WINDOW if unverified else 0
        self._told = -1
        self._told_at = -math.inf

    def receive(self, epoch: int, base: int, sequence: int, now: float) -> Verdict:
        """Decide about a frame. After `Verdict.HANDLE` it counts as taken."""
        if epoch != self.epoch:
            if epoch < self.epoch:
                return Verdict.ACK
            if self.taken > self.last:
                return Verdict.IGNORE  # what is under way ends first: it may be the same message
            self.epoch = epoch
            self.last = self.handled = self.taken = base - 1
            self.refusals.clear()
            self.refusals_outdated = True
            self.tries = self.base = 0
        elif base > self.last + 1:
            # The sender has given up what is between, or our database is an older copy of itself
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
        return self._complain(now)

    def _complain(self, now: float) -> Verdict:
        """Decide whether to ask for what is missing: once for each gap, and again after a second."""
        if self._told == self.taken and now < self._told_at + _HASTE:
            return Verdict.IGNORE
        self._told, self._told_at = self.taken, now
        return Verdict.AGAIN

    def is_next(self, epoch: int, sequence: int) -> bool:
        """Say whether a frame that was taken is to be handled now: not if one before it failed meanwhile."""
        return epoch == self.epoch and self.handled < sequence <= self.taken and sequence == self.handled + 1

    def finished(self, sequence: int) -> None:
        """Note that a handler has ended, and its effects will be written with the next commit."""
        self.handled = sequence
        self.tries = 0
        if self.unverified:
            self.unverified -= 1

    def stored(self, epoch: int, last: int, refusals: Iterable[Refusal] = ()) -> bool:
        """Note what a commit has written; say whether that is news to the peer."""
        if epoch != self.epoch or last <= self.last:
            return False
        self.last = last
        for refusal in refusals:
            self.refusals[refusal.sequence] = refusal
        return True

    def dropped(self) -> None:
        """Note that what was taken and not handled is gone: the sender has to send it again."""
        self.taken = self.handled

    def failed(self) -> None:
        """Note that a commit failed: nothing since the last good one has happened."""
        self.handled = self.taken = self.last

    def ack(self, lane: int, flags: int = 0) -> Ack:
        """Return the ack that says how far the lane is."""
        failures = fit_refusals(self.refusals.values()) if self.refusals else ()
        return Ack(Scope.LANE, flags, lane, self.epoch, self.last, failures)
