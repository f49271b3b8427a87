"""The tasks of an application, which do not outlive it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

from oddwire.log_limits import get_logger
from oddwire.printable import printable

__all__ = ["Tasks"]

logger = get_logger("oddwire.app")

_UNWINDING: Final = 2.0  # seconds that cancelled tasks have for their cleanup


class Tasks:
    """Tasks that are awaited, or cancelled, when the application closes."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._base = contextvars.copy_context()  # tasks do not inherit the context of the code that starts them
        self._running: set[asyncio.Task[Any]] = set()  # the event loop only has weak references to tasks
        self.grace_ended = self._loop.create_future()
        """Once done, closing does not wait for tasks any more."""
        self.ending = False
        """Whether tasks are being or have been cancelled here: then a cancellation is not a handler's own."""
        self.cancelling = False
        """Whether tasks are being cancelled: a task started now would end before it begins."""
        self.unwatched = False
        """Whether ``watch`` should be called when a task becomes busy."""
        self.watch: Callable[[], object] = lambda: None
        self.discard = self._running.discard
        """To be called with a task of `spawn_briefly` that has ended."""

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        return iter((*self._running,))

    @property
    def count(self) -> int:
        """How many tasks are running."""
        return len(self._running)

    def __contains__(self, task: object) -> bool:
        return task in self._running

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task."""
        task = self.spawn_briefly(work)
        task.add_done_callback(self.discard)
        return task

    def spawn_briefly(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task without a done callback: when it ends, `discard` has to be called."""
        task = self._loop.create_task(work, context=self._base.copy())
        if not task.done():
            self._running.add(task)
        if self.unwatched:
            self.watch()
        return task

    def end_grace(self) -> None:
        """End the grace period of `settle` at once."""
        if not self.grace_ended.done():
            self.grace_ended.set_result(None)

    async def settle(self, grace: float) -> None:
        """Wait ``grace`` seconds for all tasks, those started meanwhile too, then cancel the rest.

        A task that swallows its cancellation is awaited for at most two seconds: it is named in the log, and not
        awaited any more.
        """
        end = self._loop.time() + grace
        try:
            while tasks := self._unfinished():
                everyone = asyncio.gather(*tasks, return_exceptions=True)
                left = max(0.0, end - self._loop.time())
                await asyncio.wait([everyone, self.grace_ended], timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if not everyone.done():
                    break
        finally:
            self.ending = self.cancelling = True
            patience = self._loop.time() + _UNWINDING
            try:
                while tasks := self._unfinished():
                    for task in tasks:
                        task.cancel("the application is closing")
                    _, stuck = await asyncio.wait(tasks, timeout=max(0.0, patience - self._loop.time()))
                    if stuck:
                        self._abandon(stuck)
            finally:
                self.cancelling = False

    def _abandon(self, tasks: set[asyncio.Task[Any]]) -> None:
        from oddwire.app.unfinished import describe_task  # imported late: seldom needed

        for task in tasks:
            self._running.discard(task)
            where = describe_task(task) or printable(task.get_name())
            logger.warning("closing without waiting any longer for tasks that do not end when cancelled: %s", where)

    def _unfinished(self) -> list[asyncio.Task[Any]]:
        return [task for task in self._running if not task.done()]
