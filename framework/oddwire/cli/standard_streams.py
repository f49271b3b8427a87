"""The standard streams of a command: printing never raises for characters, and stdout may be reserved for events."""

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
    """Make stdout and stderr escape characters that their encoding lacks with a backslash, where Python would raise.

    Their buffers are flushed. Pass False for ``stdout`` if `claim_stdout` may still be called.
    """
    for stream in (sys.stdout, sys.stderr) if stdout else (sys.stderr,):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors="backslashreplace")


def command_stdout(as_json: bool) -> TextIO | None:
    """Return the stream for a command's events, for `Printer`; with JSON, it is the one of `claim_stdout`."""
    if as_json:
        return claim_stdout()
    ready_streams()
    return None


def claim_stdout() -> TextIO | None:
    """Return stdout under a new descriptor, which children do not inherit; everything else printed goes to stderr.

    Descriptor 1, to which ``print``, C libraries and child processes write, is a copy of stderr's from now on; text in
    Python's buffer is written there too. Further calls return the same stream. None if the process has no stdout, or
    ``sys.stdout`` was replaced.
    """
    global _claimed
    if _claimed is None and _is_real():
        encoding = sys.stdout.encoding
        ours = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
        _point_at_stderr()
        ready_streams()
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(line_buffering=True)  # as stderr, to keep the order of lines
        _claimed = open(ours, "w", encoding=encoding, errors="backslashreplace")  # noqa: PTH123, SIM115 - never closed
    return _claimed


@contextlib.contextmanager
def stdout_aside() -> Iterator[None]:
    """Context manager: everything printed on stdout goes to stderr, as long as stdout may still be claimed."""
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
    """Return whether Python's stdout is descriptor 1: it may be closed, or a stream in memory."""
    try:
        return sys.stdout.fileno() == 1
    except (AttributeError, OSError, ValueError):
        return False


def _point_at_stderr() -> None:
    if sys.stderr is not None:
        os.dup2(2, 1)
    else:  # closed by the shell: another file may have descriptor 2
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)


@contextlib.contextmanager
def watched(printer: Printer) -> Iterator[None]:
    """Context manager: ``printer`` prints what Python itself would print on stderr, as it may quote text of a peer.

    That is: warnings, exceptions that end a thread, and exceptions that cannot be raised.
    """

    def warn(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any) -> None:
        printer.remark(f"warning: {filename}:{lineno}: {category.__name__}: {message}")

    def fail(what: str, error: BaseException | None) -> None:
        trace = "" if error is None else "".join(traceback.format_exception(error)).rstrip("\n")
        printer.log("\n".join([printable(what), *([indented(trace)] if trace else [])]))

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
