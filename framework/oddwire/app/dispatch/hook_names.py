"""Names of extensions' hooks for the log: the function that has raised, or that a task is running, and its kind.

Neither is recorded when a hook is called: both are read from the frames of an exception, or of a task.
"""

from __future__ import annotations

import asyncio
from types import CodeType, FrameType
from typing import Any, Final

from oddwire.app.declarations.handlers import name_of
from oddwire.app.extension import Extension

__all__ = ["failed_hook", "locals_of", "running_hook"]

_DEPTH: Final = 16  # maximum number of our calls around one of the author's

_KINDS: Final[dict[CodeType, str]] = {
    Extension.startup.__code__: "on_startup",
    Extension.ready.__code__: "on_ready",
    Extension.peer_connected.__code__: "on_connect",
    Extension.peer_disconnected.__code__: "on_disconnect",
    Extension.delivery_failed.__code__: "on_undelivered",
    Extension._call_on_error.__code__: "on_error",  # noqa: SLF001
    Extension._run_all.__code__: "",  # noqa: SLF001 - of several kinds, which it knows
}
"""The methods of `Extension` that await an author's hooks, each in its variable ``function``."""


def failed_hook(error: BaseException) -> str | None:
    """Return the kind and name of the extension's hook that has raised, ``on_connect greet``; None if none has."""
    trace = error.__traceback__
    while trace is not None:
        if (name := _hook_in(trace.tb_frame)) is not None:
            return name
        trace = trace.tb_next
    return None


def running_hook(task: asyncio.Task[Any]) -> str | None:
    """Return the kind and name of the extension's hook that a task is running; None if it runs none."""
    awaited: Any = task.get_coro()
    for _ in range(_DEPTH):
        frame = getattr(awaited, "cr_frame", None)
        if frame is None:
            return None
        if (name := _hook_in(frame)) is not None:
            return name
        awaited = awaited.cr_await
    return None


def _hook_in(frame: FrameType) -> str | None:
    kind = _KINDS.get(frame.f_code)
    if kind is None:
        return None
    function, known = locals_of(frame, "function", "kind")
    return None if function is None else f"{kind or known} {name_of(function)}"


def locals_of(frame: FrameType, *names: str) -> list[Any]:
    """Return the values of a frame's local variables, None for those that it does not have."""
    found = frame.f_locals
    values = [found.get(name) for name in names]
    if isinstance(found, dict):  # before Python 3.13 a copy, to which the frame refers
        found.clear()
    return values
