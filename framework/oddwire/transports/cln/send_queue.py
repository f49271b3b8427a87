"""The order of senders to a peer: first come, first served, at the peer's pace."""

from __future__ import annotations

import asyncio
from collections import deque

from oddwire.errors import ConnectionClosed
from oddwire.transports.cln.pacing import ClnLimits, Pace

__all__ = ["SendQueue"]


class SendQueue:
    """The senders to one peer. Call `start_send`, or await `turn`; then send, and call `end_send`.

    ``head`` is the start of the parameters of ``sendcustommsg`` for this peer.
    """

    __slots__ = ("_loop", "_pace", "_timer", "_turns", "_waiting", "head")

    def __init__(self, head: bytes, limits: ClnLimits, loop: asyncio.AbstractEventLoop) -> None:
        self.head = head
        self._loop = loop
        self._turns = 0  # senders that were woken and have not begun
        self._pace = Pace(limits, loop.time())
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def start_send(self, size: int) -> bool:
        """Begin at once and return True, if nobody waits and the pace allows it."""
        if self._waiting or self._turns:
            return False
        return self._pace.start_saved(size) or self._pace.start_send(size, self._loop.time())

    async def turn(self, size: int) -> None:
        """Wait to begin. If cancelled, nothing has begun. Raises `ConnectionClosed` when the queue is closed."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((future, size))
        if len(self._waiting) == 1 and not self._turns:
            self._go_on()  # otherwise it could overtake senders that were woken and have not begun
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._turns -= 1
                self.end_send()  # pass our turn on to the next sender
            else:
                self._go_on()
            raise
        finally:
            del future  # its error's traceback holds this frame
        self._turns -= 1
        if self._waiting:
            self._go_on()

    def end_send(self) -> None:
        """Note that the node has answered: the next sender may begin."""
        self._pace.end_send()
        if self._waiting:
            self._go_on()

    def close(self, reason: str) -> None:
        """Fail waiting senders: the peer has disconnected."""
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
