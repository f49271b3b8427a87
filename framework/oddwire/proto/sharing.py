"""How the connections of one event loop share its time: slices, quotas for useless and costly work, a queue for each.

Chunks are parsed in slices, and the rest of a chunk in a later event-loop iteration, so no peer waits longer than a
slice for another one that sends much. Two kinds of work are charged to the peer that causes them: useless messages
(unknown, malformed, pings, notices), and what messages cost beyond a fair cost. Each kind has a share of the loop's
time, for all peers together. While it uses more, the peers that cause it are queued and read one slice at a time, as
the share allows; peers that cause little are not queued. The key operations of strangers' handshakes have a share, too.

The cost of a message is known only once it was handled, and a disconnected peer can no longer be charged. So while a
share is used up, the first large message of a newcomer waits for its turn in that queue before it is opened; with much
more used up, so do all large messages of peers that dialed us. Small messages never wait.

Work is measured in seconds of this thread's processor time, so time that other programs take is charged to nobody.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from time import perf_counter, thread_time
from typing import Final, Protocol
from weakref import WeakValueDictionary

__all__ = ["FAIR_MESSAGE", "KeyWork", "LoopShare", "Ration", "WorkLimits", "work_clock"]

work_clock: Final = thread_time

# Most messages cost a tenth of `FAIR_MESSAGE`, a request with its handler half
FAIR_MESSAGE: Final = 250e-6
"""Seconds of work that a message of any length may cost before its peer is charged for the rest."""
_FAIR_BYTE: Final = 4e-9  # to decrypt and copy it; decoding and handling are charged

_BURST: Final = 0.1  # max seconds of work that a ration saves
_OWN_BURST: Final = 0.02  # and that one peer saves, which keeps it out of the queue
_OWN_FIRST: Final = 0.001  # and that a new peer starts with: little, as node ids are free
_NOBODY: Final = object()
_ANYBODY: Final = object()
_LEAST_DELAY: Final = 0.0005  # seconds: less may be below the resolution of the clock
_DEEP: Final = -0.1  # seconds: lower than several costly messages at once leave a ration with few peers
_MOST_OWED: Final = 1.0  # max seconds that handshakes wait for those done before
_REMEMBERED: Final = 1 << 16  # first acts of handshakes that are remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkLimits:
    """How much of an event loop's time strangers may take. Shares are fractions of 1. Raises `ValueError`."""

    turn_seconds: float = 0.001
    """Max seconds of work for one peer per turn; a single message is never interrupted."""
    wasted_share: float = 0.05
    """Share of the loop's time for useless messages, of all peers together."""
    costly_share: float = 0.1
    """Share of the loop's time for costs beyond 250 µs per message and 4 ns per byte, while others want the loop."""
    handshake_share: float = 0.15
    """Share of the loop's time for handshakes of peers that dial us, while others want the loop."""
    wanted_seconds: float = 0.1
    """Seconds for which the loop counts as wanted after others last used it."""

    def __post_init__(self) -> None:
        """Check the ranges of the limits."""
        for field in fields(self):
            value, most = getattr(self, field.name), 1.0 if field.name.endswith("_share") else math.inf
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most
            ):
                bound = "" if math.isinf(most) else " and at most 1"
                raise ValueError(f"{field.name} should be a number greater than 0{bound}, not {value!r}")


class _Waiter(Protocol):
    """A member of a ration's queue: one connection."""

    def let_go(self) -> None:
        """Work for one slice; called when its turn has come."""


class _Turn:
    """A single turn in a queue, without a connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.come: asyncio.Future[None] = loop.create_future()

    def let_go(self) -> None:
        """Wake the waiting coroutine."""
        if not self.come.done():
            self.come.set_result(None)


class _Account:
    """One peer's account in a ration, in seconds."""

    __slots__ = ("level", "then")

    def __init__(self, now: float) -> None:
        self.level = _OWN_FIRST
        self.then = now


class Ration:
    """A share of the loop's time for one kind of work, and the queue of peers that wait because it is used up."""

    def __init__(self, owner: LoopShare, name: str, share: float, *, always: bool) -> None:
        self._owner = owner
        self.name = name
        self._share = share
        self._always = always  # otherwise only while others want the loop
        self._level = _BURST
        self._then = owner.loop.time()
        self._accounts: dict[_Waiter, _Account] = {}
        self._line: dict[_Waiter, None] = {}
        self._untried: dict[_Waiter, None] = {}  # a queue of peers that owe nothing, served alternately with the other
        self._tried_one = False  # whether that queue had the last turn
        self._timer: asyncio.Handle | None = None

    @property
    def waiting(self) -> int:
        """The number of queued peers."""
        return len(self._line) + len(self._untried)

    @property
    def level(self) -> float:
        """Seconds of work available now; negative until overuse is made up for."""
        self._spend(0.0, self._owner.loop.time())
        return self._level

    def is_free(self, waiter: _Waiter) -> bool:
        """Return whether a peer that owes nothing may go on now."""
        now = self._owner.loop.time()
        self._spend(0.0, now)
        return self._is_free(now, waiter) and not self.waiting

    def charge(self, waiter: _Waiter, seconds: float) -> bool:
        """Charge a peer for work. Return whether it is queued; ``let_go`` is then called when its turn has come."""
        now = self._owner.loop.time()
        self._spend(seconds, now)
        account = self._accounts.get(waiter)
        if account is None:
            account = self._accounts[waiter] = _Account(now)
        # Each connection saves an equal part of the share, so all together save no more than the share
        saved = account.level + (now - account.then) * self._share / max(1, self._owner.members)
        account.level = max(min(saved, _OWN_BURST) - seconds, -1.0)
        account.then = now
        if account.level >= 0 or self._is_free(now, waiter):
            return False
        self._owner.counters[self.name] += 1
        self._wait(self._line, now, waiter)
        return True

    def enter(self, waiter: _Waiter) -> None:
        """Queue a peer that owes nothing; ``let_go`` is called when its turn has come."""
        self._wait(self._untried, self._owner.loop.time(), waiter)

    def _wait(self, line: dict[_Waiter, None], now: float, waiter: _Waiter) -> None:
        line[waiter] = None
        if self._timer is None:
            self._timer = self._owner.loop.call_later(self._delay(now, waiter), self._let_go)

    def debit(self, waiter: _Waiter | None, seconds: float) -> None:
        """Charge a peer that is queued already, or a disconnected one (None)."""
        self._spend(seconds, self._owner.loop.time())
        if waiter is not None:
            account = self._accounts.setdefault(waiter, _Account(self._then))
            account.level = max(account.level - seconds, -1.0)

    def remove(self, waiter: _Waiter) -> None:
        """Remove a disconnected peer. What it used up stays used up."""
        self._line.pop(waiter, None)
        self._untried.pop(waiter, None)
        if not self.waiting and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._accounts.pop(waiter, None)

    def _spend(self, seconds: float, now: float) -> None:
        self._level = max(min(self._level + (now - self._then) * self._share, _BURST) - seconds, -1.0)
        self._then = now
        if self._level < 0:
            self._owner.used_up = True

    def _is_free(self, now: float, waiter: _Waiter) -> bool:
        return self._level >= 0 or not (self._always or self._owner.unwanted_in(now, waiter))

    def _delay(self, now: float, waiter: _Waiter) -> float:
        if self._is_free(now, waiter):
            return 0.0
        paid = -self._level / self._share
        return max(paid if self._always else min(paid, self._owner.unwanted_in(now, waiter)), _LEAST_DELAY)

    def _let_go(self) -> None:
        self._timer = None
        loop = self._owner.loop
        now = loop.time()
        self._spend(0.0, now)
        line = self._next_line()
        waiter = next(iter(line))
        try:
            if self._is_free(now, waiter):
                del line[waiter]
                self._tried_one = line is self._untried
                waiter.let_go()
        finally:
            if self.waiting and self._timer is None:
                self._timer = loop.call_later(self._delay(loop.time(), next(iter(self._next_line()))), self._let_go)

    def _next_line(self) -> dict[_Waiter, None]:
        return self._untried if self._untried and not (self._tried_one and self._line) else self._line


class KeyWork:
    """Key operations of strangers' handshakes: a slice per iteration, and a share of the loop's time while wanted."""

    def __init__(self, owner: LoopShare, share: float) -> None:
        self._owner = owner
        self._share = share
        self._free_at = -math.inf  # the loop's time at which work done is made up for
        self._spent = 0.0  # in this iteration
        self._first: deque[Callable[[], object]] = deque()
        self._then: deque[Callable[[], object]] = deque()
        self._timer: asyncio.Handle | None = None
        self._seen: dict[int, None] = {}

    @property
    def waiting(self) -> int:
        """The number of waiting jobs."""
        return len(self._first) + len(self._then)

    @property
    def pressed(self) -> bool:
        """Whether there is more work than time for it."""
        now = self._owner.loop.time()
        return self.waiting > 0 or (self._free_at > now and self._owner.unwanted_in(now) > 0)

    def is_stale(self, act: bytes) -> bool:
        """Return whether this first act was seen before: honest peers never use an ephemeral key twice."""
        return hash(act) in self._seen

    def remember(self, act: bytes) -> None:
        """Remember a first act, and remove the oldest ones beyond the limit."""
        self._seen[hash(act)] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def do(self, work: Callable[[], object], *, first: bool = False, later: Callable[[], object] | None = None) -> None:
        """Run ``work`` at once if there is time, or else call ``later`` and run it when there is.

        ``first``: ahead of other waiting work, as it completes a handshake that was begun.
        """
        now = self._owner.loop.time()
        if not self._first and not (self._then and not first) and self._is_free(now):
            self._do(work)
            if self._timer is None:
                self._timer = self._owner.loop.call_soon(self._go_on)  # in the next iteration
            return
        if later is not None:
            later()
        (self._first if first else self._then).append(work)
        self._owner.counters["handshake_share"] += 1
        self._schedule(now)

    def spend(self, seconds: float) -> None:
        """Charge work that was done, or is certain to be."""
        self._spent += seconds
        now = self._owner.loop.time()
        self._free_at = min(max(self._free_at, now) + seconds / self._share, now + _MOST_OWED)

    def _is_free(self, now: float) -> bool:
        if self._spent >= self._owner.limits.turn_seconds:
            return False
        return self._free_at <= now or not self._owner.unwanted_in(now)

    def _do(self, work: Callable[[], object]) -> None:
        start = work_clock()
        try:
            work()
        finally:
            self.spend(work_clock() - start)

    def _schedule(self, now: float) -> None:
        if self._timer is None:
            delay = min(self._free_at - now, self._owner.unwanted_in(now))
            loop = self._owner.loop
            if delay > 0:
                self._timer = loop.call_later(max(delay, _LEAST_DELAY), self._go_on)
            else:
                self._timer = loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        self._spent = 0.0
        loop = self._owner.loop
        try:
            while self.waiting and self._is_free(loop.time()):
                self._do((self._first or self._then).popleft())
        finally:
            if self.waiting:
                self._schedule(loop.time())


class LoopShare:
    """Divides a loop's time among the connections that have this share. To be made on the running loop."""

    def __init__(self, limits: WorkLimits | None = None) -> None:
        self.limits = limits or WorkLimits()
        self.loop = asyncio.get_running_loop()
        self.counters: Counter[str] = Counter()
        """How often reading a peer, or a handshake, was put off, by the limit's name."""
        self.used_up = False
        """Whether a ration may be used up; `gate` computes it exactly."""
        self._members: set[_Waiter] = set()
        self.wasted = Ration(self, "wasted_share", self.limits.wasted_share, always=True)
        self.costly = Ration(self, "costly_share", self.limits.costly_share, always=False)
        self.handshakes = KeyWork(self, self.limits.handshake_share)
        self.turn_seconds = self.limits.turn_seconds
        self._wanted_until = self._other_until = -math.inf
        self._wanted_by: object = _NOBODY
        self._turns: deque[Callable[[], object]] = deque()

    @classmethod
    def of_loop(cls) -> LoopShare:
        """Return the default share of the running loop's connections."""
        loop = asyncio.get_running_loop()
        share = _of_loops.get(id(loop))
        if share is None:
            share = _of_loops[id(loop)] = cls()
        return share

    @property
    def members(self) -> int:
        """The number of connections in this share."""
        return len(self._members)

    def join(self, peer: _Waiter) -> None:
        """Add a connection, until `leave`."""
        self._members.add(peer)

    # Slices

    def next_turn(self, work: Callable[[], object]) -> None:
        """Queue ``work``, one slice, for a later event-loop iteration."""
        if not self._turns:
            self.loop.call_soon(self._turn)
        self._turns.append(work)

    def _turn(self) -> None:
        turns = self._turns
        until = perf_counter() + self.turn_seconds
        try:
            for _ in range(len(turns)):
                turns[0]()
                turns.popleft()
                if perf_counter() >= until:
                    break
        except BaseException:
            turns.popleft()
            raise
        finally:
            if turns:
                self.loop.call_soon(self._turn)

    # Demand, and charges

    def want(self, who: object = None) -> None:
        """Note that ``who`` (by default, no connection) used the loop: its time is wanted."""
        if who is not self._wanted_by:
            self._wanted_by, self._other_until = who, self._wanted_until
        self._wanted_until = self.loop.time() + self.limits.wanted_seconds

    def unwanted_in(self, now: float, but: object = _ANYBODY) -> float:
        """Return the seconds until nobody but ``but`` wants the loop, if nothing happens meanwhile; 0.0: now."""
        until = self._other_until if but is self._wanted_by else self._wanted_until
        return max(until - now, 0.0)

    @staticmethod
    def fair(messages: int, size: int) -> float:
        """Return the fair cost, in seconds of work, of ``messages`` messages of ``size`` bytes in total."""
        return messages * FAIR_MESSAGE + size * _FAIR_BYTE

    def settle(self, peer: _Waiter, work: float, messages: int, size: int, wasted: int) -> bool:
        """Charge a slice of ``work`` seconds: ``messages`` of ``size`` bytes in total, ``wasted`` of them useless.

        Return whether the peer has to wait.
        """
        for_nothing = work * min(1.0, wasted / max(1, messages))
        excess = work - for_nothing - self.fair(messages, size)
        # In both queues, it is read once both have let it go
        if wasted < messages and excess < self.turn_seconds:
            self.want(peer)  # costly peers do not count, or two of them would hold each other back
        if not wasted and excess <= 0:
            return False
        waits = bool(wasted) and self.wasted.charge(peer, for_nothing)
        return (excess > 0 and not waits and self.costly.charge(peer, excess)) or waits

    def charge(self, peer: _Waiter, work: float, *, wasted: bool, waits: bool) -> bool:
        """Charge work on a message after the slice that read it; return whether its peer is now queued.

        ``wasted``: the message was useless; ``waits``: its peer is queued already.
        """
        ration, seconds = (self.wasted, work) if wasted else (self.costly, work - FAIR_MESSAGE)
        if seconds <= 0:
            return False
        if waits:
            ration.debit(peer, seconds)
            return False
        return ration.charge(peer, seconds)

    def gate(self, peer: _Waiter, *, tried: bool) -> Ration | None:
        """Return the ration in whose queue a large message of a peer that dialed us waits before it is opened, or None.

        ``tried``: the peer's large messages have not been costly so far.
        """
        ration = min(self.wasted, self.costly, key=lambda ration: ration.level)
        self.used_up = ration.level < 0
        if ration.level >= (_DEEP if tried else 0.0):
            return None
        # While nobody else wants the loop, they go on one after the other: not all in one iteration, in which
        # no other work could show that it wants the loop
        return ration if self.unwanted_in(self.loop.time(), peer) else self.costly

    async def turn(self) -> None:
        """Wait until there is time for a costly message of a disconnected peer."""
        waiter = _Turn(self.loop)
        if not self.costly.is_free(waiter):
            self.costly.enter(waiter)
            try:
                await waiter.come
            finally:
                self.costly.remove(waiter)

    def leave(self, peer: _Waiter) -> None:
        """Remove a connection that has ended."""
        self._members.discard(peer)
        if self._wanted_by is peer:
            self._wanted_by = _NOBODY
        self.wasted.remove(peer)
        self.costly.remove(peer)

    def left(self, work: float, messages: int, size: int) -> None:
        """Charge the last slice of a connection that has ended during it."""
        excess = work - self.fair(messages, size)
        if excess > 0:
            self.costly.debit(None, excess)


# By the loop's id: its share keeps the loop, so no other loop can have that id
_of_loops: WeakValueDictionary[int, LoopShare] = WeakValueDictionary()
