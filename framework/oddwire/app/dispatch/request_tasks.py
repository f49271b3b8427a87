"""Who handles the requests of peers: tasks, and no more of them than it takes."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any, Final

__all__ = ["RequestTask", "RequestTasks", "task_of"]

_TURN: Final = 0.002  # seconds of handlers that wait for nothing until others get the loop


class RequestTask:
    """A request that waits for a task or is handled by one: ``await work(*arguments)``. It may wait for credit, too."""

    __slots__ = (
        "arguments",
        "aside",
        "cancelled",
        "credit",
        "ended",
        "holder",
        "peer",
        "request",
        "task",
        "weight",
        "work",
    )

    def __init__(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
        self.work = work
        self.arguments = arguments
        self.task: asyncio.Task[None] | None = None  # set while it is handled
        self.cancelled = False
        self.aside = False
        """Whether it waits for something else before it may have a task; cancelled, it waits on."""
        self.credit: asyncio.Future[None] | None = None
        self.peer: Any = None
        """Whose it is: peers have their turns, one request each."""
        self.ended: Callable[[RequestTask], object] | None = None
        """Called with this once it is over, or is cancelled before it has begun."""
        self.request: Any = None
        """For ``ended``, which lets go of it: the session's part of the request, which refers to this."""
        self.holder: Any = None
        """For ``ended``: with what it is counted, and for how much, so that no call has to be made of them."""
        self.weight = 0

    def cancel(self) -> None:
        """Cancel the task, or see to it that the work is not even begun."""
        self.cancelled = True
        if self.task is not None:
            self.task.cancel()
        else:
            self.arguments = ()  # it may stay with those that wait for a while
            if not self.aside:
                self.end()

    def end(self) -> None:
        """Say that it is over, or will not be begun. Idempotent."""
        ended, self.ended = self.ended, None
        if ended is not None:
            ended(self)

    def wake(self) -> None:
        """Tell the task that there is more credit."""
        if self.credit is not None and not self.credit.done():
            self.credit.set_result(None)


def task_of(request: RequestTask | None) -> asyncio.Task[None] | None:
    """Return the task that handles a request, if one does."""
    return None if request is None else request.task


class _RequestQueue:
    """Requests that wait, those of one peer in their order, and peers in turn: one who asks much delays itself.

    ``count`` is how many; it is looked at more often than a method should be called.
    """

    __slots__ = ("_peers", "count")

    def __init__(self) -> None:
        self._peers: dict[object, deque[RequestTask]] = {}
        self.count = 0

    def append(self, request: RequestTask) -> None:
        self.count += 1
        waiting = self._peers.get(request.peer)
        if waiting is None:
            self._peers[request.peer] = deque((request,))
        else:
            waiting.append(request)

    def popleft(self) -> RequestTask:
        """Take the first one of the peer whose turn it is."""
        peers = self._peers
        peer, waiting = next(iter(peers.items()))
        request = waiting.popleft()
        if not waiting:
            del peers[peer]
        elif len(peers) > 1:
            peers[peer] = peers.pop(peer)  # at the end
        self.count -= 1
        return request


class RequestTasks:
    """The tasks that handle requests. Each handler is alone in its task from its first wait on, as if it had its own.

    To make a task costs more than many a handler does. So one task goes on from a handler that waited for nothing to
    the next request, for a moment. Another one is always ready to begin as soon as a handler does wait: it takes what
    comes next, and the first task ends with its handler. It ends, too, after a handler that left something behind in
    its task: a cancellation, or context variables. Where handlers wait, each request is given a task at once, until
    one does not.

    ``spawn`` starts a task, and ``ended`` is told when one that has begun has ended.
    """

    def __init__(
        self,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        ended: Callable[[asyncio.Task[None]], object],
    ) -> None:
        self._spawn = spawn
        self._ended = ended
        self._waiting = _RequestQueue()
        self._called = 0  # tasks that will begin in the loop's next turn
        self._going: asyncio.Task[None] | None = None  # the last that began, if it may go on after its handler
        self._patient = False  # handlers wait, as far as is known

    def handle(self, request: RequestTask) -> None:
        """Have a request handled, from the loop's next turn on."""
        self._waiting.append(request)
        if self._going is not None:  # it waits, as the loop is elsewhere
            self._going, self._patient = None, True
        if self._patient or not self._called:
            self._call()

    def _call(self) -> None:
        wanted = self._waiting.count if self._patient else 1
        for _ in range(wanted - self._called):
            self._called += 1
            self._spawn(self._work())

    async def _work(self) -> None:
        waiting, context = self._waiting, contextvars.copy_context()
        me = asyncio.current_task()
        assert me is not None  # noqa: S101 - narrows the type for checkers
        self._called -= 1
        if self._going is not None:  # the one before waits
            self._patient = True
        self._going = me
        until = perf_counter() + _TURN
        try:
            while waiting.count:
                request = waiting.popleft()
                if waiting.count and (self._patient or not self._called):
                    self._call()
                if request.cancelled:
                    continue
                # The session's part of a request refers to its task, and the arguments to that: the circle is opened
                # here, so that all of it is free as soon as the work is done, however that ends
                arguments, request.arguments = request.arguments, ()
                request.task = me
                try:
                    await request.work(*arguments)
                finally:
                    request.task = None
                    ended, request.ended = request.ended, None  # `RequestTask.end`, written out
                    if ended is not None:
                        ended(request)
                if self._going is not me or me.cancelling():
                    break
                try:
                    if contextvars.copy_context() != context:  # cheap, where nothing was set: they share all they have
                        break
                except Exception:  # of a value in it that does not compare
                    break
                if waiting.count:
                    self._patient = False
                    if perf_counter() >= until:  # the next task begins in a later turn of the loop
                        if not self._called:
                            self._call()
                        break
        finally:
            if self._going is me:
                self._going = None
            self._ended(me)
            del me  # a task that ends by an exception keeps this frame
