"""Watch for hanging code: logs a handler, a hook or a run of a job that has been waiting for ten seconds, and where.

The start of a handler is not recorded, which would cost time for every message. While tasks are running, they are
inspected every two seconds: one that awaits the same call of the author's as ten seconds before is logged, once.
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
from oddwire.app.dispatch.hook_names import locals_of, running_hook
from oddwire.app.dispatch.policy import title_of
from oddwire.app.dispatch.queue_workers import QueueWorkers
from oddwire.app.dispatch.request_handlers import RequestHandlers
from oddwire.app.dispatch.slow_path import SlowPath
from oddwire.log_limits import get_logger

if TYPE_CHECKING:
    from oddwire.app.dispatch.core import Core
    from oddwire.app.dispatch.reliable_handlers import ReliableHandlers

__all__ = ["HandlerWatch"]

logger = get_logger("oddwire.app")

_PATIENCE: Final = 10.0  # seconds until a call that has not ended is logged
_LOOK: Final = 2.0  # seconds between two inspections
_MOST: Final = 32  # calls logged per inspection; the others at the next ones
_DEPTH: Final = 12  # maximum number of our calls around one of the author's


class _Work(NamedTuple):
    """A running call of the author's code: its description, its extension, its peer, and what waits for its end."""

    what: str
    owner: str
    peer: object
    waits: str


class HandlerWatch:
    """Inspects the tasks of one application, while any of them is busy."""

    def __init__(self, core: Core, hooks: ConnectionHooks) -> None:
        self._core = core
        self._hooks = hooks
        self._timer: asyncio.TimerHandle | None = None
        # When a call was first seen, None once it has been logged
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
        """Watch the handlers of reliable messages too, whose module is only loaded with the store."""
        self._kinds[type(handlers)._handle.__code__] = _message_in_order  # noqa: SLF001

    def arm(self) -> None:
        """Start the timer of inspections, because a task becomes busy."""
        if self._timer is None:
            self._core.tasks.unwatched = False
            self._timer = self._core.loop.call_later(_LOOK, self._look)

    def close(self) -> None:
        """Stop the inspections."""
        self._core.tasks.unwatched = False
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        seen: WeakKeyDictionary[Any, float | None] = WeakKeyDictionary()
        busy = True
        try:
            busy = self._inspect(seen)
        finally:  # whatever an inspection meets, it is not the last
            self._seen = seen
            if busy or seen:
                self.arm()
            else:
                self._core.tasks.unwatched = True

    def _inspect(self, seen: WeakKeyDictionary[Any, float | None]) -> bool:
        """Log the calls that have been waiting, and add all to ``seen``; return whether any task is busy."""
        now, before = self._core.loop.time(), self._seen
        busy, logged = False, 0
        for task in self._busy():
            busy = True
            found = self._find(task)
            if found is None:
                continue
            frame, call = found
            try:
                since = seen[call] = before.get(call, now)
            except TypeError:
                # No Python coroutine, which cannot be distinguished from the next one: an author's awaitable, or the
                # future that a worker has slept on, in the moment between its being done and the worker's going on
                continue
            if since is not None and now - since >= _PATIENCE and logged < _MOST:
                logged += 1
                seen[call] = None
                self._log(task, frame, now - since)
        return busy

    def _busy(self) -> Iterator[asyncio.Task[Any]]:
        """Yield the tasks that may be in the author's code, without the workers of idle queues."""
        idle = {queue.worker for queue in self._core.queues.values() if queue.wake is not None}
        for task in self._core.tasks:
            if task not in idle:
                yield task
        for task in (*self._core.background.running,):
            if _code_of(task.get_coro()) is _REPEAT and self._find(task) is not None:  # during a run of the job
                yield task

    def _find(self, task: asyncio.Task[Any]) -> tuple[FrameType, Any] | None:
        """Return our frame that awaits a call of the author's, and that call; None if there is none."""
        awaited: Any = task.get_coro()
        for _ in range(_DEPTH):
            frame = getattr(awaited, "cr_frame", None)
            if frame is None:
                return None
            call = awaited.cr_await
            if frame.f_code in self._kinds:
                if _code_of(call) is _RESTING:  # before the handler is called, its rate may let it wait
                    call = call.cr_await
                return (frame, call) if call is not None and _code_of(call) is not _STREAM else None
            awaited = call
        return None

    def _log(self, task: asyncio.Task[Any], frame: FrameType, seconds: float) -> None:
        from oddwire.app.unfinished import spot_of  # seldom needed

        spot = spot_of(task)
        work = self._kinds[frame.f_code](frame)
        if spot is None or work is None:  # waits in our code, for example to send its reply
            return
        text = "; it waits at %s. Use a timeout, such as asyncio.timeout(5), or context.spawn()"
        what, about = f"{running_hook(task) or work.what} of {work.owner!r}", {"extension": work.owner}
        if work.peer is None:
            logger.warning("%s has not ended after %.0f s: %s" + text, what, seconds, work.waits, spot, extra=about)
        else:
            logger.warning(
                "%s with %s has not ended after %.0f s: %s" + text,
                *(what, work.peer, seconds, work.waits, spot),
                extra=about,
            )

    def _hook(self, frame: FrameType) -> _Work | None:
        hook = locals_of(frame, "hook")[0]
        if hook is None:
            return None
        what, waits = self._hooks.describe(hook)
        return _Work(what, hook.call.plugin, hook.queue.peer, waits)


def _message(frame: FrameType) -> _Work | None:
    context, message = locals_of(frame, "context", "message")
    if context is None or message is None:
        return None
    what = f"handler of {title_of(message)}"
    return _Work(what, context.extension, context.peer, "its message stays in memory")


def _message_in_order(frame: FrameType) -> _Work | None:
    work = _message(frame)
    return None if work is None else work._replace(waits="later messages of this peer wait for it")


def _job(frame: FrameType) -> _Work | None:
    job, context = locals_of(frame, "job", "context")
    if job is None:
        return None
    peer = context.peer if isinstance(context, Context) else None
    return _Work(job.title, context.extension, peer, "its next run waits for it")


def _code_of(call: object) -> object:
    return getattr(call, "cr_code", None)


_RESTING: Final = SlowPath._in_time.__code__  # noqa: SLF001
_REPEAT: Final = Background._repeat.__code__  # noqa: SLF001 - tasks go on by design
_STREAM: Final = RequestHandlers._answer_stream.__code__  # noqa: SLF001 - it goes on for as long as it is read
