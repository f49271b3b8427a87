"""Waiting for a peer's messages outside of handlers: for the next one, or for all of them as a stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar, cast

from oddwire.app.dispatch.questions import Match, is_match, match_failure
from oddwire.app.limits.memory_budget import LARGE
from oddwire.errors import ConnectionClosed, LocalProtocolError
from oddwire.schema import Message

if TYPE_CHECKING:
    from oddwire.app.dispatch.peer_queue import PeerQueue
    from oddwire.app.limits.backpressure import Backpressure

__all__ = ["Listener", "Listeners", "MessageStream", "NextMessage"]

M = TypeVar("M", bound=Message)


class Listener(Protocol):
    """Somebody who waits for messages of a peer."""

    match: Match | None

    def put(self, message: Message, weight: int) -> bool:
        """Pass a message on; return whether it is taken. ``weight`` is what it counts in a queue, in bytes."""
        raise NotImplementedError

    def fail(self, error: BaseException) -> None:
        """End the wait by an error."""
        raise NotImplementedError


class Listeners:
    """Those who wait for messages of one peer, for one of its connections."""

    def __init__(self) -> None:
        self._by_class: dict[type[Message], dict[Listener, None]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_class)

    def add(self, accepted: Sequence[type[Message]], listener: Listener) -> None:
        """Add one who waits for messages of these classes."""
        for cls in accepted:
            self._by_class.setdefault(cls, {})[listener] = None

    def remove(self, accepted: Sequence[type[Message]], listener: Listener) -> None:
        """Undo `add`."""
        for cls in accepted:
            waiting = self._by_class.get(cls)
            if waiting is not None:
                waiting.pop(listener, None)
                if not waiting:
                    del self._by_class[cls]

    def receive(self, message: Message, weight: int) -> bool:
        """Pass a message to all whom it matches; return whether there is any. A match that raises ends that wait."""
        waiting, taken = self._by_class.get(type(message)), False
        if not waiting:
            return False
        listener: Listener | None = None
        for listener in [*waiting]:
            try:
                found = listener.match is None or is_match(listener.match, message)
            except BaseException as error:
                listener.fail(match_failure(error))
                continue
            if found and listener.put(message, weight):
                taken = True
        listener = None  # the frame of a match that raised leads to this one
        return taken

    def end(self, reason: str) -> None:
        """Fail each wait with `ConnectionClosed`."""
        found = {listener: None for waiting in self._by_class.values() for listener in waiting}
        self._by_class.clear()
        for listener in found:
            listener.fail(ConnectionClosed(reason))


class NextMessage:
    """The wait for one message."""

    __slots__ = ("future", "match")

    def __init__(self, match: Match | None, loop: asyncio.AbstractEventLoop) -> None:
        self.match = match
        self.future: asyncio.Future[Message] = loop.create_future()

    def put(self, message: Message, weight: int) -> bool:
        """Take the first message."""
        if self.future.done():
            return False
        self.future.set_result(message)
        return True

    def fail(self, error: BaseException) -> None:
        """End the wait by an error."""
        if not self.future.done():
            self.future.set_exception(error)


class MessageStream(Generic[M]):
    """The messages of some classes that a peer sends while an ``async with`` block runs; see `Peer.messages`.

    Iterate over it in that block, in one task at a time. What was not read at its end is dropped.
    """

    def __init__(
        self, accepted: tuple[type[M], ...], match: Match | None, find: Callable[[], PeerQueue], pressure: Backpressure
    ) -> None:
        self.match = match
        self._accepted = accepted
        self._find = find
        self._pressure = pressure
        self._queue: PeerQueue | None = None
        self._waiting: deque[tuple[M, int]] = deque()
        self._wake: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._queue is not None:
            raise LocalProtocolError("this stream was open before: peer.messages() makes another one")
        self._queue = queue = self._find()
        queue.listen(self._accepted, self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        queue = self._queue
        if queue is None:
            raise LocalProtocolError("this stream is not open: async with peer.messages(...) as stream")
        self._closed = True
        self._error = None
        queue.unlisten(self._accepted, self)
        while self._waiting:
            self._release(queue, self._waiting.popleft()[1])
        self._wake_reader()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> M:
        """Return the next message. Raises `ConnectionClosed` once the peer has disconnected and all are read.

        Raises what a ``match`` function has raised, too, and `LocalProtocolError` outside of the ``async with`` block.
        Cancelled, no message is lost.
        """
        queue = self._queue
        if queue is None:
            raise LocalProtocolError("open the stream first: async with peer.messages(...) as stream")
        if self._wake is not None:
            raise LocalProtocolError("another task reads this stream already: each may open one of its own")
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            if self._error is not None:
                error, self._error = self._error, self._again(self._error)
                try:
                    raise error
                finally:
                    del error  # its traceback refers to this frame
            self._wake = asyncio.get_running_loop().create_future()
            self._pressure.ask(queue)  # what it waits for may come behind what is queued
            try:
                await self._wake
            finally:
                self._wake = None
                queue.request_ended()
        message, weight = self._waiting.popleft()
        self._release(queue, weight)
        return message

    def put(self, message: Message, weight: int) -> bool:
        """Add a message for the reader."""
        queue = self._queue
        if queue is None or self._closed or self._error is not None:
            return False
        self._waiting.append((cast("M", message), weight))
        if weight > LARGE:
            self._pressure.take(queue, weight)
        self._pressure.hold(queue, weight)
        self._wake_reader()
        return True

    def fail(self, error: BaseException) -> None:
        """End the stream by an error, behind the messages that have come."""
        if self._error is None and not self._closed:
            self._error = error
            if self._queue is not None:
                self._queue.unlisten(self._accepted, self)
            self._wake_reader()

    @staticmethod
    def _again(error: BaseException) -> BaseException:
        """Return the error for whoever reads on after the stream's end."""
        if isinstance(error, ConnectionClosed):
            return ConnectionClosed(error.reason)
        return LocalProtocolError(f"this stream has ended: {type(error).__name__} was raised")

    def _wake_reader(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _release(self, queue: PeerQueue, weight: int) -> None:
        self._pressure.let_go(queue, weight)
        if weight > LARGE:
            self._pressure.release(queue, weight)
