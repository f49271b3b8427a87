"""The slow path of a message to its handler: traced, access-controlled, concurrent, large, or a request's reply."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Final

from oddwire.app.context import Context
from oddwire.app.dispatch.peer_queue import MESSAGE_WEIGHT, PeerQueue, Run
from oddwire.app.dispatch.policy import Outcome
from oddwire.app.limits.access import AccessControl
from oddwire.app.limits.memory_budget import LARGE
from oddwire.app.plugins.tables import Route
from oddwire.schema import Message

if TYPE_CHECKING:
    from oddwire.app.dispatch.core import Core
    from oddwire.app.dispatch.queue_workers import QueueWorkers
    from oddwire.app.limits.backpressure import Backpressure

__all__ = ["SlowPath"]

_MAX_CONCURRENT: Final = 32  # tasks of concurrent handlers per peer


class SlowPath:
    """Processing of messages for which it is not enough to enqueue them."""

    def __init__(self, core: Core, backpressure: Backpressure, workers: QueueWorkers) -> None:
        self._backpressure = backpressure
        self._workers = workers
        self._enforcer = core.enforcer
        self._tracer = core.tracer
        self._tasks = core.tasks

    async def _let_in(
        self, access: AccessControl, run: Run, context: Context, message: Message | bytes
    ) -> Message | None:
        if await access.allows(context.peer):
            return await run(context, message)
        access.counters.dropped["allow"] += 1
        refusal = access.not_allowed()
        payload, schemed = (message, None) if isinstance(message, bytes) else (b"", message)
        self._enforcer.refused(
            Outcome.NOT_ALLOWED, context.peer.node_id, refusal, payload, schemed, extension=access.extension
        )
        return None

    def dispatch_slowly(self, queue: PeerQueue, route: Route, message: Message | bytes, payload: bytes) -> None:
        """Pass a received message to the request that awaits its class, or enqueue it for its handler.

        Without a message class, the message is the payload itself.
        """
        schemed = None if isinstance(message, bytes) else message
        asked = None if schemed is None else queue.answer(schemed)
        run: Run | None = route.handler
        taken = asked is not None or run is not None
        if self._tracer is not None:
            received = self._tracer.trace("received", queue.peer.node_id, payload, schemed, since=asked, handled=taken)
            if run is not None:
                run = functools.partial(self._timed, queue, run, received)
        if not taken:
            self._enforcer.apply(Outcome.UNHANDLED, queue, self._enforcer.describe(payload))
        if asked is not None or run is None:
            return
        if route.access is not None:
            run = functools.partial(self._let_in, route.access, run)
            seconds, limit = route.access.take(queue.peer, len(payload), route.rate)
            if seconds:
                route.access.counters.throttled[limit] += 1
                self._backpressure.throttle(queue, seconds)
        size = len(payload) if route.weigh is None or schemed is None else route.weigh(schemed)
        hooks = queue.pending_hooks
        weight = size + MESSAGE_WEIGHT
        if route.concurrent:
            run = functools.partial(self._detach, queue, run, weight)
        if weight > LARGE:
            self._backpressure.take(queue, weight)
            run = functools.partial(self._in_room, queue, run, weight)
        if hooks is not None and hooks.holds(route.owner):
            self._workers.set_aside(queue, hooks, route.owner, (run, message, weight))
        else:
            self._workers.enqueue(queue, run, route.owner, message, weight)

    async def _in_room(
        self, queue: PeerQueue, run: Run, weight: int, context: Context, message: Message
    ) -> Message | None:
        try:
            return await run(context, message)
        finally:
            self._backpressure.release(queue, weight)

    async def _timed(self, queue: PeerQueue, run: Run, received: float, context: Context, message: Message) -> None:
        reply = await run(context, message)
        if reply is not None:
            await self._workers.reply(queue, reply, received)

    async def _detach(self, queue: PeerQueue, run: Run, weight: int, context: Context, message: Message) -> None:
        """Run the handler of one message in its own task; with too many of them, the queue waits."""
        await queue.begin_concurrent(_MAX_CONCURRENT)
        if weight > LARGE:
            self._backpressure.take(queue, weight)
        task = self._tasks.spawn(self._alone(queue, run, weight, context, message))
        queue.detached.add(task)
        task.add_done_callback(queue.detached.discard)

    async def _alone(self, queue: PeerQueue, run: Run, weight: int, context: Context, message: Message) -> None:
        me = asyncio.current_task()
        try:
            reply = await run(context, message)
            if reply is not None:
                await self._workers.reply(queue, reply)
        except BaseException as error:
            ending = self._tasks.ending or queue.abandoned
            self._enforcer.failed(context, message, error, ending, me)
        finally:
            del me  # a task that ends by an exception keeps this frame
            if weight > LARGE:
                self._backpressure.release(queue, weight)
            queue.end_concurrent()
