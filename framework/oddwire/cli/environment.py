"""Preparing the process for a command, independent of how it was started."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import threading
from typing import Final

__all__ = ["SIGNALS", "is_program", "prepare"]

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end a command."""

_FILES: Final = 64

_is_program = False


def is_program() -> bool:
    """Return whether the process ends after the command, so that the command's time limit holds for all of its end."""
    return _is_program


def prepare() -> None:
    """Prepare the process for a command. Programs call it first; libraries must not.

    Afterwards descriptors 0 to 2 are open, so that no socket or database gets their number; all characters can be
    printed, whatever the locale; and Ctrl-C ends the process without a traceback until a `Shutdown` handles it.
    """
    global _is_program
    _is_program = True
    _want_files()
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            with contextlib.suppress(OSError):
                setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - for as long as the process lives
        else:
            with contextlib.suppress(AttributeError, ValueError):
                stream.reconfigure(errors="backslashreplace")
    if threading.current_thread() is threading.main_thread():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*SIGNALS, signal.SIGALRM})
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            if signal.getsignal(number) in (signal.SIG_IGN, signal.default_int_handler):
                signal.signal(number, signal.SIG_DFL)


def _want_files() -> None:
    """Raise the limit of open files to what imports and one socket need; exit with a message if that is refused."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _FILES:
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, most))
        return
    sys.exit(
        f"oddwire: only {soft} files may be open at a time, {_FILES} at least are needed; raise the limit, ulimit -n"
    )
