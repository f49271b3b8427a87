"""The tasks that drain peers' queues: one per peer, which awaits the peer's handlers in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from oddwire.app.dispatch.core import Core
from oddwire.app.dispatch.peer_queue import LONG, Aside, PeerQueue, Run
from oddwire.app.limits.backpressure import Backpressure
from oddwire.errors import ConnectionClosed, PeerNotConnected
from oddwire.log_limits import get_logger
from oddwire.schema import Message

if TYPE_CHECKING:
    from oddwire.app.dispatch.connection_hooks import PendingHooks
    from oddwire.app.dispatch.messenger import AppMessenger

__all__ = ["QueueWorkers"]

logger = get_logger("oddwire.app")

_TURNS: Final = 128  # messages of one peer handled before the task yields to the event loop
_TURN: Final = 0.002  # seconds of handlers before that


class QueueWorkers:
    """Adds entries to queues, and runs a worker per queue.

    ``over(queue)`` is called once the queue of a disconnected peer is drained.
    """

    def __init__(
        self, core: Core, backpressure: Backpressure, messenger: AppMessenger, over: Callable[[PeerQueue], object]
    ) -> None:
        self._core = core
        self._backpressure = backpressure
        self._messenger = messenger
        self._over = over
        self._tasks = core.tasks

    def enqueue(self, queue: PeerQueue, run: Run, owner: int, argument: object, weight: int) -> None:
        """Append ``run(context, argument)`` to a queue, and wake its worker; ``weight`` is in bytes."""
        queue.waiting.append((run, owner, argument, weight))
        self._backpressure.hold(queue, weight)
        self.wake(queue)

    def set_aside(self, queue: PeerQueue, hooks: PendingHooks, owner: int, message: tuple[Run, Any, int]) -> None:
        """Hold a message until on_connect hooks have ended, and enqueue it then; its weight counts at once."""
        run, argument, weight = message
        aside = Aside()
        waiting = queue.aside = set() if queue.aside is None else queue.aside
        waiting.add(aside)

        def release() -> None:
            waiting.discard(aside)
            if not self._tasks.ending:
                queue.waiting.append((run, owner, argument, weight))
                self.wake(queue)
                for call in aside.then:
                    call()

        self._backpressure.hold(queue, weight)
        hooks.hold(owner, release)

    def wake(self, queue: PeerQueue) -> None:
        """Wake a queue's worker, or start one."""
        if self._tasks.cancelling:
            return  # `Dispatcher.aclose` wakes all of them afterwards
        if self._tasks.unwatched:
            self._tasks.watch()
        if queue.wake is not None and not queue.wake.done():
            queue.wake.set_result(None)
            queue.wake = None
        elif queue.worker is None or queue.worker.done():
            queue.worker = self._tasks.spawn(self._work(queue))

    async def _work(self, queue: PeerQueue) -> None:
        """Run one queue's handlers in order until its peer has disconnected, and yield to the event loop regularly."""
        core, backpressure = self._core, self._backpressure
        waiting, contexts, turns = queue.waiting, queue.contexts, _TURNS
        me = asyncio.current_task()
        assert me is not None  # noqa: S101 - narrows the type for checkers
        while True:
            until = perf_counter() + _TURN
            while waiting:
                run, owner, message, weight = waiting.popleft()
                queue.held -= weight
                if queue.paused:
                    backpressure.resume_if_drained(queue)
                context = contexts[owner] or core.context(queue, owner)
                try:
                    reply = await run(context, message)
                    if reply is not None:
                        await self.reply(queue, reply)
                except BaseException as error:
                    core.enforcer.failed(context, message, error, self._tasks.ending or queue.abandoned, me)
                if me.cancelling():  # a handler has cancelled its own task: later handlers need another one
                    queue.worker = self._tasks.spawn(self._work(queue))
                    return
                turns -= 1
                if not turns or perf_counter() >= until:
                    turns = _TURNS
                    if queue.counted or queue.held > LONG:
                        backpressure.recount(queue)
                    await asyncio.sleep(0)
                    until = perf_counter() + _TURN
            if queue.counted or queue.held > LONG:
                backpressure.recount(queue)
            if core.closing or (queue.info is None and not queue.hooks):
                break
            run = context = message = reply = None  # type: ignore[assignment]  # not kept while nothing comes
            queue.wake = core.loop.create_future()
            await queue.wake
        if queue.info is None and not queue.hooks:
            self._over(queue)

    async def reply(self, queue: PeerQueue, reply: Message, since: float | None = None) -> None:
        """Send the reply that a handler returned; ``since`` is when the message that it answers was received."""
        try:
            await self._messenger.send(queue.peer.node_id, reply, since=since)
        except (PeerNotConnected, ConnectionClosed):
            logger.debug("%s disconnected before its reply: %s", queue.peer, type(reply).__name__)
