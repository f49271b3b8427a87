"""The longer way of a message to its handler: traced, guarded, handled concurrently, or waited for by a request."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Final

from oddwire.app.context import Context
from oddwire.app.dispatch.peer_queue import MESSAGE_WEIGHT, PeerQueue, Run
from oddwire.app.dispatch.policy import Outcome
from oddwire.app.limits.access import AccessControl
from oddwire.app.limits.memory_budget import LARGE
from oddwire.app.plugins.router import Route
from oddwire.schema import Message

if TYPE_CHECKING:
    from oddwire.app.dispatch.dispatcher import Dispatcher

__all__ = ["SlowPath"]

_MAX_CONCURRENT: Final = 32  # tasks of concurrent handlers, a peer


class SlowPath:
    """What the dispatcher does for messages that are not just queued."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def wrap_route(self, route: Route) -> Route:
        """Put the extension's guard before a handler; give one of reliable messages a unit of work for others."""
        owner = self._dispatcher.router.owners[route.owner - 1].name if route.owner else ""
        guard = self._dispatcher.guards.get(owner)
        if guard is not None and guard.is_needed:
            route = route._replace(longer=True, guard=guard)
        if route.weigh is not None:
            route = route._replace(longer=True)  # to be weighed
        if route.reliable is not None:
            route = route._replace(handler=functools.partial(self._in_a_unit, owner, route.reliable))
        return route

    async def _in_a_unit(self, owner: str, run: Run, context: Context, message: Message) -> Message | None:
        return await self._dispatcher.app.services.deliveries().alone(owner, run, context, message)

    async def _let_in(self, guard: AccessControl, run: Run, context: Context, message: Message) -> Message | None:
        if await guard.allows(context.peer):
            return await run(context, message)
        guard.counters.dropped["allow"] += 1
        refusal = guard.not_allowed()
        self._dispatcher.enforcer.refused(
            Outcome.NOT_ALLOWED, context.peer.node_id, refusal, message=message, extension=guard.extension
        )
        return None

    def dispatch_slowly(self, queue: PeerQueue, route: Route, message: Message, payload: bytes) -> None:
        """Take a message that has come: for a request that waits for it, or for its handler."""
        asked = queue.answer(message)
        run: Run | None = route.handler
        taken = asked is not None or run is not None
        if self._dispatcher.tracer is not None:
            received = self._dispatcher.tracer.trace(
                "received", queue.peer.node_id, payload, message, since=asked, handled=taken
            )
            if run is not None:
                run = functools.partial(self._timed, queue, run, received)
        if not taken:
            enforcer = self._dispatcher.enforcer
            enforcer.apply(Outcome.UNHANDLED, queue, enforcer.describe(payload))
        if asked is not None or run is None:
            return
        if route.guard is not None:
            run = functools.partial(self._let_in, route.guard, run)
            seconds, limit = route.guard.take(queue.peer, len(payload))
            if seconds:
                route.guard.counters.throttled[limit] += 1
                self._dispatcher.throttle(queue, seconds)
        size, greeting = len(payload) if route.weigh is None else route.weigh(message), queue.greeting
        weight = size + MESSAGE_WEIGHT
        if route.concurrent:
            run = functools.partial(self._detach, queue, run, weight)
        if weight > LARGE:
            self._dispatcher.take_room(queue, weight)
            run = functools.partial(self._in_room, queue, run, weight)
        if greeting is not None and greeting.holds(route.owner):
            self._dispatcher.set_aside(queue, greeting, route.owner, (run, message, weight))
        else:
            self._dispatcher.enqueue(queue, run, route.owner, message, weight)

    async def _in_room(
        self, queue: PeerQueue, run: Run, weight: int, context: Context, message: Message
    ) -> Message | None:
        try:
            return await run(context, message)
        finally:
            self._dispatcher.leave_room(queue, weight)

    async def _timed(self, queue: PeerQueue, run: Run, received: float, context: Context, message: Message) -> None:
        reply = await run(context, message)
        if reply is not None:
            await self._dispatcher.reply(queue, reply, received)

    async def _detach(self, queue: PeerQueue, run: Run, weight: int, context: Context, message: Message) -> None:
        """Run one message in a task of its own; with too many of them, the queue waits."""
        while queue.running >= _MAX_CONCURRENT:
            queue.slot = self._dispatcher.loop.create_future()
            await queue.slot
        queue.running += 1
        if weight > LARGE:
            self._dispatcher.take_room(queue, weight)
        task = self._dispatcher.spawn(self._alone(queue, run, weight, context, message))
        queue.detached.add(task)
        task.add_done_callback(queue.detached.discard)

    async def _alone(self, queue: PeerQueue, run: Run, weight: int, context: Context, message: Message) -> None:
        me = asyncio.current_task()
        try:
            reply = await run(context, message)
            if reply is not None:
                await self._dispatcher.reply(queue, reply)
        except BaseException as error:
            ending = self._dispatcher.tasks.ending or queue.abandoned
            self._dispatcher.enforcer.failed(context, message, error, ending, me)
        finally:
            del me  # a task that ends by an exception keeps this frame
            queue.running -= 1
            if weight > LARGE:
                self._dispatcher.leave_room(queue, weight)
            if queue.slot is not None and not queue.slot.done():
                queue.slot.set_result(None)
