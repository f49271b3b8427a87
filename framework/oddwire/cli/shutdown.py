"""How a command's process ends: asked to by a signal, within bounds, and saying what holds it up.

Signals are process-wide, so there is one `Shutdown` at a time, and functions here speak to it. A thread of its own
reads the signals, as the main one may be in the middle of anything: a handler that sleeps, a module being imported.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final, Self

from oddwire.app.main_program import on_fork
from oddwire.app.plugins.manager import PluginManager
from oddwire.app.unfinished import busy_threads, holdups, is_lookup, owners_of, run_loop
from oddwire.cli.backstop import Backstop
from oddwire.cli.events import Printer
from oddwire.log_limits import get_logger

__all__ = [
    "LIMIT",
    "SIGNALS",
    "Shutdown",
    "importing",
    "on_abandon",
    "on_hangup",
    "on_stop",
    "own_process",
    "signal_code",
    "watch_over",
]

logger = get_logger("oddwire.cli")

LIMIT: Final = 8.0
"""Seconds from the first signal, or from a command's last step, to the end of the process, whatever it is doing."""

_IMPORTING: Final = 1.0  # nothing runs yet, so there is nothing to finish
_SAME: Final = 0.05  # seconds within which a signal that comes again is the same Ctrl-C: `timeout` sends two, say
_NOTICE: Final = 2.0  # until it says what it waits for
_LAST_WORDS: Final = 0.5  # to print what holds it up, where that can be printed
_KERNELS: Final = 5.0  # after our own deadline: a busy machine may be late
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Shutdown:
    """Takes the signals of the process from ``with`` on, and gives them back at its end.

    The first one cancels the command, or does what `on_stop` said; so many seconds later the process ends, whatever it
    is doing, with a line that says what held it up. A second one ends it at once, if it comes 50 ms after the first or
    later. SIGHUP is ignored if it was before: ``nohup`` asks for that.
    """

    def __init__(self, printer: Printer, limit: float = LIMIT) -> None:
        self.limit = limit
        self.first: signal.Signals | None = None
        """The signal that asked for the end."""
        self.code: int | None = None
        """The command's exit code, once it is known."""
        self.stop: Callable[[signal.Signals], object] | None = None
        self.hangup: Callable[[], object] | None = None
        self.abandon: Callable[[], object] | None = None
        self.others: Callable[[], list[str]] = list
        self.plugins: PluginManager | None = None
        self.interruptible = True  # the main thread may be thrown out of what it does: nothing runs yet
        self._printer = printer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._known = frozenset(threading.enumerate())
        self._deadline: float | None = None
        self._notice: float | None = None
        self._closing = False
        self._over = False
        self._before: dict[signal.Signals, Any] = {}
        self._backstop = Backstop()
        self._stuck = False  # the loop does not close
        self._first_at = 0.0
        self._thrown = False  # the main thread was, by the signal that the other one will take for the first
        self._outer = -1  # where others wanted to hear of signals before
        self._foreign = -1  # where the loop wants to

    @property
    def takes_signals(self) -> bool:
        """Whether it is told of signals, and they are not left to others."""
        return bool(self._before)

    # Its life ---------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        global _current
        if threading.current_thread() is not threading.main_thread():
            return self  # others take care of signals
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        for number in SIGNALS:
            before = signal.getsignal(number)
            if number is signal.SIGHUP and before is signal.SIG_IGN:
                continue
            self._before[number] = before
        self._outer = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        _current = self
        for number in self._before:
            signal.signal(number, self._signalled)
        self._backstop.arm(self._reading, tuple(number for number in self._before if number is not signal.SIGHUP))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*SIGNALS, signal.SIGALRM})
        threading.Thread(target=self._watch, name="oddwire signals", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        global _current
        if _current is not self or (_is_program and self._closing):
            return  # what there still is of a program is bounded, too
        self._over = True
        _current = None
        for number, before in self._before.items():
            signal.signal(number, before)
        signal.set_wakeup_fd(self._outer)
        self._backstop.disarm()
        self._set_alarm(0.0)
        os.close(self._writing)  # the thread reads the end of it

    def run(self, runner: asyncio.Runner, main: Callable[[], Any]) -> int:
        """Run a command's coroutine to its end. Raises what it raises, `KeyboardInterrupt` if a signal cancelled it."""

        async def begin() -> int:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            if self._before:
                # A loop of its own kind (uvloop's) wants to hear of signals, too
                foreign = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
                self._foreign = foreign if foreign != self._writing else -1
            self.interruptible = False
            code: int = await main()
            return code

        loop = runner.get_loop()
        task = loop.create_task(begin())
        while not task.done():
            try:
                run_loop(loop, task)
            except (SystemExit, KeyboardInterrupt) as error:
                # asyncio lets them through from any task; the loop goes on where it was
                if not task.done():
                    text = "a task of an extension ended with %s; to end the application, call app.stop()"
                    logger.error(text, type(error).__name__, exc_info=error)
            except BaseException:
                if not task.done():
                    raise
        try:
            return task.result()
        except asyncio.CancelledError:
            if self.first is None:
                raise
            raise KeyboardInterrupt from None

    def close(self, runner: asyncio.Runner) -> None:
        """End what the command has left on the loop; who does not end in time is named, and ends with the process."""
        self.closing()
        loop = runner.get_loop()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        for task in left:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                text = "unhandled exception during the end of the program"
                loop.call_exception_handler({"message": text, "exception": error, "task": task})
        loop.run_until_complete(loop.shutdown_asyncgens())
        self._loop = None
        asyncio.set_event_loop(None)
        # Not the runner, which would wait for the threads of the loop's pool, whatever they do
        if isinstance(loop, asyncio.BaseEventLoop):
            loop.close()
            return
        # uvloop waits for look-ups
        closing = threading.Thread(target=loop.close, daemon=True)
        closing.start()
        closing.join(_LAST_WORDS)
        self._stuck = closing.is_alive()

    def closing(self) -> None:
        """Have the process end in time from here on, signal or not."""
        if self._before and not self._closing:
            self._closing = True
            if self._deadline is None:
                self._set_deadline(self.limit)

    def finish(self, code: int) -> None:
        """Wait for threads that are busy. If nothing but look-ups is left, exit without waiting for these."""
        self.code = code
        while busy := [(thread, frame) for thread, frame in busy_threads(self._known) if not is_lookup(frame)]:
            busy[0][0].join(0.05)  # it may be of a pool, and go idle
        if self._stuck or busy_threads(self._known):
            self._leave(code)

    def _leave(self, code: int) -> None:
        with contextlib.suppress(Exception):
            atexit._run_exitfuncs()  # noqa: SLF001 - those of others; what os._exit leaves out
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)

    # Signals ----------------------------------------------------------------------------------------

    def _signalled(self, number: int, _: FrameType | None) -> None:
        """Be called by Python in the main thread, between two steps of whatever runs there."""
        self._backstop.hold()
        mine = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        if mine != self._writing:  # somebody has taken it (a loop does for its own handlers): the thread has not heard
            signal.set_wakeup_fd(mine)
            with contextlib.suppress(BlockingIOError):
                os.write(self._writing, bytes([number]))
        if number == signal.SIGHUP and self.hangup is not None:
            return
        if self.interruptible:
            self._thrown = True
            self.first = self.first or signal.Signals(number)
            raise KeyboardInterrupt

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        while True:
            now = time.monotonic()
            times = [at for at in (self._notice, self._deadline) if at is not None]
            # Whole seconds at most: the deadline is set by others, too
            ready = poll.poll(max(0.0, min([1.0, *(at - now for at in times)])) * 1000)
            if ready:
                numbers = os.read(self._reading, 64)
                if not numbers:
                    os.close(self._reading)
                    return
                if self._foreign >= 0:
                    with contextlib.suppress(OSError):
                        os.write(self._foreign, numbers)
                self._backstop.hold()
                if self._deadline is None:
                    self._set_alarm(0.0)  # which the backstop has set
                for number in numbers:
                    if number in self._before:
                        self._take(signal.Signals(number))
                continue
            now = time.monotonic()
            if self._over:
                continue
            if self._deadline is not None and now >= self._deadline:
                name = "" if self.first is None else f"{self.first.name}: "
                self._end(f"{name}ended unfinished", self.first)
            if self._notice is not None and now >= self._notice:
                self._notice = None
                self._tell_what_it_waits_for()

    def _take(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP and self.hangup is not None:
            self._call(self.hangup)
        elif number is self.first and not self._thrown and time.monotonic() < self._first_at + _SAME:
            pass
        elif not self._thrown and (self.first is not None or self._closing):
            again = "" if self.first is None else " again" if number is self.first else f" after {self.first.name}"
            self._end(f"{number.name}{again}: ended at once", number)
        else:
            self.first, self._thrown, self._first_at = number, False, time.monotonic()
            self._set_deadline(_IMPORTING if self.interruptible else self.limit)
            if not self.interruptible:
                self._notice = time.monotonic() + _NOTICE
            stop = self.stop
            self._call(self._cancel if stop is None else lambda: stop(number))

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _call(self, action: Callable[[], object]) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(action)

    def _set_deadline(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._set_alarm(seconds + _KERNELS)

    def _set_alarm(self, seconds: float) -> None:
        """Set the kernel's own deadline, which comes after ours; it is the backstop's, too."""
        if signal.getsignal(signal.SIGALRM) is signal.SIG_DFL:  # nobody else has a use for it
            signal.setitimer(signal.ITIMER_REAL, seconds)

    # What it says -----------------------------------------------------------------------------------

    def _holdups(self) -> str:
        try:
            owners = {} if self.plugins is None else owners_of(self.plugins)
            return "; ".join([*holdups(self._loop, owners, known=self._known), *self.others()])
        except Exception as error:  # of what changes while it is looked at
            return f"what cannot be told ({type(error).__name__})"

    def _tell_what_it_waits_for(self) -> None:
        found = self._holdups()
        if found and self._deadline is not None:
            left = self._deadline - time.monotonic()
            self._printer.remark(
                f"oddwire: waiting for {found}; ends in {max(left, 0.0):.0f} s, or at once at a second signal"
            )

    def _end(self, how: str, number: signal.Signals | None) -> None:
        """End the process, here and now."""
        code = (self.code or 1) if number is None else signal_code(number)
        threading.Thread(target=_exit_soon, args=(code,), daemon=True).start()
        try:
            found = self._holdups()
            if self.abandon is not None:
                self.abandon()
            self._printer.failure(f"{how}; held up by {found}" if found else how)
            self._printer.close(_LAST_WORDS)
        finally:
            os._exit(code)


_current: Shutdown | None = None
_is_program = False


def signal_code(number: signal.Signals) -> int:
    """Return the exit code for a signal, as a shell tells of it."""
    return 128 + number


def on_stop(action: Callable[[signal.Signals], object]) -> None:
    """Have the first signal call ``action`` on the loop, instead of cancelling the command."""
    if _current is not None:
        _current.stop = action


def on_hangup(action: Callable[[], object]) -> None:
    """Have every SIGHUP call ``action`` on the loop, and end nothing."""
    if _current is not None:
        _current.hangup = action


def on_abandon(action: Callable[[], object], holdups: Callable[[], list[str]] = list) -> None:
    """Have ``action`` called, in some thread, when the process is about to end before all is done.

    ``holdups``, called in that thread too, tells what holds up the end besides code in this process.
    """
    if _current is not None:
        _current.abandon, _current.others = action, holdups


def watch_over(plugins: PluginManager) -> None:
    """Know the functions of these extensions by name."""
    if _current is not None:
        _current.plugins = plugins


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Import others' code within: a signal ends that at once, with `KeyboardInterrupt`, as nothing runs yet."""
    ending = _current
    if ending is None or ending.interruptible:
        yield
        return
    ending.interruptible = True
    try:
        if ending.first is not None:
            raise KeyboardInterrupt
        yield
    finally:
        ending.interruptible = False


def own_process() -> None:
    """Say that nothing comes after the command but the end of the process."""
    global _is_program
    _is_program = True


def _exit_soon(code: int) -> None:
    """End the process though what holds it up should be printed, and cannot be."""
    time.sleep(2 * _LAST_WORDS)
    os._exit(code)


def _forked() -> None:
    """Leave signals alone in a child that was forked: ours would be told to the parent, who would end."""
    global _current
    ending, _current = _current, None
    if ending is None:
        return
    signal.set_wakeup_fd(-1)
    for number, before in ending._before.items():  # noqa: SLF001
        signal.signal(number, before)
    for descriptor in (ending._reading, ending._writing):  # noqa: SLF001
        with contextlib.suppress(OSError):
            os.close(descriptor)


on_fork(SIGNALS, _forked)
