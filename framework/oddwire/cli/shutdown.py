"""The end of a command's process: by a signal, within a time limit, and naming what delays it.

Signals are process-wide, so there is one `Shutdown` at a time, which the functions here use. A thread reads the
signals, as the main thread may be busy with anything: a handler that blocks, a module being imported.
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
from typing import TYPE_CHECKING, Any, Final, Self

from oddwire.app.main_program import on_fork
from oddwire.app.unfinished import busy_threads, holdups, is_lookup, owners_of, run_loop
from oddwire.cli.backstop import Backstop
from oddwire.cli.environment import SIGNALS, is_program
from oddwire.cli.events import Printer
from oddwire.log_limits import get_logger

if TYPE_CHECKING:
    from oddwire.app.plugins.manager import PluginManager

__all__ = [
    "LIMIT",
    "Shutdown",
    "importing",
    "on_abandon",
    "on_hangup",
    "on_interrupt",
    "on_stop",
    "signal_code",
    "watch_over",
]

logger = get_logger("oddwire.cli")

LIMIT: Final = 8.0
"""Max seconds from the first signal, or from a command's last step, to the end of the process."""

_IMPORTING: Final = 1.0  # the limit in seconds while extensions are imported, when there is nothing to finish
_SAME: Final = 0.05  # seconds within which a repeated signal counts as the same: `timeout`, for one, sends two
_NOTICE: Final = 2.0  # seconds until a remark says what the end waits for
_LAST_WORDS: Final = 0.5  # seconds to print what delays the end
_KERNELS: Final = 5.0  # seconds from our deadline to the kernel's, as a busy machine may be late


class Shutdown:
    """Context manager that handles the signals of the process, and restores the former handlers at its end.

    The first signal cancels the command, or calls the action of `on_stop`; ``limit`` seconds later the process is
    ended, with a line that names what delayed it. A second signal ends it at once, if it comes at least 50 ms after the
    first. SIGHUP stays ignored if it was ignored before, as with ``nohup``.

    Until the command's coroutine runs, and while extensions are imported, a signal raises `KeyboardInterrupt`: on
    entry too.
    """

    def __init__(self, printer: Printer, limit: float = LIMIT) -> None:
        self.limit = limit
        self.first: signal.Signals | None = None
        """The signal that asked for the end."""
        self.code: int | None = None
        """The command's exit code, once it is known."""
        self.stop: Callable[[signal.Signals], object] | None = None
        self.hangup: Callable[[], object] | None = None
        self.interrupt: Callable[[], object] | None = None
        self.abandon: Callable[[], object] | None = None
        self.others: Callable[[], list[str]] = list
        self.plugins: PluginManager | None = None
        self.interruptible = False  # a signal raises in the main thread, as no application runs yet
        self._printer = printer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._known = frozenset(threading.enumerate())
        self._deadline: float | None = None
        self._notice: float | None = None
        self._closing = False
        self._over = False
        self._exiting = False  # our thread exits the process, as soon as it has printed why
        self._before: dict[signal.Signals, Any] = {}
        self._backstop = Backstop()
        self._stuck = False  # the event loop does not close
        self._first_at = 0.0
        self._early: signal.Signals | None = None  # a signal that came while it was entered
        self._thrown = False  # a signal raised in the main thread, and our thread has not read it yet
        self._outer = -1  # the wakeup descriptor that was set before
        self._foreign = -1  # the wakeup descriptor of the event loop

    @property
    def takes_signals(self) -> bool:
        """Whether signals are handled here: only if it was entered in the main thread."""
        return bool(self._before)

    # Its life ---------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        global _current
        if threading.current_thread() is not threading.main_thread():
            return self  # signals are handled in the main thread
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
        watching = threading.Thread(target=self._watch, name="oddwire signals", daemon=True)
        watching.start()
        try:
            self.interruptible = True
            if self._early is not None:
                self._thrown = self.first is None
                self.first = self._early
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            self.__exit__()
            watching.join()
            self._set_alarm(0.0)  # which the thread has set for the same signal
            raise
        return self

    def __exit__(self, *_: object) -> None:
        global _current
        if _current is not self or (is_program() and self._closing):
            return  # the limit holds for the rest of the program too
        self._over = True
        _current = None
        for number, before in self._before.items():
            signal.signal(number, before)
        signal.set_wakeup_fd(self._outer)
        self._backstop.disarm()
        self._set_alarm(0.0)
        os.close(self._writing)  # the thread reads the end of file, and ends

    def run(self, runner: asyncio.Runner, main: Callable[[], Any]) -> int:
        """Run a command's coroutine; return its exit code. Raises its errors, `KeyboardInterrupt` after a signal."""

        async def begin() -> int:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            if self._before:
                # Some event loops (uvloop's) set a wakeup descriptor too
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
                # asyncio raises these from any task; the event loop can go on
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
        """Cancel the tasks that the command left, and close the event loop; `closing` limits the time of that."""
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
        # Not runner.close(), which would wait for the threads of the event loop's pool without a limit
        if isinstance(loop, asyncio.BaseEventLoop):
            loop.close()
            return
        # uvloop waits for name look-ups
        closing = threading.Thread(target=loop.close, daemon=True)
        closing.start()
        closing.join(_LAST_WORDS)
        self._stuck = closing.is_alive()

    def closing(self) -> None:
        """Start the time limit, if no signal has."""
        if self._before and not self._closing:
            self._closing = True
            if self._deadline is None:
                self._set_deadline(self.limit)

    def finish(self, code: int) -> None:
        """Wait for busy threads. Exit here, without waiting for them, if only threads in name look-ups are left."""
        self.code = code
        while self._exiting:
            time.sleep(_LAST_WORDS)
        while busy := [(thread, frame) for thread, frame in busy_threads(self._known) if not is_lookup(frame)]:
            busy[0][0].join(0.05)  # with a timeout, as a pool's thread does not end but becomes idle
        if self._stuck or busy_threads(self._known):
            self._leave(code)

    def _leave(self, code: int) -> None:
        with contextlib.suppress(Exception):
            atexit._run_exitfuncs()  # noqa: SLF001 - os._exit does not run them
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)

    # Signals ----------------------------------------------------------------------------------------

    def _signalled(self, number: int, _: FrameType | None) -> None:
        """Handle a signal in the main thread, where Python calls it between two bytecodes."""
        self._backstop.hold()
        mine = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        if mine != self._writing:  # replaced, by an event loop's own handlers say: our thread was not woken
            signal.set_wakeup_fd(mine)
            with contextlib.suppress(BlockingIOError):
                os.write(self._writing, bytes([number]))
        if number == signal.SIGHUP and self.hangup is not None:
            return
        if number == signal.SIGINT and self.interrupt is not None and self._interrupts:
            self.interrupt()
            return
        if self.interruptible:
            self._thrown = True
            self.first = self.first or signal.Signals(number)
            raise KeyboardInterrupt
        if self._loop is None:
            self._early = signal.Signals(number)

    @property
    def _interrupts(self) -> bool:
        """Whether SIGINT ends something else than the command."""
        return self.interrupt is not None and self.first is None and not self._closing

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        while True:
            now = time.monotonic()
            times = [at for at in (self._notice, self._deadline) if at is not None]
            # At most a second, as other threads may set the deadline
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
                    self._set_alarm(0.0)  # cancel the backstop's alarm
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
                self._print_holdups()

    def _take(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP and self.hangup is not None:
            self._call(self.hangup)
        elif number is signal.SIGINT and self._interrupts:
            pass  # the main thread's handler acts on it
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
            with contextlib.suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(action)

    def _set_deadline(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._set_alarm(seconds + _KERNELS)

    def _set_alarm(self, seconds: float) -> None:
        """Set the kernel's timer, which ends the process after our own deadline; the backstop uses it too."""
        if signal.getsignal(signal.SIGALRM) is signal.SIG_DFL:  # not used by an extension
            signal.setitimer(signal.ITIMER_REAL, seconds)

    # What delays the end ----------------------------------------------------------------------------

    def _holdups(self) -> str:
        try:
            owners = {} if self.plugins is None else owners_of(self.plugins)
            return "; ".join([*holdups(self._loop, owners, known=self._known), *self.others()])
        except Exception as error:  # threads and tasks may change while they are inspected
            return f"what cannot be described ({type(error).__name__})"

    def _print_holdups(self) -> None:
        found = self._holdups()
        if found and self._deadline is not None:
            left = self._deadline - time.monotonic()
            self._printer.remark(
                f"oddwire: waiting for {found}; ends in {max(left, 0.0):.0f} s, or at once at a second signal"
            )

    def _end(self, how: str, number: signal.Signals | None) -> None:
        """Print what delays the end, and exit the process without further waiting."""
        code = (self.code or 1) if number is None else signal_code(number)
        self._exiting = True  # what is abandoned below may be all that the command waits for
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


def signal_code(number: signal.Signals) -> int:
    """Return the exit code for a signal, as in a shell: 128 plus its number."""
    return 128 + number


def on_stop(action: Callable[[signal.Signals], object]) -> None:
    """Make the first signal call ``action`` on the event loop, instead of cancelling the command.

    Call it at once if that signal has come: code that ran at the start may have swallowed the cancellation.
    """
    if _current is not None:
        _current.stop = action
        if _current.first is not None:
            action(_current.first)


def on_hangup(action: Callable[[], object]) -> None:
    """Make every SIGHUP call ``action`` on the event loop, instead of ending the command."""
    if _current is not None:
        _current.hangup = action


def on_interrupt(action: Callable[[], object] | None) -> None:
    """Make every SIGINT call ``action`` in the main thread, instead of ending the command; None undoes it.

    It is called by the signal handler, wherever the main thread is, and may raise `KeyboardInterrupt` there. Once
    another signal has asked for the end, SIGINT ends the process as ever.
    """
    if _current is not None:
        _current.interrupt = action


def on_abandon(action: Callable[[], object], holdups: Callable[[], list[str]] = list) -> None:
    """Call ``action``, in some thread, before the process is ended without a complete shutdown.

    ``holdups()``, called in that thread too, returns what delays the end besides code in this process.
    """
    if _current is not None:
        _current.abandon, _current.others = action, holdups


def watch_over(plugins: PluginManager) -> None:
    """Name these extensions where their functions delay the end."""
    if _current is not None:
        _current.plugins = plugins


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Context manager for importing extensions: a signal raises `KeyboardInterrupt` at once, as nothing runs yet."""
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


def _exit_soon(code: int) -> None:
    """Exit the process after a second, in case what delays it cannot be printed."""
    time.sleep(2 * _LAST_WORDS)
    os._exit(code)


def _forked() -> None:
    """Restore the signal handlers in a forked child: ours would write its signals to the parent's pipe, and end it."""
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
