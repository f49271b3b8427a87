"""Tells a transport when the messages that it has delivered are handled; see `Sink.settled`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from oddwire.app.context import Context
from oddwire.app.dispatch.peer_queue import PeerQueue
from oddwire.exit_exceptions import must_pass
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId

if TYPE_CHECKING:
    from oddwire.app.dispatch.core import Core
    from oddwire.app.dispatch.queue_workers import QueueWorkers

__all__ = ["Settling"]

logger = get_logger("oddwire.app")

_Call: TypeAlias = Callable[[], object]


class Settling:
    """Calls back once what came of a peer is handled.

    That is: an entry in the peer's queue is reached, behind the messages in it and those that waited for on_connect
    hooks, and the concurrent handlers that were started before it have ended. Nothing is called any more once the
    application cancels its handlers, as their messages are not handled then.
    """

    def __init__(self, core: Core, workers: QueueWorkers) -> None:
        self._core = core
        self._workers = workers
        self._tasks = core.tasks
        self._left: dict[NodeId, set[asyncio.Task[None]]] = {}  # concurrent handlers of queues that are over
        self._closed = False

    def settled(self, peer: NodeId, call: _Call) -> None:
        """Call ``call`` once; see `Sink.settled`."""
        queue = self._core.queues.get(peer)
        if queue is None:
            self._await(self._left.get(peer, ()), call)
        elif queue.aside:
            last = _after(len(queue.aside), lambda: self._enqueue(queue, call))
            for aside in queue.aside:
                aside.then.append(last)
        else:
            self._enqueue(queue, call)

    def over(self, queue: PeerQueue) -> None:
        """Take over the concurrent handlers of a queue that is over."""
        peer = queue.peer.node_id
        for task in queue.detached:
            self._left.setdefault(peer, set()).add(task)
            task.add_done_callback(partial(self._discard, peer))

    def close(self) -> None:
        """Call nothing any more."""
        self._closed = True

    def _discard(self, peer: NodeId, task: asyncio.Task[None]) -> None:
        left = self._left[peer]
        left.discard(task)
        if not left:
            del self._left[peer]

    def _enqueue(self, queue: PeerQueue, call: _Call) -> None:
        self._workers.enqueue(queue, self._reached, 0, (queue, call), 0)

    async def _reached(self, _: Context, entry: tuple[PeerQueue, _Call]) -> None:
        queue, call = entry
        if not queue.detached and not self._left:
            self._call(call)
        else:
            self._await((*queue.detached, *self._left.get(queue.peer.node_id, ())), call)

    def _await(self, tasks: Collection[asyncio.Task[None]], call: _Call) -> None:
        running = [task for task in tasks if not task.done()]
        if not running:
            self._call(call)
            return
        last = _after(len(running), lambda: self._call(call))
        for task in running:
            task.add_done_callback(last)

    def _call(self, call: _Call) -> None:
        if self._closed or self._tasks.ending:
            return
        try:
            call()
        except BaseException as error:
            if must_pass(error):
                raise
            logger.exception("the transport raised when it was told that messages are handled")


def _after(count: int, call: _Call) -> Callable[..., None]:
    """Return a function whose last of ``count`` calls makes the call."""

    def one(*_: object) -> None:
        nonlocal count
        count -= 1
        if not count:
            call()

    return one
