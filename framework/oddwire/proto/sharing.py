"""How the connections of one event loop share its time: slices, rations of what others pay for, and a line for each.

What a peer sends is parsed in slices, and what is left of a chunk goes on in a later turn of the loop, so nobody waits
longer than a slice for somebody who sends much. Two kinds of work are charged to the peer that causes them: messages of
which nothing comes (unknown, malformed, pings, notices) and what messages cost beyond what they should. Each kind has a
share of the loop's time, of all peers in sum. While it uses more, those who caused it wait in a line and are read one
slice at a time, as the share allows; who caused little is not in the line. The key work of strangers' handshakes has a
share, too.

What a message costs is known once it was taken, and who has gone pays no more. So while a share is used up, the first
large message of a newcomer waits for its turn in that line, before it is opened; with much more used up, so do all
large ones of those who dialed us. What is small never does.

Work is measured in seconds of this thread's processor time: what other programs take meanwhile is nobody's fault here.
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

# Most messages cost a tenth of that, a request with its handler half
FAIR_MESSAGE: Final = 250e-6
"""Seconds of work that a message may cost, whatever its length, before its peer is charged for the rest."""
_FAIR_BYTE: Final = 4e-9  # to decrypt and copy it; what is made of it counts

_BURST: Final = 0.1  # seconds of work that a whole ration has saved at most
_OWN_BURST: Final = 0.02  # and that one peer has, which keeps it out of the line
_OWN_FIRST: Final = 0.001  # and with which it begins: node ids are free, so this is given away with each
_NOBODY: Final = object()
_ANYBODY: Final = object()
_LEAST_DELAY: Final = 0.0005  # seconds: less may be too little for the clock to go on
_DEEP: Final = -0.1  # seconds: more than several costly messages at once leave a ration with, where peers are but a few
_MOST_OWED: Final = 1.0  # seconds that handshakes wait for those that were done
_REMEMBERED: Final = 1 << 16  # first acts of handshakes


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkLimits:
    """How much of an event loop's time strangers may take. Shares are of 1; raises `ValueError` for what cannot be."""

    turn_seconds: float = 0.001
    """Seconds of work for one peer before others have their turn; a single message is never interrupted."""
    wasted_share: float = 0.05
    """Of the loop's time, for messages of which nothing comes: of all peers in sum."""
    costly_share: float = 0.1
    """Of the loop's time, for what messages cost beyond 250 µs each and 4 ns a byte, while others want it."""
    handshake_share: float = 0.15
    """Of the loop's time, for handshakes of those who dial us, while others want it."""
    wanted_seconds: float = 0.1
    """Seconds for which the loop counts as wanted by others after it was."""

    def __post_init__(self) -> None:
        """Check."""
        for field in fields(self):
            value, most = getattr(self, field.name), 1.0 if field.name.endswith("_share") else math.inf
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most
            ):
                bound = "" if math.isinf(most) else " and at most 1"
                raise ValueError(f"{field.name} should be a number greater than 0{bound}, not {value!r}")


class _Waiter(Protocol):
    """Who waits in a ration's line: one connection."""

    def let_go(self) -> None:
        """Work for a slice."""


class _Turn:
    """One who waits in a line without a connection, for once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.come: asyncio.Future[None] = loop.create_future()

    def let_go(self) -> None:
        """Let it go on."""
        if not self.come.done():
            self.come.set_result(None)


class _Account:
    """What one peer has of a ration, in seconds."""

    __slots__ = ("level", "then")

    def __init__(self, now: float) -> None:
        self.level = _OWN_FIRST
        self.then = now


class Ration:
    """A share of the loop's time for one kind of work, and the line of those who wait because it is used up."""

    def __init__(self, owner: LoopShare, name: str, share: float, *, always: bool) -> None:
        self._owner = owner
        self.name = name
        self._share = share
        self._always = always  # else only while others want the loop
        self._level = _BURST
        self._then = owner.loop.time()
        self._accounts: dict[_Waiter, _Account] = {}
        self._line: dict[_Waiter, None] = {}
        self._untried: dict[_Waiter, None] = {}  # a line of those who owe nothing, which takes turns with the other
        self._tried_one = False  # of the two lines, this one had the last turn
        self._timer: asyncio.Handle | None = None

    @property
    def waiting(self) -> int:
        """How many peers wait in the line."""
        return len(self._line) + len(self._untried)

    @property
    def level(self) -> float:
        """Seconds of work that there is time for now; less than nothing until that is made up for."""
        self._spend(0.0, self._owner.loop.time())
        return self._level

    def is_free(self, waiter: _Waiter) -> bool:
        """Say whether who owes nothing may go on now."""
        now = self._owner.loop.time()
        self._spend(0.0, now)
        return self._is_free(now, waiter) and not self.waiting

    def charge(self, waiter: _Waiter, seconds: float) -> bool:
        """Charge a peer with work that was done. Return whether it has to wait; it is then let go in its turn."""
        now = self._owner.loop.time()
        self._spend(seconds, now)
        account = self._accounts.get(waiter)
        if account is None:
            account = self._accounts[waiter] = _Account(now)
        # Of the share, each connection saves an equal part: so all of them together save no more than there is
        saved = account.level + (now - account.then) * self._share / max(1, self._owner.members)
        account.level = max(min(saved, _OWN_BURST) - seconds, -1.0)
        account.then = now
        if account.level >= 0 or self._is_free(now, waiter):
            return False
        self._owner.counters[self.name] += 1
        self._wait(self._line, now, waiter)
        return True

    def enter(self, waiter: _Waiter) -> None:
        """Have one who owes nothing wait in the line, as it is not free: it is let go in its turn."""
        self._wait(self._untried, self._owner.loop.time(), waiter)

    def _wait(self, line: dict[_Waiter, None], now: float, waiter: _Waiter) -> None:
        line[waiter] = None
        if self._timer is None:
            self._timer = self._owner.loop.call_later(self._delay(now, waiter), self._let_go)

    def debit(self, waiter: _Waiter | None, seconds: float) -> None:
        """Charge a peer that waits already, or one that has gone (None)."""
        self._spend(seconds, self._owner.loop.time())
        if waiter is not None:
            account = self._accounts.setdefault(waiter, _Account(self._then))
            account.level = max(account.level - seconds, -1.0)

    def forget(self, waiter: _Waiter) -> None:
        """Forget a peer that is gone. What it used up stays used up."""
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
    """The work of strangers' handshakes: a slice of it a turn, and a share of the loop's time while others want it."""

    def __init__(self, owner: LoopShare, share: float) -> None:
        self._owner = owner
        self._share = share
        self._free_at = -math.inf  # when, on the loop's clock, what was done has been made up for
        self._spent = 0.0  # in this turn
        self._first: deque[Callable[[], object]] = deque()
        self._then: deque[Callable[[], object]] = deque()
        self._timer: asyncio.Handle | None = None
        self._seen: dict[int, None] = {}

    @property
    def waiting(self) -> int:
        """How many pieces of work wait."""
        return len(self._first) + len(self._then)

    @property
    def pressed(self) -> bool:
        """Whether there is more of it than there is time for."""
        now = self._owner.loop.time()
        return self.waiting > 0 or (self._free_at > now and self._owner.unwanted_in(now) > 0)

    def is_stale(self, act: bytes) -> bool:
        """Say whether this first act of a handshake came before: nobody honest begins two with one ephemeral key."""
        return hash(act) in self._seen

    def remember(self, act: bytes) -> None:
        """Remember a first act, and forget the oldest of those that are too many."""
        self._seen[hash(act)] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def do(self, work: Callable[[], object], *, first: bool = False, later: Callable[[], object] | None = None) -> None:
        """Do a piece of work when there is time for it: at once if there is, after calling ``later`` if there is not.

        ``first`` are those that lead to an end what was begun.
        """
        now = self._owner.loop.time()
        if not self._first and not (self._then and not first) and self._is_free(now):
            self._do(work)
            if self._timer is None:
                self._timer = self._owner.loop.call_soon(self._go_on)  # the turn is over then
            return
        if later is not None:
            later()
        (self._first if first else self._then).append(work)
        self._owner.counters["handshake_share"] += 1
        self._schedule(now)

    def spend(self, seconds: float) -> None:
        """Charge work that was done, or surely will be."""
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
    """How the connections that have this share their loop's time. Made on the loop."""

    def __init__(self, limits: WorkLimits | None = None) -> None:
        self.limits = limits or WorkLimits()
        self.loop = asyncio.get_running_loop()
        self.counters: Counter[str] = Counter()
        """How often a peer was read later, or a handshake done later, by the limit's name."""
        self.used_up = False
        """Whether more of a ration may have been used than there is; `gate` knows."""
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
        """Return the one that connections of the running loop share if they were given no other."""
        loop = asyncio.get_running_loop()
        share = _of_loops.get(id(loop))
        if share is None:
            share = _of_loops[id(loop)] = cls()
        return share

    @property
    def members(self) -> int:
        """How many connections share."""
        return len(self._members)

    def join(self, peer: _Waiter) -> None:
        """Take a connection in, until it leaves."""
        self._members.add(peer)

    # Slices

    def next_turn(self, work: Callable[[], object]) -> None:
        """Go on with a slice of ``work`` in a later turn of the loop, in line with others who do."""
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

    # What is wanted, and what is charged

    def want(self, who: object = None) -> None:
        """Say that ``who`` has had something done, none of the connections by default: the loop's time is wanted."""
        if who is not self._wanted_by:
            self._wanted_by, self._other_until = who, self._wanted_until
        self._wanted_until = self.loop.time() + self.limits.wanted_seconds

    def unwanted_in(self, now: float, but: object = _ANYBODY) -> float:
        """Return in how many seconds nobody but ``but`` will want the loop if nothing happens until then; 0.0: now."""
        until = self._other_until if but is self._wanted_by else self._wanted_until
        return max(until - now, 0.0)

    @staticmethod
    def fair(messages: int, size: int) -> float:
        """Return the seconds of work that so many messages, of ``size`` bytes in all, may cost."""
        return messages * FAIR_MESSAGE + size * _FAIR_BYTE

    def settle(self, peer: _Waiter, work: float, messages: int, size: int, wasted: int) -> bool:
        """Charge a slice: ``messages`` of ``size`` bytes, ``wasted`` of them such that nothing came of.

        Return whether the peer has to wait.
        """
        for_nothing = work * min(1.0, wasted / max(1, messages))
        excess = work - for_nothing - self.fair(messages, size)
        # In both lines, it is read once it has been let go by both
        if wasted < messages and excess < self.turn_seconds:
            self.want(peer)  # who is costly does not count, or two of them would keep each other back
        if not wasted and excess <= 0:
            return False
        waits = bool(wasted) and self.wasted.charge(peer, for_nothing)
        return (excess > 0 and not waits and self.costly.charge(peer, excess)) or waits

    def charge(self, peer: _Waiter, work: float, *, wasted: bool, waits: bool) -> bool:
        """Charge a message that was taken later than it was read; return whether its peer, if it does not, has to wait.

        ``wasted`` says that nothing came of it, ``waits`` that its peer is in a line already.
        """
        ration, seconds = (self.wasted, work) if wasted else (self.costly, work - FAIR_MESSAGE)
        if seconds <= 0:
            return False
        if waits:
            ration.debit(peer, seconds)
            return False
        return ration.charge(peer, seconds)

    def gate(self, peer: _Waiter, *, tried: bool) -> Ration | None:
        """Return in which line a large message of one who dialed us waits for its turn before it is opened, if it does.

        ``tried`` is whose large messages have cost no more than they should.
        """
        ration = min(self.wasted, self.costly, key=lambda ration: ration.level)
        self.used_up = ration.level < 0
        if ration.level >= (_DEEP if tried else 0.0):
            return None
        # Where nobody else wants anything, they go on one after the other: not all in one turn of the loop, in which
        # nobody could say that he wants something
        return ration if self.unwanted_in(self.loop.time(), peer) else self.costly

    async def turn(self) -> None:
        """Wait until there is time for a costly message of a peer that has gone."""
        waiter = _Turn(self.loop)
        if not self.costly.is_free(waiter):
            self.costly.enter(waiter)
            try:
                await waiter.come
            finally:
                self.costly.forget(waiter)

    def leave(self, peer: _Waiter) -> None:
        """Forget a connection that has ended."""
        self._members.discard(peer)
        if self._wanted_by is peer:
            self._wanted_by = _NOBODY
        self.wasted.forget(peer)
        self.costly.forget(peer)

    def left(self, work: float, messages: int, size: int) -> None:
        """Charge the last slice of a connection that has ended meanwhile."""
        excess = work - self.fair(messages, size)
        if excess > 0:
            self.costly.debit(None, excess)


# By the loop's id: what shares it keeps it, so no other has that id meanwhile
_of_loops: WeakValueDictionary[int, LoopShare] = WeakValueDictionary()
