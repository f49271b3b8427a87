"""Who handles a request of a peer's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Answering"]


class Answering:
    """The task that handles a request, which may wait for credit. ``ended`` is told when it was cancelled."""

    __slots__ = ("_ended", "credit", "task")

    def __init__(self, task: asyncio.Task[None], ended: Callable[[asyncio.Task[None]], None]) -> None:
        self.task = task
        self._ended = ended
        self.credit: asyncio.Future[None] | None = None

    def cancel(self) -> None:
        """Cancel the task, which may not even have begun."""
        self.task.add_done_callback(self._ended)
        self.task.cancel()

    def wake(self) -> None:
        """Tell the task that there is more credit."""
        if self.credit is not None and not self.credit.done():
            self.credit.set_result(None)
