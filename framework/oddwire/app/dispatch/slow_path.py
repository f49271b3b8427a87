"""The slow path of a message to its handler: traced, access-controlled, concurrent, large, a reply, or waited for."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Final, cast

from oddwire import clocks
from oddwire.app.context import Context
from oddwire.app.declarations.malformed import Malformed
from oddwire.app.dispatch.exchanges import Fate
from oddwire.app.dispatch.peer_queue import MESSAGE_WEIGHT, PeerQueue, Run
from oddwire.app.dispatch.policy import Outcome, decode_error
from oddwire.app.insight.counts import fate_of, ticket_in
from oddwire.app.limits.access import RATE, AccessControl
from oddwire.app.limits.memory_budget import LARGE
from oddwire.app.plugins.tables import Route
from oddwire.log_limits import get_logger
from oddwire.schema import Message, Schema

if TYPE_CHECKING:
    from oddwire.app.declarations.handlers import Rate
    from oddwire.app.declarations.rpc_documents import RpcDocument
    from oddwire.app.dispatch.core import Core
    from oddwire.app.dispatch.peer_rpcs import PeerRpcs
    from oddwire.app.dispatch.queue_workers import QueueWorkers
    from oddwire.app.dispatch.tracing import Tracer
    from oddwire.app.insight.counts import Ticket
    from oddwire.app.limits.backpressure import Backpressure

__all__ = ["SlowPath"]

logger = get_logger("oddwire.app")

_FREE, _ANSWER = Fate.FREE, Fate.ANSWER  # read for every message here
_MAX_CONCURRENT: Final = 32  # tasks of concurrent handlers per peer


class SlowPath:
    """Processing of messages for which it is not enough to enqueue them."""

    def __init__(
        self, core: Core, backpressure: Backpressure, workers: QueueWorkers, peer_rpcs: PeerRpcs | None = None
    ) -> None:
        self._core = core
        self._peer_rpcs = peer_rpcs
        self._backpressure = backpressure
        self._workers = workers
        self._enforcer = core.enforcer
        self._tracer: Tracer | None = None
        self._tasks = core.tasks
        core.trace_in(self)

    def use_tracer(self, tracer: Tracer | None) -> None:
        """Trace and count messages by this tracer from now on."""
        self._tracer = tracer

    async def _let_in(
        self, access: AccessControl, run: Run, context: Context, message: Message | Malformed | bytes
    ) -> Message | None:
        if await access.allows(context.peer):
            return await run(context, message)
        access.counters.dropped["allow"] += 1
        ticket = ticket_in(run)
        if ticket is not None:
            ticket.end("refused")
        refusal = access.not_allowed()
        payload = message if isinstance(message, bytes) else b""
        if isinstance(message, Malformed):
            payload = message.payload
        schemed = message if isinstance(message, Message) else None
        self._enforcer.refused(
            Outcome.NOT_ALLOWED, context.peer.node_id, refusal, payload, schemed, extension=access.extension
        )
        return None

    def dispatch_slowly(self, queue: PeerQueue, route: Route, message: Message | bytes, payload: bytes) -> None:
        """Pass a message to the request that it answers, to who waits for it, or to its handler by the queue.

        Without a message class, the message is the payload itself.
        """
        exchanges, listeners = queue.exchanges, queue.listeners
        fate, heard = _FREE, False
        asked: float | None = None
        if isinstance(message, bytes):
            schemed, size = None, len(payload)
        else:
            schemed, size = message, len(payload) if route.weigh is None else route.weigh(message)
            if route.rpc is not None and self._peer_rpcs is not None:
                asked, route = self._peer_rpcs.route(queue, route, cast("RpcDocument", message))
                fate = _FREE if asked is None else _ANSWER
            elif exchanges is not None:
                fate, asked = exchanges.receive(message)
            if listeners is not None and fate is _FREE:
                heard = listeners.receive(message, size + MESSAGE_WEIGHT)
        run: Run | None = route.handler
        taken = heard or fate is _ANSWER
        if queue.answers is not None and schemed is not None:
            run = queue.answers(schemed, taken or fate is Fate.DROPPED, run)
        if self._tracer is not None:
            run = self._traced(queue, payload, schemed, run, asked, taken=taken, fate=fate)
        if taken:
            if heard and route.access is not None:
                self._meter(queue, route.access, len(payload), route.rate)
            return
        if fate is Fate.DROPPED:
            logger.debug("late reply dropped: %s from %s", self._enforcer.describe(payload), queue.peer)
            return
        if run is not None:
            self._enqueue(queue, route, run, message, len(payload), size + MESSAGE_WEIGHT)
        elif schemed is not None:
            self._core.unhandled(queue, payload, schemed, fate)

    def _traced(
        self,
        queue: PeerQueue,
        payload: bytes,
        message: Message | None,
        run: Run | None,
        asked: float | None,
        *,
        taken: bool,
        fate: Fate,
    ) -> Run | None:
        """Trace and count a message; return its handler, timed, None if there is none."""
        tracer, node_id = self._tracer, queue.peer.node_id
        assert tracer is not None  # noqa: S101 - narrows the type for checkers
        if taken:
            tracer.trace("received", node_id, payload, message, since=asked, outcome="awaited")
            return run
        if run is None or fate is Fate.DROPPED:
            outcome = tracer.nobodys(payload)
            tracer.trace("received", node_id, payload, message, since=asked, handled=False, outcome=outcome)
            return run
        received = tracer.trace("received", node_id, payload, message, since=asked)
        return functools.partial(self._timed, queue, run, received, tracer.ticket("received", node_id, payload))

    def malformed(self, queue: PeerQueue, payload: bytes, error: Exception) -> None:
        """Pass a payload that does not decode to its handler, if that asks for it, or else apply the policy."""
        core, route = self._core, self._core.routes[payload[:2]]
        if queue.exchanges is not None:
            schema = core.tables.registry.lookup(int.from_bytes(payload[:2], "big"))
            if isinstance(schema, Schema):
                error = decode_error(payload, error, core.tables.registry)
                queue.exchanges.malformed(schema.cls, error)
        if route.rpc is not None and self._peer_rpcs is not None:
            route = self._peer_rpcs.route_of_malformed(queue, route)
        run: Run | None = route.handler
        if run is None or not route.malformed:
            core.malformed(queue, payload, error)
            return
        message = core.take_malformed(queue.peer.node_id, payload, error)
        if self._tracer is not None:
            tracer, node_id = self._tracer, queue.peer.node_id
            received = tracer.trace("received", node_id, payload, None, error=message.error)
            ticket = tracer.ticket("received", node_id, payload)
            run = functools.partial(self._timed, queue, run, received, ticket)
        self._enqueue(queue, route, run, message, len(payload), len(payload) + MESSAGE_WEIGHT)

    def _enqueue(
        self, queue: PeerQueue, route: Route, run: Run, message: Message | Malformed | bytes, size: int, weight: int
    ) -> None:
        """Enqueue a message for its handler, metered and access-controlled; ``size`` is the payload's."""
        hooks = queue.pending_hooks
        until = 0.0
        if route.access is not None:
            until = self._meter(queue, route.access, size, route.rate)
            if route.rpc is None:  # requests of JSON-RPC are answered with an error
                run = functools.partial(self._let_in, route.access, run)
        if route.concurrent:
            run = functools.partial(self._detach, queue, run, weight)
        if weight > LARGE:
            self._backpressure.take(queue, weight)
            run = functools.partial(self._in_room, queue, run, weight)
        if until:
            run = functools.partial(self._in_time, queue, run, until)
        if hooks is not None and hooks.holds(route.owner):
            self._workers.set_aside(queue, hooks, route.owner, (run, message, weight))
        else:
            self._workers.enqueue(queue, run, route.owner, message, weight)

    def _meter(self, queue: PeerQueue, access: AccessControl, size: int, rate: Rate | None) -> float:
        """Count a message in the rates of its extension and handler, and throttle a peer that exceeds one.

        Return the loop's time before which the handler should not be called, 0.0 if the handler's own rate allows it.
        """
        own = 0.0 if rate is None else access.take_rate(queue.peer, rate)
        seconds = access.throttled(access.take(queue.peer, size), (own, RATE))
        if seconds:
            self._backpressure.throttle(queue, seconds)
        return own and self._core.loop.time() + own

    async def _in_time(
        self, queue: PeerQueue, run: Run, until: float, context: Context, message: Message
    ) -> Message | None:
        """Run a handler when its rate allows it, or at once when the connection, or the application, ends."""
        if not self._core.closing:
            await queue.rest(until)
        return await run(context, message)

    async def _in_room(
        self, queue: PeerQueue, run: Run, weight: int, context: Context, message: Message
    ) -> Message | None:
        try:
            return await run(context, message)
        finally:
            self._backpressure.release(queue, weight)

    async def _timed(
        self, queue: PeerQueue, run: Run, received: float, ticket: Ticket | None, context: Context, message: Message
    ) -> None:
        """Run a handler and send its reply; time the one, and count what has come of the message."""
        if ticket is None:
            reply = await run(context, message)
            if reply is not None:
                await self._workers.reply(queue, reply, received)
            return
        began, outcome = clocks.monotonic(), ""
        try:
            reply = await run(context, message)
            if self._peer_rpcs is not None:
                outcome = self._peer_rpcs.outcome_of(message, reply)
        except BaseException as error:
            outcome = fate_of(error, connected=queue.info is not None)
            raise
        finally:
            outcome = outcome or "ok"
            ticket.times(context.extension).add(outcome, clocks.monotonic() - began)
            ticket.end(outcome)
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
