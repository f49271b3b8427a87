"""Waiting in order for room that others take and leave."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

__all__ = ["FairQueue"]


class FairQueue(deque[tuple[int, "asyncio.Future[None]"]]):
    """Those who wait, each with the size of what it has: true if there are any.

    ``fits`` says whether one of a size may go now. Whoever leaves room, or takes some and may leave more, calls `next`.
    """

    def __init__(self, fits: Callable[[int], bool]) -> None:
        super().__init__()
        self._fits = fits

    async def wait(self, loop: asyncio.AbstractEventLoop, size: int = 0) -> None:
        """Wait for one's turn. Cancelled, it goes to the next."""
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
        """Let everybody go, now and later: there is nothing to wait for any more, and nobody to ask."""
        self._fits = _always
        for _, turn in self:
            if not turn.done():
                turn.set_result(None)

    def next(self) -> None:
        """Wake the first, if it may go."""
        if self:
            size, turn = self[0]
            if not turn.done() and self._fits(size):
                turn.set_result(None)


def _always(_: int) -> bool:
    return True
