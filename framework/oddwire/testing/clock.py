"""`Clock`: time that stands still until a test moves it, for one event loop and all of oddwire on it.

It takes the place of two functions of the loop: of its ``time``, and of the ``select`` of its selector, which asyncio
calls once an iteration, with the seconds for which it has nothing to do. There the clock is moved, from one timer to
the next, each time after everything that could run has run.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from oddwire import clocks
from oddwire.app.dispatch.loop_watch import LOOP_WATCH
from oddwire.durations import duration, shown
from oddwire.log_limits import LIMITED

__all__ = ["Clock"]

_FURTHEST: Final = 1e12  # seconds: from there on floats are too far apart for timers
_CLOSE: Final = 1e-5  # seconds; a timer set by sums of floats may be that much later than meant
_SHOWN: Final = 8  # tasks named in an error
# Times are multiples of a quarter of a nanosecond, exact in binary: 10 s later is 10.0 s later, for whoever compares
_GRID: Final = 2.0**32
_PROGRESS: Final = 1e-3  # seconds that the clock has to pass in `_MOVES` moves, or else in ``patience`` real seconds
_MOVES: Final = 1000
_ADVANCE: Final = "'await clock.advance(...)' moves it"
_RESOLUTION: Final = "_clock_resolution"  # of an event loop: it runs timers that are due within so many seconds
_BUSY: Final = "work that has not ended, and never lets the loop be idle"
_SPINNING: Final = "time to pass, while timers fall due again and again at almost the same time"
_REAL: Final = {name: getattr(clocks, name) for name in clocks.__all__}


class Clock:
    """A clock that stands still, and is moved by `advance`: ``async with clock: await clock.advance(3600)``.

    It moves the running event loop, one of asyncio's own, and the clocks of oddwire; not `time.time` and
    `time.monotonic`, other threads, or other processes. One at a time in a process.

    ``patience`` is the max time in real seconds for which the loop may be idle while tasks wait for this clock, and for
    which `advance` waits for work that does not end. Then a `TimeoutError` names the tasks, and the lines they wait in.
    """

    _entered: ClassVar[Clock | None] = None  # the one of this process

    def __init__(self, *, patience: float = 10.0) -> None:
        self.patience = patience
        self.jumping = False
        """Whether the clock moves by itself to the next timer whenever nothing else is left to do."""
        self.elapsed = 0.0
        """The seconds that it was moved by so far."""
        self._loop: asyncio.BaseEventLoop | None = None
        self._select: Callable[[float | None], list[Any]] = lambda _: []  # the selector's own
        self._now = 0.0  # the loop's time
        self._until = 0.0  # to where `advance` moves it
        self._advancing: asyncio.Future[None] | None = None
        self._deadline = math.inf  # in real time: until then the loop has to make progress
        self._mark = 0.0  # the time of the last move by which the clock had passed `_PROGRESS`
        self._moves = 0  # moves since then
        self._resolution = 0.0  # the loop's own
        self._impatient: list[tuple[float, Callable[[float, str], None]]] = []
        self._threads: set[asyncio.Future[Any]] = set()  # what runs in executors
        self._owner: asyncio.Task[Any] | None = None  # the task that has entered it
        self._cancelling = 0  # how often that was being cancelled then
        self._stall: TimeoutError | None = None  # for which it was cancelled
        self._given_up = False  # then it jumps, as the test may have to wait for what it ends

    def __repr__(self) -> str:
        state = "not in use" if self._loop is None else "jumping" if self.jumping else "standing still"
        return f"<Clock {state}, moved by {self.elapsed:g} s>"

    # Entered and left -------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self.install(asyncio.get_running_loop())
        self._owner = asyncio.current_task()
        self._cancelling = 0 if self._owner is None else self._owner.cancelling()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.uninstall()
        owner, self._owner = self._owner, None
        stall, self._stall = self._stall, None
        if stall is None or owner is None or owner is not asyncio.current_task():
            return
        try:
            if owner.uncancel() <= self._cancelling and kind is not None and issubclass(kind, asyncio.CancelledError):
                raise stall from error
        finally:
            del stall, owner  # the error's traceback holds this frame

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let time stand still on a loop, running or not, until `uninstall`. ``async with`` does both.

        Raises `RuntimeError` if a clock is in use in this process already, or if applications run on the loop, and
        `TypeError` for a loop that is not asyncio's own, such as uvloop's.
        """
        if Clock._entered is not None:
            raise RuntimeError("a Clock is in use already: there is one time in a process, so leave that one first")
        selector = getattr(loop, "_selector", None)
        if not isinstance(loop, asyncio.BaseEventLoop) or selector is None:
            kind = f"{type(loop).__module__}.{type(loop).__qualname__}"
            text = f"a Clock moves the time of asyncio's own event loops, not of {kind}"
            raise TypeError(f"{text}: run this test on asyncio.SelectorEventLoop()")
        if LOOP_WATCH.watches(loop):
            text = "a Clock has to be entered before applications start, whose timers are set by real time"
            raise RuntimeError(f"{text}: 'async with clock, run_app(...) as app:'")
        Clock._entered, self._loop = self, loop
        self._now = self._mark = float(math.ceil(loop.time()))
        self._moves = 0
        self._select = selector.select
        _replace(loop, "time", lambda: self._now)
        self._resolution = getattr(loop, _RESOLUTION)
        self._run_no_timer_early()
        _replace(loop, "run_in_executor", self._watching(loop.run_in_executor))
        _replace(selector, "select", self._wait)
        _move_clocks(lambda: self._now)

    def uninstall(self) -> None:
        """Let time pass in real time again, for the loop from where it is: its time never goes back."""
        loop = self._loop
        if loop is None:
            return
        self._given_up = False
        left = self._now - time.monotonic()
        Clock._entered = self._loop = None
        _replace(loop, "time", lambda: time.monotonic() + left)
        _replace(loop, _RESOLUTION, self._resolution)
        _restore(loop, "run_in_executor")
        _restore(getattr(loop, "_selector"), "select")  # noqa: B009 - a name that type checkers do not know
        _restore_clocks()
        if self._advancing is not None and not self._advancing.done():
            self._advancing.set_exception(RuntimeError("the clock was left while it was advanced"))

    @classmethod
    def in_use(cls) -> Clock | None:
        """Return the clock that is in use on the running event loop, if there is one."""
        clock = Clock._entered
        return clock if clock is not None and clock.moves(asyncio.get_running_loop()) else None

    def moves(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Return whether it is in use on an event loop."""
        return self._loop is loop

    @contextmanager
    def impatient(self, seconds: float, told: Callable[[float, str], None]) -> Iterator[None]:
        """Context manager: call ``told``, instead of ending the test, once the clock has stood still for too long.

        That is for ``seconds`` of real time, or ``patience`` if that is less, in which nothing happened. ``told`` gets
        those seconds, and what moves the clock.
        """
        waiter = (seconds, told)
        self._impatient.append(waiter)
        try:
            yield
        finally:
            if waiter in self._impatient:
                self._impatient.remove(waiter)

    # Moved ------------------------------------------------------------------------------------------

    async def advance(self, seconds: float | timedelta) -> None:
        """Move the clock, stopping at each timer that falls due, and let everything run that can run then.

        With 0, only let that run. Returns when nothing is left to do before ``seconds`` have passed: work in executors,
        as of `asyncio.to_thread`, and bytes that have arrived on sockets are waited for; other threads are not. If
        cancelled, the clock stays where it is.

        Raises `ValueError` for less than 0, more than 1e12, or no number, `RuntimeError` outside of ``async with``, or
        while the clock is advanced already, and `TimeoutError` if the work does not end within ``patience`` seconds.
        """
        amount = _seconds(seconds)
        if self._loop is None or self._loop is not asyncio.get_running_loop():
            raise RuntimeError("this Clock is not in use on this event loop: 'async with clock:' comes first")
        if self._advancing is not None:
            raise RuntimeError("the clock is being advanced already: let one task do that")
        self._until = self._now + amount
        self._mark, self._moves = self._now, 0
        self._deadline = time.monotonic() + self.patience
        self._advancing = self._loop.create_future()
        try:
            await self._advancing
        finally:
            self._advancing = None

    def _wait(self, timeout: float | None) -> list[Any]:
        """Wait for events as the loop's selector does, ``timeout`` seconds of this clock; None is for ever."""
        events = self._select(0)
        advancing = self._advancing if self._advancing is not None and not self._advancing.done() else None
        if events or (timeout is not None and timeout <= 0.0):
            if advancing is not None and time.monotonic() > self._deadline:
                advancing.set_exception(self._stuck(_SPINNING if self._spins() else _BUSY))
            return events
        if advancing is not None:
            if self._threads:
                events = self._select(max(0.0, self._deadline - time.monotonic()))
                if not events:
                    advancing.set_exception(self._stuck("work in a thread that has not ended"))
                return events
            due = math.inf if timeout is None else self._now + timeout
            if due <= self._until + _CLOSE:
                self._move(due)
                if self._spins():
                    advancing.set_exception(self._stuck(_SPINNING))
            else:
                self._move(self._until)
                advancing.set_result(None)
            return []
        if timeout is None:
            return self._select(None)
        if (self.jumping or self._given_up) and not self._threads:
            self._move(self._now + timeout)
            if self._spins() and not self._given_up:
                self._give_up(self._stuck(_SPINNING))
            return []
        waiter = min(self._impatient, key=lambda waiter: waiter[0], default=None)
        patience = self.patience if waiter is None else max(0.0, min(self.patience, waiter[0]))
        began = time.monotonic()
        events = self._select(patience)
        if events or time.monotonic() - began < patience:
            return events
        if waiter is None:
            self._give_up(self._stalled(timeout))
        else:
            self._impatient.remove(waiter)
            waiter[1](patience, _ADVANCE)
        return events

    def _give_up(self, error: TimeoutError) -> None:
        """Cancel the task that has entered the clock, so that the test ends with an error; else end the loop's run."""
        self._given_up = True
        if self._owner is None or self._owner.done():
            raise error
        self._stall = error
        self._owner.cancel("the clock stands still")

    def _move(self, to: float) -> None:
        to = math.ceil(to * _GRID) / _GRID  # never before a timer that is due: who looks would go on waiting
        if to > self._now:
            self.elapsed += to - self._now
            self._now = to
            self._run_no_timer_early()
        self._moves += 1
        if self._now - self._mark >= _PROGRESS:
            self._mark, self._moves = self._now, 0
        if self._moves < _MOVES:
            self._deadline = time.monotonic() + self.patience

    def _spins(self) -> bool:
        """Return whether timers are set again and again for ``patience`` seconds, and no time passes by that."""
        return self._moves >= _MOVES and time.monotonic() > self._deadline

    def _run_no_timer_early(self) -> None:
        """Let the loop run timers that are due by now: not, as asyncio does, a nanosecond early, which never passes."""
        _replace(self._loop, _RESOLUTION, math.ulp(self._now))

    def _watching(self, submit: Callable[..., asyncio.Future[Any]]) -> Callable[..., asyncio.Future[Any]]:
        """Return the loop's ``run_in_executor``, which also adds each call to ``_threads`` until it has ended."""

        def run_in_executor(executor: Any, function: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
            future = submit(executor, function, *arguments)
            self._threads.add(future)
            future.add_done_callback(self._threads.discard)
            return future

        return run_in_executor

    # Errors -----------------------------------------------------------------------------------------

    def _stuck(self, what: str) -> TimeoutError:
        waits = "advance() has" if self._advancing is not None else "the clock, which jumps, has"
        return TimeoutError(f"{waits} waited {duration(self.patience)} for {what}: {self._who_waits()}")

    def _stalled(self, timeout: float) -> TimeoutError:
        threads = f"; {len(self._threads)} call(s) in threads have not ended either" if self._threads else ""
        return TimeoutError(
            f"the clock stands still, and for {duration(self.patience)} nothing has happened while tasks wait for it, "
            f"{timeout:g} s more: {self._who_waits()}{threads}. 'await clock.advance({timeout:g})' moves "
            "it, from another task than the one that waits; with 'clock.jumping = True' it moves by itself"
        )

    def _who_waits(self) -> str:
        from oddwire.app.unfinished import spot_of

        tasks = [] if self._loop is None else asyncio.all_tasks(self._loop)
        spots = sorted({f"{task.get_name()} at {spot}" for task in tasks if (spot := spot_of(task))})
        more = f", and {len(spots) - _SHOWN} more" if len(spots) > _SHOWN else ""
        return ", ".join(spots[:_SHOWN]) + more or "no task"


def _seconds(given: float | timedelta) -> float:
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= _FURTHEST:
        should = f"seconds, 0 to {_FURTHEST:g}, or by a timedelta"
        raise ValueError(f"a clock is advanced by {should}, not by {shown(given)}")
    return float(seconds)


def _move_clocks(now: Callable[[], float]) -> None:
    """Let oddwire's clocks continue from what they show, by the seconds of ``now``."""
    for name, real in _REAL.items():
        setattr(clocks, name, _counting(real(), now))
    LIMITED.use_clock(_counting(LIMITED.limiter.clock(), now))


def _restore_clocks() -> None:
    for name, real in _REAL.items():
        setattr(clocks, name, real)
    LIMITED.use_clock(_counting(LIMITED.limiter.clock(), time.monotonic))  # it counts on, and must not go back


def _counting(start: float, now: Callable[[], float]) -> Callable[[], float]:
    begun = now()
    return lambda: start + (now() - begun)


def _replace(owner: Any, name: str, function: Any) -> None:
    setattr(owner, name, function)


def _restore(owner: Any, name: str) -> None:
    delattr(owner, name)
