"""The tasks of an application: none of them outlives it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

__all__ = ["Tasks"]


class Tasks:
    """Tasks that are waited for, or cancelled, when the application closes."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._base = contextvars.copy_context()  # a task of ours is no part of what its maker is doing
        self._running: set[asyncio.Task[Any]] = set()  # the loop holds tasks weakly
        self._hurry = self._loop.create_future()  # done: closing waits for nobody
        self.ending = False
        """Whether tasks are cancelled, or were: a cancellation is ours, and no handler's own."""
        self.cancelling = False
        """Whether they are being cancelled: what is started now would end before it has begun."""
        self.forget = self._running.discard
        """Tell that a task of `spawn_briefly` has ended."""

    def __contains__(self, task: object) -> bool:
        return task in self._running

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task."""
        task = self.spawn_briefly(work)
        task.add_done_callback(self.forget)
        return task

    def spawn_briefly(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do as `spawn` does, but without noticing its end: `forget` has to be told of that."""
        task = self._loop.create_task(work, context=self._base.copy())
        if not task.done():
            self._running.add(task)
        return task

    def hurry(self) -> None:
        """Let `settle` wait for nobody any more."""
        if not self._hurry.done():
            self._hurry.set_result(None)

    async def settle(self, grace: float) -> None:
        """Wait ``grace`` seconds for every task, and for those that these start, then cancel the rest."""
        end = self._loop.time() + grace
        try:
            while tasks := self._unfinished():
                everyone = asyncio.gather(*tasks, return_exceptions=True)
                left = max(0.0, end - self._loop.time())
                await asyncio.wait([everyone, self._hurry], timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if not everyone.done():
                    break
        finally:
            self.ending = self.cancelling = True
            try:
                while tasks := self._unfinished():
                    for task in tasks:
                        task.cancel("the application is closing")
                    await asyncio.wait(tasks)
            finally:
                self.cancelling = False

    def _unfinished(self) -> list[asyncio.Task[Any]]:
        return [task for task in self._running if not task.done()]
