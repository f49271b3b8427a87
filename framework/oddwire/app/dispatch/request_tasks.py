"""The tasks that handle peers' requests, and no more of them than necessary."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any, Final

__all__ = ["RequestTask", "RequestTasks", "task_of"]

_TURN: Final = 0.002  # seconds of handlers that do not wait before the task yields to the event loop


class RequestTask:
    """A request queued for a task or being handled by one: ``await work(*arguments)``. A stream may await credit."""

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

    def __init__(self, work: Callable[..., Coroutine[Any, Any, object]], *arguments: Any) -> None:
        self.work = work
        self.arguments = arguments
        self.task: asyncio.Task[None] | None = None  # set while the request is handled
        self.cancelled = False
        self.aside = False
        """Whether it is held for on_connect hooks before it may get a task; if cancelled meanwhile, it stays held."""
        self.credit: asyncio.Future[bool] | None = None
        self.peer: Any = None
        """The peer's link: queued requests are taken round-robin by peer."""
        self.ended: Callable[[RequestTask], object] | None = None
        """Called with this object once the request has been handled, or was cancelled before that began."""
        self.request: Any = None
        """For ``ended``, which clears it: the session's record of the request, which refers to this object."""
        self.holder: Any = None
        """For ``ended``: the queue or `MemoryUse` that counts the request, and its weight; cheaper than a closure."""
        self.weight = 0

    def cancel(self) -> None:
        """Cancel the task; if there is none yet, the work will not begin."""
        self.cancelled = True
        if self.task is not None:
            self.task.cancel()
        else:
            self.arguments = ()  # it may stay in the queue for a while
            if not self.aside:
                self.end()

    def end(self) -> None:
        """Call ``ended``: the request has been handled, or will not be. Idempotent."""
        ended, self.ended = self.ended, None
        if ended is not None:
            ended(self)

    def wake(self) -> None:
        """Wake the task, because there is more credit."""
        if self.credit is not None and not self.credit.done():
            self.credit.set_result(True)


def task_of(request: RequestTask | None) -> asyncio.Task[None] | None:
    """Return the task that handles a request, None if there is none."""
    return None if request is None else request.task


class _RequestQueue:
    """Queued requests, in order per peer, and round-robin across peers: a peer with many requests delays only itself.

    ``count`` is the number of requests; an attribute, because it is read too often for a method call.
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
        """Remove and return the first request of the peer whose turn it is."""
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
    """The tasks that handle requests. From its first wait on, each handler has its task to itself.

    To create a task costs more than many handlers do. So a task goes on from a handler that did not wait to the next
    request, for a limited time. Another task is always ready to begin as soon as a handler waits: it takes the next
    request, and the first task ends with its handler. A task also ends after a handler that left a cancellation or
    context variables behind in it. While handlers wait, each request gets a task at once, until a handler does not
    wait.

    ``spawn`` starts a task, and ``ended`` is called with a task that began and has ended.
    """

    def __init__(
        self,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        ended: Callable[[asyncio.Task[None]], object],
    ) -> None:
        self._spawn = spawn
        self._ended = ended
        self._waiting = _RequestQueue()
        self._called = 0  # tasks that will begin in the next event-loop iteration
        self._going: asyncio.Task[None] | None = None  # the last task that began, if it may go on after its handler
        self._patient = False  # whether handlers wait, by the last one seen

    def handle(self, request: RequestTask) -> None:
        """Queue a request for a task, from the next event-loop iteration on."""
        self._waiting.append(request)
        if self._going is not None:  # its handler waits, as this code runs outside it
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
        if self._going is not None:  # the previous handler waits
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
                # The session's record of a request refers to its task, whose arguments refer to the record: the cycle
                # is broken here, so that all of it is freed as soon as the work is done, however that ends
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
                    if contextvars.copy_context() != context:  # cheap if nothing was set: both share one mapping
                        break
                except Exception:  # a value in it cannot be compared
                    break
                if waiting.count:
                    self._patient = False
                    if perf_counter() >= until:  # the next task begins in a later event-loop iteration
                        if not self._called:
                            self._call()
                        break
        finally:
            if self._going is me:
                self._going = None
            self._ended(me)
            del me  # a task that ends by an exception keeps this frame
