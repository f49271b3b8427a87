"""The order of messages to one peer: first come, first served, one call in flight.

LND handles calls that are made at once in any order, and answers each once its message is in the peer's socket: so the
next begins when the one before has ended, which is back-pressure, too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias

from oddwire.errors import ConnectionClosed

__all__ = ["Cancellable", "Ended", "SendQueue"]

Ended: TypeAlias = Callable[[Exception | None], object]
"""Called once when a call has ended: with None if LND has sent the message, else with what to raise."""


class Cancellable(Protocol):
    """A call that was begun."""

    def cancel(self) -> object:
        """End it, soon."""


class SendQueue:
    """The messages to one peer that wait, and the one in flight.

    ``begin`` begins the call for a payload, and has it call the `Ended` that it is given, not before it returns.
    """

    __slots__ = ("_begin", "_call", "_closed", "_future", "_idle", "_loop", "_waiting")

    def __init__(self, begin: Callable[[bytes, Ended], Cancellable], loop: asyncio.AbstractEventLoop) -> None:
        self._begin = begin
        self._loop = loop
        self._call: Cancellable | None = None  # in flight
        self._future: asyncio.Future[None] | None = None  # its result
        self._idle: asyncio.Future[None] | None = None  # done when nothing is in flight
        self._waiting: deque[tuple[bytes, asyncio.Future[None]]] = deque()
        self._closed: str | None = None

    def put(self, payload: bytes) -> asyncio.Future[None]:
        """Return the result of the call to be; cancelled before the call begins, there is none.

        Cancelled later, the call stands, and the next message waits for its end.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        if self._closed is not None:
            future.set_exception(ConnectionClosed(self._closed))
        elif self._call is None:
            self._future = future
            self._call = self._begin(payload, self._ended)
        else:
            self._waiting.append((payload, future))
        return future

    def close(self, reason: str) -> None:
        """Fail what waits; the call in flight ends by itself. Idempotent."""
        self._closed = reason
        while self._waiting:
            _, future = self._waiting.popleft()
            _settle(future, ConnectionClosed(reason))

    async def finish(self) -> None:
        """Wait until nothing waits or is in flight."""
        if self._call is None:
            return
        if self._idle is None:
            self._idle = self._loop.create_future()
        await asyncio.shield(self._idle)

    async def abandon(self, reason: str) -> None:
        """Close, and cancel the call in flight, too: LND may send it, or not."""
        self.close(reason)
        if self._call is not None and self._future is not None:
            _settle(self._future, ConnectionClosed(reason))
            self._call.cancel()
            await self.finish()

    def _ended(self, error: Exception | None) -> None:
        self._call = None
        if self._future is not None:
            _settle(self._future, error)
        while self._waiting:
            payload, future = self._waiting.popleft()
            if not future.done():
                self._future = future
                self._call = self._begin(payload, self._ended)
                return
        self._future = None
        if self._idle is not None:
            self._idle.set_result(None)
            self._idle = None


def _settle(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():  # cancelled by who waited for it
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
