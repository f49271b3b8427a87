"""Names what does not end: a handler, a hook or a run of a job that has been waiting for ten seconds, and where.

Nothing is noted when a handler begins, which would be paid for by every message. While anything is under way, the tasks
are looked at every two seconds: whoever awaits the same call of an author's as ten seconds before is named, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from oddwire.app.context import Context
from oddwire.app.dispatch.background import Background
from oddwire.app.dispatch.connection_hooks import ConnectionHooks
from oddwire.app.dispatch.queue_workers import QueueWorkers
from oddwire.app.dispatch.request_handlers import RequestHandlers
from oddwire.app.dispatch.slow_path import SlowPath
from oddwire.log_limits import get_logger

if TYPE_CHECKING:
    from oddwire.app.dispatch.core import Core
    from oddwire.app.dispatch.reliable_handlers import ReliableHandlers

__all__ = ["HandlerWatch"]

logger = get_logger("oddwire.app")

_PATIENCE: Final = 10.0  # seconds until something that has not ended is named
_LOOK: Final = 2.0  # seconds from one look to the next
_MOST: Final = 32  # named at one look; the others at the next ones
_DEPTH: Final = 12  # calls of ours around one of an author's, at most


class _Work(NamedTuple):
    """Something of an author's that is under way: what it is, with whom, and what waits for its end."""

    what: str
    peer: object
    waits: str


class HandlerWatch:
    """Looks at the tasks of one application, while there are any that do something."""

    def __init__(self, core: Core, hooks: ConnectionHooks) -> None:
        self._core = core
        self._hooks = hooks
        self._timer: asyncio.TimerHandle | None = None
        # Since when a call has been seen, and None once that was told
        self._seen: WeakKeyDictionary[Any, float | None] = WeakKeyDictionary()
        self._kinds: dict[CodeType, Callable[[FrameType], _Work | None]] = {
            QueueWorkers._work.__code__: _message_in_order,  # noqa: SLF001
            SlowPath._alone.__code__: _message,  # noqa: SLF001
            RequestHandlers._answer.__code__: _message,  # noqa: SLF001
            Background._run.__code__: _job,  # noqa: SLF001
            ConnectionHooks._run.__code__: self._hook,  # noqa: SLF001
        }
        core.tasks.unwatched, core.tasks.watch = True, self.arm
        core.background.arm = self.arm

    def watch_reliable(self, handlers: ReliableHandlers) -> None:
        """Look at the handlers of reliable messages, too, whose module is loaded with the store alone."""
        self._kinds[type(handlers)._handle.__code__] = _message_in_order  # noqa: SLF001

    def arm(self) -> None:
        """Begin to look: something begins."""
        if self._timer is None:
            self._core.tasks.unwatched = False
            self._timer = self._core.loop.call_later(_LOOK, self._look)

    def close(self) -> None:
        """Look no more."""
        self._core.tasks.unwatched = False
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        now, seen, before = self._core.loop.time(), WeakKeyDictionary[Any, float | None](), self._seen
        busy, told = False, 0
        for task in self._busy():
            busy = True
            found = self._find(task)
            if found is None:
                continue
            frame, call = found
            since = before.get(call, now)
            if since is not None and now - since >= _PATIENCE and told < _MOST:
                told += 1
                self._tell(task, frame, now - since)
                since = None
            try:
                seen[call] = since
            except TypeError:  # no coroutine of Python's: it cannot be told from the next one
                continue
        self._seen = seen
        if busy or seen:
            self.arm()
        else:
            self._core.tasks.unwatched = True

    def _busy(self) -> Iterator[asyncio.Task[Any]]:
        """Return the tasks that may be in an author's code, those of queues that wait for messages left out."""
        idle = {queue.worker for queue in self._core.queues.values() if queue.wake is not None}
        for task in self._core.tasks:
            if task not in idle:
                yield task
        for task in (*self._core.background.running,):
            if _code_of(task.get_coro()) is _REPEAT and self._find(task) is not None:  # a run of it
                yield task

    def _find(self, task: asyncio.Task[Any]) -> tuple[FrameType, Any] | None:
        """Return the frame of ours that awaits a call of an author's, and that call."""
        awaited: Any = task.get_coro()
        for _ in range(_DEPTH):
            frame = getattr(awaited, "cr_frame", None)
            if frame is None:
                return None
            call = awaited.cr_await
            if frame.f_code in self._kinds:
                return (frame, call) if call is not None and _code_of(call) is not _STREAM else None
            awaited = call
        return None

    def _tell(self, task: asyncio.Task[Any], frame: FrameType, seconds: float) -> None:
        from oddwire.app.unfinished import spot_of  # seldom needed

        spot = spot_of(task)
        work = self._kinds[frame.f_code](frame)
        if spot is None or work is None:  # it waits for us: to send its reply, say
            return
        text = "; it waits at %s. A timeout helps, asyncio.timeout(5) say, or context.spawn()"
        if work.peer is None:
            logger.warning("%s has not ended after %.0f s: %s" + text, work.what, seconds, work.waits, spot)
        else:
            logger.warning(
                "%s with %s has not ended after %.0f s: %s" + text, work.what, work.peer, seconds, work.waits, spot
            )

    def _hook(self, frame: FrameType) -> _Work | None:
        hook = _locals(frame, "hook")[0]
        if hook is None:
            return None
        what, waits = self._hooks.describe(hook)
        return _Work(what, hook.queue.peer, waits)


def _message(frame: FrameType) -> _Work | None:
    context, message = _locals(frame, "context", "message")
    if context is None or message is None:
        return None
    what = f"handler of {type(message).__name__} of {context.extension!r}"
    return _Work(what, context.peer, "it holds what it was given")


def _message_in_order(frame: FrameType) -> _Work | None:
    work = _message(frame)
    return None if work is None else work._replace(waits="what this peer has sent since waits for it")


def _job(frame: FrameType) -> _Work | None:
    job, context = _locals(frame, "job", "context")
    if job is None:
        return None
    peer = context.peer if isinstance(context, Context) else None
    return _Work(f"{job.title} of {context.extension!r}", peer, "its next run waits for it")


def _locals(frame: FrameType, *names: str) -> list[Any]:
    """Return what a frame calls so, None for what it has not."""
    found = frame.f_locals
    values = [found.get(name) for name in names]
    if isinstance(found, dict):  # before Python 3.13 a copy, which the frame would keep
        found.clear()
    return values


def _code_of(call: object) -> object:
    return getattr(call, "cr_code", None)


_REPEAT: Final = Background._repeat.__code__  # noqa: SLF001 - tasks go on by design
_STREAM: Final = RequestHandlers._answer_stream.__code__  # noqa: SLF001 - it goes on for as long as it is read
