"""Exceptions that leave an author's code without being its failure: cancellation, and the end of the program."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

__all__ = ["is_signal", "must_pass", "spelled"]


def must_pass(error: BaseException, task: asyncio.Task[Any] | None = None) -> bool:
    """Return whether an exception from an author's code must propagate: our own task is to end, or the program.

    ``task`` is the task that ran the code; None for code that was called, not awaited, or if unknown.
    """
    import asyncio  # slow to import, and a host node waits for our manifest

    if isinstance(error, Exception):
        return False
    if isinstance(error, asyncio.CancelledError):
        current = _current_task()
        return current is not None and current.cancelling() > 0
    if isinstance(error, GeneratorExit):
        # A waiting coroutine may be closed by another task than the one that runs it
        return task is not None and _current_task() is not task
    return isinstance(error, KeyboardInterrupt) and is_signal(error)


def is_signal(error: KeyboardInterrupt) -> bool:
    """Return whether a `KeyboardInterrupt` comes from a signal, not from a ``raise`` statement.

    Python's own signal handler raises between two instructions of the running code; others by a ``raise``.
    """
    import dis
    import signal

    last: TracebackType | None = None
    handler = _code_of(signal.getsignal(signal.SIGINT))
    trace = error.__traceback__
    while trace is not None:
        if handler is not None and trace.tb_frame.f_code is handler:
            return True
        last, trace = trace, trace.tb_next
    if last is None:
        return False
    return last.tb_frame.f_code.co_code[last.tb_lasti] != dis.opmap["RAISE_VARARGS"]


def spelled(error: BaseException) -> str:
    """Return the class name of an exception, and its text if it has one."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _current_task() -> asyncio.Task[Any] | None:
    import asyncio

    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs: remaining objects are being finalized
        return None


def _code_of(function: object) -> object:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(getattr(function, "__func__", function), "__code__", None)
