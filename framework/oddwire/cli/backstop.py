"""An end that needs no Python: for a process in C code that keeps the interpreter's lock, so that nothing else runs.

A signal's Python handler does not run then, nor does any other thread; what is left is the kernel. So the byte that
Python's C handler writes for every signal raises another one, whose handler is libc's own ``alarm``: that takes the
signal's number for seconds. And SIGINT and SIGTERM end the process the second time, as no Python has seen the first.
Where Python does run it undoes both, within microseconds. Linux has all that this takes; elsewhere there is none of it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

__all__ = ["RELAY", "Backstop"]

RELAY: Final[int] = getattr(signal, "SIGSTKFLT", 0)
"""A signal that Linux has and never sends; its number is how many seconds there are."""


class Backstop:
    """Stands from `arm` to `disarm`. ``reading`` is the pipe that hears of signals; see `signal.set_wakeup_fd`."""

    def __init__(self) -> None:
        self._reading = -1
        self._hold: Callable[[], object] = lambda: None

    def arm(self, reading: int, fatal: tuple[signal.Signals, ...]) -> None:
        """Set it up; ``fatal`` are those that end the process the second time. Their Python handlers are installed."""
        if not RELAY or signal.getsignal(RELAY) is not signal.SIG_DFL:
            return
        with contextlib.suppress(ImportError, AttributeError, OSError):
            import ctypes

            libc = ctypes.CDLL(None)
            for function in (libc.signal, libc.sysv_signal):
                function.argtypes, function.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
            alarm = ctypes.cast(libc.alarm, ctypes.c_void_p)
            signal.signal(RELAY, lambda *_: None)
            pythons = libc.signal(RELAY, alarm)
            for number in fatal:
                libc.sysv_signal(number, pythons)
            self._hold = lambda: [libc.signal(number, pythons) for number in fatal]
            fcntl.fcntl(reading, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(reading, fcntl.F_SETSIG, RELAY)
            fcntl.fcntl(reading, fcntl.F_SETFL, fcntl.fcntl(reading, fcntl.F_GETFL) | os.O_ASYNC)
            self._reading = reading
        with contextlib.suppress(AttributeError, OSError, ValueError, RuntimeError):  # no stderr with a descriptor
            faulthandler.register(signal.SIGALRM, sys.stderr, all_threads=False, chain=True)

    def hold(self) -> None:
        """Let a second signal be handled as the first was, as some Python has seen that. For any thread."""
        self._hold()

    def disarm(self) -> None:
        """Take it away. The handlers of ``fatal`` are the caller's to install anew."""
        faulthandler.unregister(signal.SIGALRM)
        if self._reading >= 0:
            # First of all: that the pipe is closed is told by the relay, too
            fcntl.fcntl(self._reading, fcntl.F_SETFL, fcntl.fcntl(self._reading, fcntl.F_GETFL) & ~os.O_ASYNC)
            signal.signal(RELAY, signal.SIG_DFL)
