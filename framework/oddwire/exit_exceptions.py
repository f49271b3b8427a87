"""Which exceptions out of an author's code are no failure of that code."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

__all__ = ["is_signal", "must_pass", "spelled"]


def must_pass(error: BaseException, task: asyncio.Task[Any] | None = None) -> bool:
    """Say whether an exception out of an author's code is no failure of it: our own task is to end, or the program.

    ``task`` is the one that ran the code; None for code that was called and not awaited, or is not told.
    """
    import asyncio  # slow to import; a host node need not wait for it to hear what we are

    if isinstance(error, Exception):
        return False
    if isinstance(error, asyncio.CancelledError):
        current = _current_task()
        return current is not None and current.cancelling() > 0
    if isinstance(error, GeneratorExit):
        # Whoever closes a coroutine that waits is not the task that runs it
        return task is not None and _current_task() is not task
    return isinstance(error, KeyboardInterrupt) and is_signal(error)


def is_signal(error: KeyboardInterrupt) -> bool:
    """Say whether a signal has brought it, and not a ``raise`` of somebody's.

    Python's own handler raises between two instructions of whatever runs, and others by a ``raise`` of their own.
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
    """Write the kind of an exception, and its text if it has one."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _current_task() -> asyncio.Task[Any] | None:
    import asyncio

    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs: what is left is being tidied up
        return None


def _code_of(function: object) -> object:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(getattr(function, "__func__", function), "__code__", None)
