"""Whose turn it is to send to a peer: first come, first served, at the peer's pace."""

from __future__ import annotations

import asyncio
from collections import deque

from oddwire.errors import ConnectionClosed
from oddwire.transports.cln.pacing import ClnLimits, Pace

__all__ = ["SendQueue"]


class SendQueue:
    """The way to one peer. `start_send`, or wait for `turn`; then send, and call `end_send`.

    ``head`` is how the parameters of ``sendcustommsg`` begin for this peer.
    """

    __slots__ = ("_loop", "_pace", "_timer", "_turns", "_waiting", "head")

    def __init__(self, head: bytes, limits: ClnLimits, loop: asyncio.AbstractEventLoop) -> None:
        self.head = head
        self._loop = loop
        self._turns = 0  # of those who have been waked, and have not begun
        self._pace = Pace(limits, loop.time())
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def start_send(self, size: int) -> bool:
        """Begin at once, if nobody waits and the pace allows it."""
        if self._waiting or self._turns:
            return False
        return self._pace.start_saved(size) or self._pace.start_send(size, self._loop.time())

    async def turn(self, size: int) -> None:
        """Wait to begin. Cancelled, nothing has begun. Raises `ConnectionClosed` when the queue is closed."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((future, size))
        if len(self._waiting) == 1 and not self._turns:
            self._go_on()  # else it could begin at once, before those whose turn has come and who have not begun
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._turns -= 1
                self.end_send()  # it was our turn, and is another's now
            else:
                self._go_on()
            raise
        finally:
            del future  # whose error's traceback holds this frame
        self._turns -= 1
        if self._waiting:
            self._go_on()

    def end_send(self) -> None:
        """Take note that the node has answered: the next may come."""
        self._pace.end_send()
        if self._waiting:
            self._go_on()

    def close(self, reason: str) -> None:
        """Let those who wait know that the peer is gone."""
        self._stop_timer()
        while self._waiting:
            future, _ = self._waiting.popleft()
            if not future.done():
                future.set_exception(ConnectionClosed(reason))

    def _go_on(self) -> None:
        waiting = self._waiting
        while waiting:
            future, size = waiting[0]
            if not future.done():
                if not self._pace.start_send(size, self._loop.time()):
                    self._wait(self._pace.delay(size))
                    return
                future.set_result(None)
                self._turns += 1
            waiting.popleft()
        self._stop_timer()

    def _wait(self, delay: float | None) -> None:
        self._stop_timer()
        if delay is not None:
            self._timer = self._loop.call_later(delay, self._go_on)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
