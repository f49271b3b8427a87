"""Tasks and threads that keep a program from ending, each with the current line of the author's code.

Called from another thread while the program runs, or hangs: so no code here waits for a lock, and tasks or threads that
change meanwhile are left out.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import socket
import sys
import sysconfig
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import thread as _pools
from pathlib import Path
from types import AsyncGeneratorType, CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final

from oddwire.app.declarations.declared import Hook
from oddwire.app.declarations.handlers import place
from oddwire.app.extension import Extension
from oddwire.printable import printable

if TYPE_CHECKING:
    from oddwire.app.plugins.manager import PluginManager

__all__ = [
    "busy_threads",
    "describe_task",
    "holdups",
    "is_lookup",
    "owners_of",
    "place_of_thread",
    "run_loop",
    "spot_of",
]

_OURS: Final = (
    str(Path(__file__).parent.parent) + "/",
    *(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib")),
)
_INSTALLED: Final = ("/site-packages/", "/dist-packages/")  # within the standard library's folder
_CARRIERS: Final = (
    "/typer/",
    "/click/",
    "/pluggy/",
    "/rich/",
    "/nats/",
    "/grpc/",
    "/websockets/",
    "/uvicorn/",
    "/textual/",
)
"""Libraries that oddwire runs: a task that is in their code alone is no author's."""
_FRAMES: Final = ("cr_frame", "gi_frame", "ag_frame")
_AWAITED: Final = ("cr_await", "gi_yieldfrom", "ag_await")


def owners_of(plugins: PluginManager) -> dict[CodeType, str]:
    """Return the role of each function that extensions registered, by its code: ``the handler of Ask of 'quote'``."""
    found: dict[CodeType, str] = {}

    def enter(function: object, what: str) -> None:
        for code in _codes(function):
            found.setdefault(code, what)

    for owner in plugins.contributions:
        for handler in owner.handlers:
            enter(handler.function, f"the handler of {handler.message.__name__} of {owner.name!r}")
        for method in owner.rpc_methods:
            enter(method.function, f"RPC method {method.name} of {owner.name!r}")
        for job in owner.jobs:
            enter(job.function, f"{job.title} of {owner.name!r}")
        for provider in owner.providers:
            enter(provider.function, f"a provider of {owner.name!r}")
        own = owner.plugin.middlewares if isinstance(owner.plugin, Extension) else ()
        for middleware in (*owner.middlewares, *own):
            enter(middleware.function, f"middleware of {owner.name!r}")
        for unknown in owner.unknown_handlers:
            enter(unknown.function, f"the handler of {unknown.title} of {owner.name!r}")
        if isinstance(owner.plugin, Extension):
            for hook in owner.plugin.declared(Hook):
                enter(hook.function, f"the {hook.name} hook of {owner.name!r}")
    return found


def _codes(function: object) -> Iterator[CodeType]:
    """Yield the code of a function, and of those that it wraps."""
    while function is not None:
        inner = getattr(function, "__func__", function)  # a method's function
        code = getattr(inner, "__code__", None)
        if code is None and not isinstance(inner, type):
            code = getattr(getattr(type(inner), "__call__", None), "__code__", None)  # noqa: B004 - its code
        if isinstance(code, CodeType):
            yield code
        wrapped = getattr(function, "__wrapped__", None)
        function = function.func if isinstance(function, functools.partial) else wrapped


def holdups(
    loop: asyncio.AbstractEventLoop | None, owners: Mapping[CodeType, str], *, known: Collection[threading.Thread] = ()
) -> list[str]:
    """Return descriptions of the author's running code, main thread first, without oddwire's own code.

    ``known`` are threads that are ignored, because they ran before. May be called in any thread.
    """
    found: list[str] = []
    blocked = _place(_within_loop(sys._current_frames().get(threading.main_thread().ident or 0)), owners)  # noqa: SLF001
    if blocked is not None:
        found.append(f"{blocked}, which does not end")
    if loop is not None:
        texts = (describe_task(task, owners) for task in _tasks(loop))
        found += [text for text in texts if text is not None and f"{text}, which does not end" not in found]
    for thread, frame in busy_threads(known):
        if not is_lookup(frame):
            found.append(f"{_place(_outward(frame), owners) or _work(frame)}, in thread {thread.name!r}")
    return list(dict.fromkeys(found))


def describe_task(task: asyncio.Task[Any], owners: Mapping[CodeType, str] | None = None) -> str | None:
    """Return the author's function in which a task is, with its current line; None if it is in none."""
    return _place(reversed([*_inward(task.get_coro())]), owners or {})


def spot_of(task: asyncio.Task[Any]) -> str | None:
    """Return the file and line of the author's innermost function in which a task is; None if it is in none."""
    authors = [frame for frame in _inward(task.get_coro()) if _is_authors(frame.f_code.co_filename)]
    return printable(f"{authors[-1].f_code.co_filename}:{authors[-1].f_lineno}") if authors else None


def place_of_thread(frame: FrameType, owners: Mapping[CodeType, str]) -> str | None:
    """Return the place of the code that an event loop runs, by its thread's innermost frame; None if it is ours."""
    return _place(_within_loop(frame), owners)


def busy_threads(known: Collection[threading.Thread] = ()) -> list[tuple[threading.Thread, FrameType]]:
    """Return the threads that Python would join at exit, without idle pool threads, each with its innermost frame."""
    frames = sys._current_frames()  # noqa: SLF001
    found: list[tuple[threading.Thread, FrameType]] = []
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        if thread.daemon or thread is threading.main_thread() or thread in known or frame is None:
            continue
        codes = [each.f_code for each in _outward(frame)]
        if _POOL not in codes or _ITEM in codes:
            found.append((thread, frame))
    return found


def is_lookup(frame: FrameType) -> bool:
    """Return whether a thread only looks up a host name, whose answer is not needed any more."""
    return frame.f_code is socket.getaddrinfo.__code__ or frame.f_code is socket.getfqdn.__code__


_POOL: Final = _pools._worker.__code__  # noqa: SLF001 - no other way tells idle ones
_ITEM: Final = _pools._WorkItem.run.__code__  # noqa: SLF001


def _tasks(loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[Any]]:
    try:
        return sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    except RuntimeError:  # the set of tasks changes all the time
        return []


def _outward(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _within_loop(frame: FrameType | None) -> list[FrameType]:
    """Return the frames inside the event loop, or inside the program's end; the outer ones only wait for these."""
    frames = [*_outward(frame)]
    edges = [number for number, each in enumerate(frames) if each.f_code in _EDGES]
    edges = edges or [number for number, each in enumerate(frames) if each.f_code.co_filename.startswith(_OURS[0])]
    return frames[: edges[0]] if edges else frames


def run_loop(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    """Run an event loop until a task has ended; `holdups` recognises this frame and reports those inside it."""
    loop.run_until_complete(task)


_EDGES: Final = (asyncio.Runner.run.__code__, run_loop.__code__)


def _inward(awaited: object) -> Iterator[FrameType]:
    """Yield the frames of a coroutine and of the awaitables that it awaits, outermost first."""
    if _first(awaited, _FRAMES) is None:  # aclose of an async generator, by the event loop at its end
        awaited = next((v for v in gc.get_referents(awaited) if isinstance(v, AsyncGeneratorType)), awaited)
    while awaited is not None:
        frame = _first(awaited, _FRAMES)
        if isinstance(frame, FrameType):
            yield frame
        inner = _first(awaited, _AWAITED)
        if isinstance(frame, FrameType) and inner is not None and _first(inner, _FRAMES) is None:
            # The awaitable for an async generator's next item has no reference to the generator
            inner = next(
                (v for v in frame.f_locals.values() if isinstance(v, AsyncGeneratorType) and v.ag_running), inner
            )
        awaited = inner


def _first(item: object, names: Iterable[str]) -> object | None:
    return next((value for name in names if (value := getattr(item, name, None)) is not None), None)


def _place(frames: Iterable[FrameType], owners: Mapping[CodeType, str]) -> str | None:
    """Return a description of the author's innermost frame, None without one; ``frames`` come innermost first."""
    authors = [frame for frame in frames if _is_authors(frame.f_code.co_filename)]
    if not authors:
        return None
    spot = f"{authors[0].f_code.co_filename}:{authors[0].f_lineno}"
    owner = next((owners[frame.f_code] for frame in authors if frame.f_code in owners), None)
    return printable(f"{owner or authors[0].f_code.co_qualname} at {spot}")


def _is_authors(file: str) -> bool:
    if file.startswith("<"):
        return False
    if any(part in file for part in _INSTALLED):
        return not any(carrier in file for carrier in _CARRIERS) and not file.startswith(_OURS[0])
    return not file.startswith(_OURS)


def _work(frame: FrameType) -> str:
    """Return a description of a thread's function that is not written in Python."""
    for each in _outward(frame):
        if each.f_code is threading.Thread.run.__code__:
            target = getattr(each.f_locals["self"], "_target", None)
            return "work" if target is None else place(target)
        if each.f_code is _ITEM:
            function = each.f_locals["self"].fn
            if isinstance(function, functools.partial) and function.args and not inspect.isfunction(function.func):
                function = function.args[0]  # wrapped by asyncio.to_thread
            return place(function)
    return "work"
