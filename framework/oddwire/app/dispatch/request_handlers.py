"""Handling of peers' requests: their tasks and limits, and the replies or failures that are sent."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from oddwire.app.context import Context
from oddwire.app.declarations.malformed import Malformed
from oddwire.app.dispatch.connection_hooks import Excuse, urgently
from oddwire.app.dispatch.peer_queue import MESSAGE_WEIGHT, PeerQueue
from oddwire.app.dispatch.policy import Outcome, decode_error
from oddwire.app.dispatch.request_tasks import RequestTask, RequestTasks, task_of
from oddwire.app.insight.counts import fate_of
from oddwire.app.insight.handler_times import timed_route
from oddwire.app.limits.memory_budget import LARGE, REQUEST_WEIGHT, MemoryUse
from oddwire.app.plugins.tables import Route
from oddwire.errors import ConnectionClosed, PeerNotConnected, Refuse, RemoteFailure, SessionError
from oddwire.log_limits import get_logger
from oddwire.schema import Message
from oddwire.session.peer.link import Link
from oddwire.session.peer.request_tables import HandledRequest
from oddwire.session.wire.frame_types import Code, Failure, ReplyFlag, Request, Scope
from oddwire.session.wire.frames import encode_reply

if TYPE_CHECKING:
    from oddwire.app.dispatch.core import Core
    from oddwire.app.dispatch.tracing import Tracer
    from oddwire.app.insight.counts import Counts, Ticket
    from oddwire.app.limits.access import AccessControl
    from oddwire.app.limits.backpressure import Backpressure

__all__ = ["RequestHandlers"]

logger = get_logger("oddwire.app")

_REPLYING: Final = 250e-6  # seconds of work charged for a reply that is not sent, and per byte of it
_REPLYING_BYTE: Final = 2e-9
_SHORT: Final = 65_000  # bytes of a reply that fits into one frame with its header


class RequestHandlers:
    """Runs the handlers of requests and sends their replies."""

    def __init__(self, core: Core, backpressure: Backpressure) -> None:
        self._core = core
        self._backpressure = backpressure
        self._budget = core.memory_budget
        self._enforcer = core.enforcer
        self._limits = core.limits
        self._outgoing = core.outgoing
        self._queues = core.queues
        self._routes = core.routes
        self._takes_turns = core.takes_turns
        self._tracer: Tracer | None = None
        self._transport = core.transport
        core.trace_in(self)
        # Without done callbacks, which cost an event-loop iteration: a task reports its own end
        self._request_tasks = RequestTasks(core.tasks.spawn_briefly, core.tasks.discard)

    def use_tracer(self, tracer: Tracer | None) -> None:
        """Trace requests and their replies by this tracer from now on; count them, and time their handlers."""
        self._tracer, routes = tracer, self._core.routes
        counts = None if tracer is None else tracer.counts
        if counts is not None:
            routes = {prefix: self._timed(route, prefix, counts) for prefix, route in routes.items()}
        self._routes = routes

    def _timed(self, route: Route, prefix: bytes, counts: Counts) -> Route:
        if route.handler is None:
            return route
        times = counts.times(self._core.owner_name(route.owner), int.from_bytes(prefix, "big"))
        return timed_route(route, times, fate_of)

    def request_received(self, link: Link, handling: HandledRequest[RequestTask], request: Request) -> None:
        """Decode a request and queue it for a task, or refuse it."""
        content, budget = request.content, self._budget
        queue = self._queues.get(link.node_id)
        route = self._routes.get(content[:2])
        ticket = None if self._tracer is None else self._tracer.ticket("received", link.node_id, content)
        if queue is None or queue.hung_up:
            link.handled.close(handling)
            _end(ticket, "dropped")
            return
        if route is None or route.handler is None:
            self._unknown(link, handling, content, ticket)
            return
        if queue.replies and (budget.full or queue.replies >= self._limits.reply_bytes):
            self._too_much(link, handling, "total_message_bytes" if budget.full else "reply_bytes", ticket)
            return
        if len(content) > LARGE and self._backpressure.is_crowded(queue):
            self._too_much(link, handling, "total_message_bytes", ticket)
            return
        context = queue.contexts[route.owner] or self._core.context(queue, route.owner)
        size = len(content)
        if route.access is not None:
            task = RequestTask(self._let_in, route.access, link, handling, route, context, content)
        else:
            since: float | None = None
            message: Message | Malformed
            if self._tracer is None:  # `_decode`, inlined
                try:
                    message = route.decode(content)
                except Exception as error:
                    if not route.malformed:
                        self._malformed(link, handling, content, error)
                        return
                    message = self._core.take_malformed(link.node_id, content, error)
            else:
                decoded = self._decode(link, handling, route, content)
                if decoded is None:
                    _end(ticket, "malformed")
                    return
                message, since = decoded
            if route.weigh is not None and not isinstance(message, Malformed):
                size = route.weigh(message)
            task = RequestTask(self._answer, link, handling, route, context, message, since)
        size += REQUEST_WEIGHT
        if size > LARGE:
            asked = queue.requested - queue.replies
            if asked > 0 and asked + size > self._limits.request_bytes:
                self._too_much(link, handling, "request_bytes", ticket)
                return
            if self._backpressure.is_crowded(queue):  # a short payload may decode to a large message
                self._too_much(link, handling, "total_message_bytes", ticket)
                return
            use = self._use(queue, link, handling, size)
            if use is None:
                self._too_much(link, handling, "total_message_bytes", ticket)
                return
            task.holder, task.ended = use, self._end_large
        else:
            if queue.small and queue.small + size > LARGE and budget.full:
                self._too_much(link, handling, "total_message_bytes", ticket)
                return
            queue.small += size
            budget.held += size
            task.holder, task.weight, task.ended = queue, size, self._end
        if ticket is not None:
            _count(task, ticket)
        task.peer, task.request = link, handling
        if request.urgent:
            task.work, task.arguments = self._hasten, (queue, task.work, task.arguments)
        handling.handle = task
        if queue.pending_hooks is not None:
            excuse = Excuse.URGENT if request.urgent else Excuse.DELIVERY
            if queue.pending_hooks.holds(route.owner, excuse):
                self._set_aside(queue, route.owner, task, len(content), excuse)
                return
        self._request_tasks.handle(task)

    def _too_much(
        self, link: Link, handling: HandledRequest[RequestTask], limit: str, ticket: Ticket | None = None
    ) -> None:
        _end(ticket, "refused")
        most = getattr(self._limits, limit)
        whose = "of all peers" if limit.startswith("total") else "of a peer"
        what = "replies that wait to be read" if limit == "reply_bytes" else "requests and messages"
        text = f"{what} {whose} that are handled at once take {most} bytes at most"
        link.refuse_request(handling, Code.QUOTA, text, limit)

    def _end(self, task: RequestTask) -> None:
        task.holder.small -= task.weight
        self._budget.held -= task.weight
        handling, task.request = task.request, None
        task.peer.request_ended(handling)

    @staticmethod
    def _end_large(task: RequestTask) -> None:
        task.holder.end()
        handling, task.request = task.request, None
        task.peer.request_ended(handling)

    def _use(self, queue: PeerQueue, link: Link, handling: HandledRequest[RequestTask], size: int) -> MemoryUse | None:
        """Count a large request, or its reply, in the memory budget; return None if there is no room."""

        def evict() -> None:
            if link.handled.has(handling):
                handle = handling.handle
                self._too_much(link, handling, "total_message_bytes")
                if handle is not None:
                    handle.cancel()

        return self._budget.take(queue, size, evict, self._core.loop.time())

    async def _hasten(self, queue: PeerQueue, work: Callable[..., Coroutine[Any, Any, object]], arguments: Any) -> None:
        with urgently(queue):
            await work(*arguments)

    def _set_aside(self, queue: PeerQueue, owner: int, task: RequestTask, size: int, excuse: Excuse) -> None:
        """Hold a request until on_connect hooks have ended; it also counts as held by its queue."""
        assert queue.pending_hooks is not None  # noqa: S101 - narrows the type for checkers
        weight = size + MESSAGE_WEIGHT

        def release() -> None:
            queue.held -= weight
            if queue.paused:
                self._backpressure.resume_if_drained(queue)
            task.aside = False
            if task.cancelled:
                task.end()
            elif not self._core.tasks.ending:
                self._request_tasks.handle(task)

        task.aside = True
        self._backpressure.hold(queue, weight)
        queue.pending_hooks.hold(owner, release, excuse)

    def _decode(
        self, link: Link, handling: HandledRequest[RequestTask], route: Route, content: bytes
    ) -> tuple[Message | Malformed, float | None] | None:
        """Return a request's message and, if traced, when it was received.

        One that is malformed is refused, and None is returned, unless the handler takes `Malformed`.
        """
        tracer = self._tracer
        try:
            message = route.decode(content)
        except Exception as error:
            if not route.malformed:
                self._malformed(link, handling, content, error)
                return None
            taken = self._core.take_malformed(link.node_id, content, error)
            if tracer is None:
                return taken, None
            return taken, tracer.trace("received", link.node_id, content, None, error=taken.error)
        return message, None if tracer is None else tracer.trace("received", link.node_id, content, message)

    def _malformed(self, link: Link, handling: HandledRequest[RequestTask], content: bytes, error: Exception) -> None:
        error = decode_error(content, error, self._core.tables.registry)
        if self._tracer is not None:
            self._tracer.trace("received", link.node_id, content, None, error=error, handled=False)
        link.refuse_request(handling, Code.MALFORMED, str(error))

    def _unknown(
        self, link: Link, handling: HandledRequest[RequestTask], content: bytes, ticket: Ticket | None
    ) -> None:
        if self._tracer is not None:
            _end(ticket, self._tracer.nobodys(content))
            self._tracer.trace("received", link.node_id, content, None, handled=False)
        title = self._core.tables.registry.title_of(int.from_bytes(content[:2], "big"))
        link.refuse_request(handling, Code.UNKNOWN_MESSAGE, f"{title} is not handled here")

    async def _let_in(
        self,
        access: AccessControl,
        link: Link,
        handling: HandledRequest[RequestTask],
        route: Route,
        context: Context,
        content: bytes,
    ) -> str:
        """Handle a request if the extension's access control admits it. Return what came of it, for its count."""
        try:
            with access.handling(context.peer) as handling.on_answer:
                await access.admit(context.peer, len(content), route.rate)
                await self._transport.turn(link.node_id)
                with self._core.charging(link.node_id, content):
                    message = self._decode(link, handling, route, content)
                if message is None:
                    return "malformed"
                return await self._answer(link, handling, route, context, *message)
        except Refuse as refusal:
            link.refuse_request(handling, refusal.code, refusal.text)
            outcome = Outcome.NOT_ALLOWED if refusal.code == Code.NOT_ALLOWED else Outcome.REFUSED
            self._enforcer.refused(outcome, link.node_id, refusal, content, extension=context.extension)
            return "refused"
        except BaseException as error:  # raised by the extension's ``allow`` function
            self._enforcer.failed(context, None, error, task=task_of(handling.handle), what="allow function")
            link.refuse_request(handling, Code.INTERNAL, "")
            return "failed"

    # Answering --------------------------------------------------------------------------------------

    async def _answer(
        self,
        link: Link,
        handling: HandledRequest[RequestTask],
        route: Route,
        context: Context,
        message: Message | Malformed,
        since: float | None,
    ) -> str:
        """Run a request's handler and send its reply, or a failure. Return what came of the request, for its count."""
        try:
            if self._takes_turns:
                await self._transport.turn(link.node_id)
            if handling.streams:
                if route.stream is not None:
                    await self._answer_stream(link, handling, route, context, message, since)
                    return "ok"
            elif route.stream is not None:
                text = f"{type(message).__name__} is answered by a stream: ask for one"
                await self._fail(link, handling, Code.UNSUPPORTED, text)
                return "refused"
            assert route.handler is not None  # noqa: S101 - narrows the type for checkers
            reply = await route.handler(context, message)
            if reply is None:
                await self._fail(link, handling, Code.NO_REPLY, "")
                return "ok"
            payload = self._outgoing[type(reply)].encode(reply)
            if since is None and len(payload) <= _SHORT and link.replied_at_once(handling, payload):
                return "ok"
            if since is None:
                sending = self._send(link, handling, payload)
                del reply, payload  # not kept while the peer reads it, which may take long
                await sending
            elif await self._send(link, handling, payload):
                self._trace(link, payload, reply, since)
            elif self._tracer is not None:
                self._tracer.count("sent", link.node_id, payload, "unsent")
            return "ok"
        except Refuse as error:
            self._enforcer.failed(context, message, error)
            await self._fail(link, handling, error.code, error.text)
            return "refused"
        except BaseException as error:
            cancelled = handling.handle is None or handling.handle.cancelled
            ending = cancelled or self._core.tasks.ending
            self._enforcer.failed(context, message, error, ending, task_of(handling.handle))
            await self._fail(link, handling, Code.INTERNAL, "")
            return "failed"

    async def _answer_stream(
        self,
        link: Link,
        handling: HandledRequest[RequestTask],
        route: Route,
        context: Context,
        message: Message | Malformed,
        since: float | None,
    ) -> None:
        """Send the messages that a handler yields, as far as the peer's credit allows."""
        if route.pump is not None:
            wanted = True

            async def take(part: Message) -> bool:
                nonlocal wanted
                wanted = wanted and await self._send_part(link, handling, part, since)
                return wanted

            last = await route.pump(context, message, take)
            if not wanted or (last is not None and not await take(last)):
                return
        else:
            assert route.stream is not None  # noqa: S101 - narrows the type for checkers
            async with aclosing(route.stream(context, message)) as stream:
                async for part in stream:
                    if not await self._send_part(link, handling, part, since):
                        return
        await self._send(link, handling, b"", ReplyFlag.END)

    async def _send_part(
        self, link: Link, handling: HandledRequest[RequestTask], part: Message, since: float | None
    ) -> bool:
        """Send one message of a stream. Return False if nobody wants any more."""
        await self._transport.turn(link.node_id)
        payload = self._outgoing[type(part)].encode(part)
        while handling.sent >= handling.allowed:
            assert handling.handle is not None  # noqa: S101 - narrows the type for checkers
            if self._core.closing:  # peers are paused: none comes
                return False
            handling.handle.credit = credit = self._core.loop.create_future()
            link.wait_for_credit(handling)
            self._core.stalled.add(credit)
            try:
                if not await credit:
                    return False
            finally:
                self._core.stalled.discard(credit)
            link.handled.wait(handling)
        handling.sent += 1
        if not await self._send(link, handling, payload, ReplyFlag.PART):
            return False
        if since is not None:
            self._trace(link, payload, part, since)
        return True

    async def _send(self, link: Link, handling: HandledRequest[RequestTask], payload: bytes, flags: int = 0) -> bool:
        """Send a reply of any length. Return False if it will not arrive, or is not awaited any more."""
        try:
            if len(payload) <= _SHORT:
                sending = link.reply(handling, payload, flags)
                del payload
                return await sending
            frame = encode_reply(link.route, handling.id, flags, payload)
            del payload
            return await self._send_long(link, frame, handling)
        except RemoteFailure:
            return False  # the peer has been sent the failure
        except (PeerNotConnected, ConnectionClosed):
            logger.debug("%s disconnected before its reply", link.node_id)
        except SessionError as error:
            await self._fail(link, handling, Code.TOO_LARGE, f"the reply: {error}")
        return False

    async def _send_long(self, link: Link, frame: bytes, handling: HandledRequest[RequestTask]) -> bool:
        """Send a reply that may need fragments. A large one counts in the memory budget until the peer has read it."""
        if not link.handled.has(handling):
            return False
        if len(frame) <= LARGE:
            await self._send_frame(link, frame, handling)
            return True
        queue, size = self._queues.get(link.node_id), len(frame)
        if queue is None:
            return False
        self._transport.worked(link.node_id, size * _REPLYING_BYTE)
        limit = "reply_bytes"
        use = None
        if not queue.replies or queue.replies + size <= self._limits.reply_bytes:
            # Tracers keep the message and its payload, too
            use = self._use(queue, link, handling, size if self._tracer is None else 3 * size)
            limit = "total_message_bytes"
        if use is None:
            self._too_much(link, handling, limit)
            self._transport.worked(link.node_id, _REPLYING + size * _REPLYING_BYTE, wasted=True)
            return False
        use.count_reply(size)
        try:
            await self._send_frame(link, frame, handling)
        finally:
            use.end()
        return True

    async def _send_frame(self, link: Link, frame: bytes, handling: HandledRequest[RequestTask]) -> None:
        def refused(failure: Failure) -> None:
            link.refuse(Scope.REQUEST, handling.id, failure.code, f"the reply: {failure.text}")
            if link.handled.close(handling) and handling.handle is not None:
                handling.handle.cancel()

        await link.send_reply(handling, frame, refused)

    async def _fail(self, link: Link, handling: HandledRequest[RequestTask], code: int, text: str) -> None:
        try:
            await link.fail(handling, code, text)
        except (PeerNotConnected, ConnectionClosed):
            logger.debug("%s disconnected before a failure was sent", link.node_id)

    def _trace(self, link: Link, payload: bytes, message: Message, since: float) -> None:
        if self._tracer is not None:
            with self._core.charging(link.node_id, payload):
                self._tracer.trace("sent", link.node_id, payload, message, since=since, outcome="ok")


async def _counted(ticket: Ticket, work: Callable[..., Coroutine[Any, Any, str]], arguments: Any) -> None:
    ticket.outcome = await work(*arguments)


def _count(task: RequestTask, ticket: Ticket) -> None:
    """Count what comes of a request that has a task."""
    ended = task.ended

    def end(task: RequestTask) -> None:
        ticket.end()
        if ended is not None:
            ended(task)

    task.work, task.arguments, task.ended = _counted, (ticket, task.work, task.arguments), end


def _end(ticket: Ticket | None, outcome: str) -> None:
    if ticket is not None:
        ticket.end(outcome)
