"""The standard streams of a command: what is printed never fails for what it holds, and stdout may be ours alone."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

from oddwire.printable import indented, printable

if TYPE_CHECKING:
    from oddwire.cli.events import Printer

__all__ = ["claim_stdout", "command_stdout", "ready_streams", "stdout_aside", "watched"]

_claimed: TextIO | None = None


def ready_streams(*, stdout: bool = True) -> None:
    """Have stdout and stderr spell with a backslash what their encoding cannot say, where Python would raise.

    What was printed so far is written. ``stdout`` may be left alone, as long as it may still be claimed.
    """
    for stream in (sys.stdout, sys.stderr) if stdout else (sys.stderr,):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors="backslashreplace")


def command_stdout(as_json: bool) -> TextIO | None:
    """Return what a command prints events on, as `Printer` takes it: with JSON, nothing else is to be printed there."""
    if as_json:
        return claim_stdout()
    ready_streams()
    return None


def claim_stdout() -> TextIO | None:
    """Return stdout under a descriptor of its own, not inherited by children; all else that is printed is on stderr.

    ``print``, C libraries and child processes write to descriptor 1, which is stderr's file from now on; so does what
    was printed before and is still in Python's buffer. Further calls give the same. None if the process has no stdout,
    or another one than that.
    """
    global _claimed
    if _claimed is None and _is_real():
        encoding = sys.stdout.encoding
        ours = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
        _point_at_stderr()
        ready_streams()
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)  # as stderr, between whose lines it is read
        _claimed = open(ours, "w", encoding=encoding, errors="backslashreplace")  # noqa: PTH123, SIM115 - for good
    return _claimed


@contextlib.contextmanager
def stdout_aside() -> Iterator[None]:
    """Have what is printed within written to stderr: it may turn out that stdout is not for it."""
    if not _is_real():
        yield
        return
    kept = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
    _point_at_stderr()
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _is_real() -> bool:
    """Say whether Python's stdout is the process's: it may be closed, or one in memory."""
    try:
        return sys.stdout.fileno() == 1
    except (AttributeError, OSError, ValueError):
        return False


def _point_at_stderr() -> None:
    if sys.stderr is not None:
        os.dup2(2, 1)
    else:  # closed by the shell: descriptor 2 may be anything by now
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)


@contextlib.contextmanager
def watched(printer: Printer) -> Iterator[None]:
    """Have what Python itself would print on stderr printed by ``printer`` within: its texts may be a peer's.

    That are warnings, and exceptions that end a thread or that nobody can be told of.
    """

    def warn(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any) -> None:
        printer.remark(f"warning: {filename}:{lineno}: {category.__name__}: {message}")

    def fail(what: str, error: BaseException | None) -> None:
        told = "" if error is None else "".join(traceback.format_exception(error)).rstrip("\n")
        printer.log("\n".join([printable(what), *([indented(told)] if told else [])]))

    def end_thread(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_type is not SystemExit:
            name = "a thread" if arguments.thread is None else f"thread {arguments.thread.name}"
            fail(f"ERROR: {name} ended with an exception", arguments.exc_value)

    def ignore(arguments: Any) -> None:
        fail(f"ERROR: {arguments.err_msg or 'an exception is ignored in'}: {arguments.object!r}", arguments.exc_value)

    kept = warnings.showwarning, threading.excepthook, sys.unraisablehook
    warnings.showwarning, threading.excepthook, sys.unraisablehook = warn, end_thread, ignore
    try:
        yield
    finally:
        warnings.showwarning, threading.excepthook, sys.unraisablehook = kept
