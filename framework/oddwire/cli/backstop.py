"""Ending a process by signals without running Python, for C code that holds the interpreter's lock (the GIL).

No Python signal handler and no other thread runs then, so it is done by the kernel. The byte that Python's C handler
writes to a pipe for every signal raises another signal, whose handler is libc's ``alarm``, which takes the signal's
number as seconds. And a second SIGINT or SIGTERM ends the process, as Python has not handled the first.

If Python does run, it undoes both within microseconds. It needs Linux; elsewhere it does nothing.
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
"""A signal that Linux never sends by itself; its number is the time limit in seconds."""


class Backstop:
    """Works from `arm` to `disarm`."""

    def __init__(self) -> None:
        self._reading = -1
        self._hold: Callable[[], object] = lambda: None

    def arm(self, reading: int, fatal: tuple[signal.Signals, ...]) -> None:
        """Set up the handlers. ``reading`` is the pipe of `signal.set_wakeup_fd`.

        ``fatal`` are the signals that end the process the second time; their Python handlers are already installed.
        """
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
        """Restore Python's handlers of the fatal signals: Python has seen the first. Callable from any thread."""
        self._hold()

    def disarm(self) -> None:
        """Remove the handlers. The caller has to restore those of the ``fatal`` signals."""
        faulthandler.unregister(signal.SIGALRM)
        if self._reading >= 0:
            # Before the pipe is closed, which would raise the relay signal too
            fcntl.fcntl(self._reading, fcntl.F_SETFL, fcntl.fcntl(self._reading, fcntl.F_GETFL) & ~os.O_ASYNC)
            signal.signal(RELAY, signal.SIG_IGN)  # discards one that is pending, which would end the process
            signal.signal(RELAY, signal.SIG_DFL)
