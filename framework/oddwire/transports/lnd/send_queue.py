"""The order of messages to one peer: first come, first served, one call in flight.

LND handles calls that are made at once in any order, and answers each once its message is in the peer's socket: so the
next begins when the one before has ended, which is back-pressure, too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeAlias

from oddwire.errors import ConnectionClosed

__all__ = ["SendQueue"]

_Send: TypeAlias = Callable[[bytes], Coroutine[Any, Any, None]]


class SendQueue:
    """The messages to one peer that wait, and the one in flight. ``send`` makes the call for a payload."""

    __slots__ = ("_closed", "_flying", "_loop", "_send", "_waiting")

    def __init__(self, send: _Send, loop: asyncio.AbstractEventLoop) -> None:
        self._send = send
        self._loop = loop
        self._flying: asyncio.Task[None] | None = None
        self._waiting: deque[tuple[bytes, asyncio.Future[None]]] = deque()
        self._closed: str | None = None

    def put(self, payload: bytes) -> asyncio.Future[None]:
        """Return the result of the call to be; cancelled before the call begins, there is none.

        Cancelled later, the call stands, and the next message waits for its end.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        if self._closed is not None:
            future.set_exception(ConnectionClosed(self._closed))
        elif self._flying is None:
            self._begin(payload, future)
        else:
            self._waiting.append((payload, future))
        return future

    def close(self, reason: str) -> None:
        """Fail what waits; the call in flight ends by itself. Idempotent."""
        self._closed = reason
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(ConnectionClosed(reason))

    async def finish(self) -> None:
        """Wait until nothing waits or is in flight."""
        while self._flying is not None:
            await asyncio.wait([self._flying])
            await asyncio.sleep(0)  # its callback has begun the next by then

    async def abandon(self, reason: str) -> None:
        """Close, and cancel the call in flight, too: LND may send it, or not."""
        self.close(reason)
        flying = self._flying
        if flying is not None:
            flying.cancel()
            await asyncio.wait([flying])

    def _begin(self, payload: bytes, future: asyncio.Future[None]) -> None:
        task = self._flying = self._loop.create_task(self._send(payload))
        task.add_done_callback(partial(self._ended, future))

    def _ended(self, future: asyncio.Future[None], task: asyncio.Task[None]) -> None:
        if task.cancelled():
            if not future.done():
                future.set_exception(ConnectionClosed(self._closed or "closed by us"))
        else:
            error = task.exception()
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)
        while self._waiting:
            payload, waiting = self._waiting.popleft()
            if not waiting.done():
                self._begin(payload, waiting)
                return
        self._flying = None
