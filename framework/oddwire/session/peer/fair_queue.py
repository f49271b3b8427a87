"""Waiting in order for shared capacity."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

__all__ = ["FairQueue"]


class FairQueue(deque[tuple[int, "asyncio.Future[None]"]]):
    """Waiting tasks, first in, first out, each with the size that it needs. True while any task waits.

    ``fits(size)`` returns whether there is capacity for ``size`` now. Call `next` after capacity was released, and
    after some was taken, as there may be enough left for the next task.
    """

    def __init__(self, fits: Callable[[int], bool]) -> None:
        super().__init__()
        self._fits = fits

    async def wait(self, loop: asyncio.AbstractEventLoop, size: int = 0) -> None:
        """Wait until there is capacity for ``size`` and no earlier task waits. If cancelled, the next task is woken."""
        entry = (size, loop.create_future())
        self.append(entry)
        try:
            await entry[1]
        except BaseException:
            self.remove(entry)
            self.next()  # this one may have been woken
            raise
        self.remove(entry)

    def close(self) -> None:
        """Wake all waiting tasks, and let later ones pass: the session has ended, and ``fits`` is not called again."""
        self._fits = _always
        for _, turn in self:
            if not turn.done():
                turn.set_result(None)

    def next(self) -> None:
        """Wake the first waiting task if there is capacity for it."""
        if self:
            size, turn = self[0]
            if not turn.done() and self._fits(size):
                turn.set_result(None)


def _always(_: int) -> bool:
    return True
