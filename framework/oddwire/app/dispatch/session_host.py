"""The application's side of the session: what peers say of themselves, and the requests of theirs that are handled."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from oddwire.app.context import Context
from oddwire.app.dispatch.acknowledgements import Acknowledgements
from oddwire.app.dispatch.connection_hooks import Excuse, urgently
from oddwire.app.dispatch.peer_queue import MESSAGE_WEIGHT, PeerQueue
from oddwire.app.dispatch.policy import Outcome, decode_error
from oddwire.app.dispatch.request_tasks import RequestTask, RequestTasks, task_of
from oddwire.app.limits.memory_budget import LARGE, REQUEST_WEIGHT, MemoryUse
from oddwire.app.plugins.manager import Contribution
from oddwire.app.plugins.router import Route, Router, vocabulary
from oddwire.errors import (
    ConnectionClosed,
    MalformedMessage,
    PeerNotConnected,
    Refuse,
    RemoteFailure,
    SessionError,
)
from oddwire.log_limits import get_logger
from oddwire.schema import Message, schema_of
from oddwire.session.limits import Allowance, Counters, Limits
from oddwire.session.peer.link import Link
from oddwire.session.peer.peer_session import PeerSession
from oddwire.session.peer.request_tables import HandledRequest
from oddwire.session.session import Session
from oddwire.session.wire.fields import clip
from oddwire.session.wire.frame_types import Ack, Code, Data, Failure, Refusal, ReplyFlag, Request, Scope, Spoken
from oddwire.session.wire.frames import encode_failure, encode_reply, is_part
from oddwire.transports.base import MAX_PAYLOAD, NodeId

if TYPE_CHECKING:
    from oddwire.app.dispatch.dispatcher import Dispatcher
    from oddwire.app.limits.access import AccessControl

__all__ = ["AppSessionHost", "spoken"]

logger = get_logger("oddwire.app")

_REPLYING: Final = 250e-6  # seconds of work for a reply that is not sent, and for each byte of it
_REPLYING_BYTE: Final = 2e-9


def spoken(owners: Sequence[Contribution]) -> tuple[Spoken, ...]:
    """Return what our hello says of the loaded extensions."""
    return tuple(
        Spoken(owner.name, owner.versions, (*sorted({schema_of(message).type_id for message in vocabulary(owner)}),))
        for owner in owners
        if owner.versions
    )


def _by_type(router: Router, allowances: Mapping[str, Allowance]) -> dict[int, Allowance]:
    """Return what holds for long messages: that of the extension which handles a type, or else claimed it first."""
    found: dict[int, Allowance] = {}
    for message, claimants in router.claims.items():
        owner = router.handlers[message][0] if message in router.handlers else claimants[0]
        allowance = allowances.get(owner.name)
        if allowance is not None and allowance.has("transfers", "reassembly_bytes", "transfer_seconds"):
            found[schema_of(message).type_id] = allowance
    return found


def _refusal_of(data: Data) -> Ack:
    """Return the answer to a reliable message where there is no store: what came up to it is refused, and forgotten."""
    text = "no reliable messages are taken here"
    failures = [Refusal(data.sequence, Code.UNSUPPORTED, text)]
    failures[:0] = [Refusal(before, Code.UNSUPPORTED, "") for before in range(data.base, data.sequence)]
    return Ack(Scope.LANE, 0, data.lane, data.epoch, data.sequence, (*failures,))


class AppSessionHost:
    """The `Host` of a session: it has peers' requests handled, and hands their other messages to the dispatcher."""

    def __init__(self, dispatcher: Dispatcher, limits: Limits | None) -> None:
        self._dispatcher = dispatcher
        # Nobody has to be called when a task ends, as it says so itself: that costs a turn of the loop
        self._answerers = RequestTasks(dispatcher.tasks.spawn_briefly, dispatcher.tasks.forget)
        self.session = Session(
            self,
            dispatcher.transport,
            instance=int.from_bytes(os.urandom(4), "big") or 1,
            program=dispatcher.app.program,
            stores=dispatcher.app.services.store_numbers(),
            spoken=spoken(dispatcher.router.owners),
            limits=limits,
            allowances={name: guard.allowance for name, guard in dispatcher.guards.items()},
        )
        self._allowances = _by_type(dispatcher.router, self.session.allowances)
        self._acks = Acknowledgements(dispatcher.spawn)

    @property
    def counters(self) -> Counters:
        """How often the application's limits of the session took effect."""
        return self.session.counters

    # The host ---------------------------------------------------------------------------------------

    def hello_received(self, link: Link, new: bool) -> None:
        """Send a program of a peer what waits for it."""
        logger.debug("%s speaks %s", link.node_id, dict(link.agreed) or "no extension of ours")
        if self._dispatcher.deliveries is not None:
            self._dispatcher.deliveries.hello_received(link, new)

    def message_received(self, node_id: NodeId, payload: bytes) -> None:
        """Take a message that came in fragments as if it had come whole."""
        self._dispatcher.whole_received(node_id, payload)

    def data_received(self, link: Link, data: Data) -> bool:
        """Take a reliable message, or refuse it for want of a store."""
        deliveries = self._dispatcher.deliveries
        if deliveries is not None:
            return deliveries.received(link, data)
        if not self._acks.post(link, _refusal_of(data)):
            return False
        self.counters.declined["unsupported"] += 1
        refusal = Refuse("there is no store here for reliable messages", code=Code.UNSUPPORTED)
        self._dispatcher.enforcer.refused(Outcome.DECLINED, link.node_id, refusal, data.content)
        return True

    def ack_received(self, link: Link, ack: Ack) -> bool:
        """Take what a peer says of our reliable messages."""
        deliveries = self._dispatcher.deliveries
        return deliveries is not None and deliveries.acknowledged(link, ack)

    def session_ended(self, link: Link) -> None:
        """Send no more reliable messages to a program that has ended."""
        if self._dispatcher.deliveries is not None:
            self._dispatcher.deliveries.session_ended(link)

    def ticked(self, peer: PeerSession, now: float) -> None:
        """Do what is due for a peer."""
        if self._dispatcher.deliveries is not None:
            self._dispatcher.deliveries.tick(peer, now)

    def malformed(self, node_id: NodeId, payload: bytes, error: MalformedMessage) -> None:
        """Deal with a frame that breaks the protocol's rules as with any malformed message."""
        queue = self._dispatcher.queues.get(node_id)
        if queue is not None:
            self._dispatcher.malformed(queue, payload, error)

    def throttle(self, node_id: NodeId, seconds: float) -> None:
        """Read a peer later."""
        queue = self._dispatcher.queues.get(node_id)
        if queue is not None:
            self._dispatcher.throttle(queue, seconds)

    def is_paused(self, node_id: NodeId) -> bool:
        """Say whether a peer is read later."""
        queue = self._dispatcher.queues.get(node_id)
        return queue is None or queue.paused

    def is_waiting(self, link: Link) -> bool:
        """Say whether reliable messages to a program wait for its acknowledgement."""
        deliveries = self._dispatcher.deliveries
        return deliveries is not None and deliveries.is_waiting(link)

    def is_crowded(self, node_id: NodeId) -> bool:
        """Say whether a peer should begin no transfer now."""
        return self._dispatcher.is_crowded(self._dispatcher.queues.get(node_id))

    def max_size_of(self, type_id: int) -> int:
        """Tell how long a message may be: as its schema says; nobody takes one without."""
        schema = self._dispatcher.router.registry.lookup(type_id)
        return 0 if schema is None else getattr(schema, "max_size", MAX_PAYLOAD)

    def title_of(self, type_id: int) -> str:
        """Tell what a type is called."""
        return self._dispatcher.router.registry.title_of(type_id)

    def allowance_of(self, type_id: int) -> Allowance | None:
        """Return what its extension lets a peer have of a long message's type."""
        return self._allowances.get(type_id)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task of the application's."""
        return self._dispatcher.spawn(work)

    def request_received(self, link: Link, handling: HandledRequest[RequestTask], request: Request) -> None:
        """Decode a request and give it a task, or refuse it."""
        dispatcher, content = self._dispatcher, request.content
        queue = dispatcher.queues.get(link.node_id)
        route = dispatcher.routes.get(content[:2])
        if queue is None or queue.hung_up:
            link.handled.close(handling)
            return
        if route is None or route.handler is None:
            self._unknown(link, handling, content)
            return
        if queue.replies and (dispatcher.room.full or queue.replies >= self.session.limits.reply_bytes):
            self._too_much(link, handling, "total_message_bytes" if dispatcher.room.full else "reply_bytes")
            return
        if len(content) > LARGE and dispatcher.is_crowded(queue):
            self._too_much(link, handling, "total_message_bytes")
            return
        context = queue.contexts[route.owner] or dispatcher.context(queue, route.owner)
        size = len(content)
        if route.guard is not None:
            answering = RequestTask(self._guarded, route.guard, link, handling, route, context, content)
        else:
            since = None
            if dispatcher.tracer is None:  # `_decode`, written out
                try:
                    message = route.decode(content)
                except Exception as error:
                    self._malformed(link, handling, content, error)
                    return
            else:
                decoded = self._decode(link, handling, route, content)
                if decoded is None:
                    return
                message, since = decoded
            if route.weigh is not None:
                size = route.weigh(message)
            answering = RequestTask(self._answer, link, handling, route, context, message, since)
        size += REQUEST_WEIGHT
        if size > LARGE:
            asked = queue.requested - queue.replies
            if asked > 0 and asked + size > self.session.limits.request_bytes:
                self._too_much(link, handling, "request_bytes")
                return
            if dispatcher.is_crowded(queue):  # few bytes may decode to many
                self._too_much(link, handling, "total_message_bytes")
                return
            use = self._use(queue, link, handling, size)
            if use is None:
                self._too_much(link, handling, "total_message_bytes")
                return
            answering.ended = use.ended
        else:
            if queue.small and queue.small + size > LARGE and dispatcher.room.full:
                self._too_much(link, handling, "total_message_bytes")
                return
            queue.small += size
            dispatcher.room.held += size
            answering.holder, answering.weight, answering.ended = queue, size, self._leave
        answering.peer = link
        if request.urgent:
            answering.work, answering.arguments = self._hasten, (queue, answering.work, answering.arguments)
        handling.handle = answering
        if queue.greeting is not None:
            excuse = Excuse.URGENT if request.urgent else Excuse.DELIVERY
            if queue.greeting.holds(route.owner, excuse):
                self._set_aside(link, queue, route.owner, answering, len(content), excuse)
                return
        self._answerers.handle(answering)

    def _too_much(self, link: Link, handling: HandledRequest[RequestTask], limit: str) -> None:
        link.handled.close(handling)
        most = getattr(self.session.limits, limit)
        whose = "of all peers" if limit.startswith("total") else "of a peer"
        what = "replies that wait to be read" if limit == "reply_bytes" else "requests and messages"
        text = f"{what} {whose} that are handled at once take {most} bytes at most"
        link.refuse(Scope.REQUEST, handling.id, Code.QUOTA, text, limit)

    def _leave(self, answering: RequestTask) -> None:
        answering.holder.small -= answering.weight
        self._dispatcher.room.held -= answering.weight

    def _use(self, queue: PeerQueue, link: Link, handling: HandledRequest[RequestTask], size: int) -> MemoryUse | None:
        """Count a large request, or its reply; None if there is no room."""

        def evict() -> None:
            if link.handled.has(handling):
                handle = handling.handle
                self._too_much(link, handling, "total_message_bytes")
                if handle is not None:
                    handle.cancel()

        dispatcher = self._dispatcher
        return dispatcher.room.take(queue, size, evict, dispatcher.loop.time())

    async def _hasten(self, queue: PeerQueue, work: Callable[..., Coroutine[Any, Any, None]], arguments: Any) -> None:
        with urgently(queue):
            await work(*arguments)

    def _set_aside(
        self, link: Link, queue: PeerQueue, owner: int, answering: RequestTask, size: int, excuse: Excuse
    ) -> None:
        """Have a request wait for a greeting: it counts as one that is handled, and as what its queue holds."""
        assert queue.greeting is not None  # noqa: S101 - narrows the type for checkers
        dispatcher, weight = self._dispatcher, size + MESSAGE_WEIGHT

        def release() -> None:
            link.working -= 1
            queue.held -= weight
            if queue.paused:
                dispatcher.resume_if_drained(queue)
            if not dispatcher.tasks.ending:
                self._answerers.handle(answering)

        link.working += 1
        dispatcher.hold(queue, weight)
        queue.greeting.hold(owner, release, excuse)

    def _decode(
        self, link: Link, handling: HandledRequest[RequestTask], route: Route, content: bytes
    ) -> tuple[Message, float | None] | None:
        """Return a request's message and, if it is traced, when it came; refuse one that is malformed."""
        tracer = self._dispatcher.tracer
        try:
            message = route.decode(content)
        except Exception as error:
            self._malformed(link, handling, content, error)
            return None
        return message, None if tracer is None else tracer.trace("received", link.node_id, content, message)

    def _malformed(self, link: Link, handling: HandledRequest[RequestTask], content: bytes, error: Exception) -> None:
        link.handled.close(handling)
        error = decode_error(content, error, self._dispatcher.router.registry)
        if self._dispatcher.tracer is not None:
            self._dispatcher.tracer.trace("received", link.node_id, content, None, error=error, handled=False)
        link.refuse(Scope.REQUEST, handling.id, Code.MALFORMED, str(error))

    def _unknown(self, link: Link, handling: HandledRequest[RequestTask], content: bytes) -> None:
        link.handled.close(handling)
        if self._dispatcher.tracer is not None:
            self._dispatcher.tracer.trace("received", link.node_id, content, None, handled=False)
        title = self.title_of(int.from_bytes(content[:2], "big"))
        link.refuse(Scope.REQUEST, handling.id, Code.UNKNOWN_MESSAGE, f"{title} is not handled here")

    async def _guarded(
        self,
        guard: AccessControl,
        link: Link,
        handling: HandledRequest[RequestTask],
        route: Route,
        context: Context,
        content: bytes,
    ) -> None:
        """Handle a request if the extension's guard lets it through."""
        try:
            with guard.handling(context.peer) as handling.on_answer:
                await guard.admit(context.peer, len(content))
                await self._dispatcher.transport.turn(link.node_id)
                with self._dispatcher.charging(link.node_id, content):
                    message = self._decode(link, handling, route, content)
                if message is not None:
                    await self._answer(link, handling, route, context, *message)
        except Refuse as refusal:
            link.refuse(Scope.REQUEST, handling.id, refusal.code, refusal.text)
            outcome = Outcome.NOT_ALLOWED if refusal.code == Code.NOT_ALLOWED else Outcome.REFUSED
            extension = context.extension
            self._dispatcher.enforcer.refused(outcome, link.node_id, refusal, content, extension=extension)
        except BaseException as error:  # of the function that says who may
            self._dispatcher.enforcer.failed(context, None, error, task=task_of(handling.handle))
            link.refuse(Scope.REQUEST, handling.id, Code.INTERNAL, "")
        finally:
            link.handled.close(handling)

    # Answering --------------------------------------------------------------------------------------

    async def _answer(
        self,
        link: Link,
        handling: HandledRequest[RequestTask],
        route: Route,
        context: Context,
        message: Message,
        since: float | None,
    ) -> None:
        link.working += 1
        try:
            if self._dispatcher.takes_turns:
                await self._dispatcher.transport.turn(link.node_id)
            if handling.streams:
                if route.stream is not None:
                    await self._answer_stream(link, handling, route.stream(context, message), since)
                    return
            elif route.stream is not None:
                text = f"{type(message).__name__} is answered by a stream: ask for one"
                await self._fail(link, handling, Code.UNSUPPORTED, text)
                return
            assert route.handler is not None  # noqa: S101 - narrows the type for checkers
            reply = await route.handler(context, message)
            if reply is None:
                await self._fail(link, handling, Code.NO_REPLY, "")
                return
            payload = self._dispatcher.outgoing[type(reply)].encode(reply)
            frame = encode_reply(link.route, handling.id, 0, payload)
            if since is None and self._goes_at_once(link, frame, handling):
                pass
            elif since is None:
                del reply, payload  # it may be long until the peer has read it
                await self._send(link, frame, handling)
            elif await self._send(link, frame, handling):
                self._trace(link, payload, reply, since)
        except Refuse as error:
            self._dispatcher.enforcer.failed(context, message, error)
            await self._fail(link, handling, error.code, error.text)
        except BaseException as error:
            given_up = handling.handle is None or handling.handle.cancelled
            ending = given_up or self._dispatcher.tasks.ending
            self._dispatcher.enforcer.failed(context, message, error, ending, task_of(handling.handle))
            await self._fail(link, handling, Code.INTERNAL, "")
        finally:
            link.working -= 1
            link.handled.close(handling)

    async def _answer_stream(
        self,
        link: Link,
        handling: HandledRequest[RequestTask],
        stream: AsyncGenerator[Message, None],
        since: float | None,
    ) -> None:
        """Send what a handler yields as the credit allows."""
        async with aclosing(stream):
            async for part in stream:
                await self._dispatcher.transport.turn(link.node_id)
                payload = self._dispatcher.outgoing[type(part)].encode(part)
                while handling.sent >= handling.allowed:
                    assert handling.handle is not None  # noqa: S101 - narrows the type for checkers
                    handling.handle.credit = self._dispatcher.loop.create_future()
                    link.wait_for_credit(handling)
                    await handling.handle.credit
                    link.handled.wait(handling)
                handling.sent += 1
                if not await self._send(link, encode_reply(link.route, handling.id, ReplyFlag.PART, payload), handling):
                    return
                if since is not None:
                    self._trace(link, payload, part, since)
        await self._send(link, encode_reply(link.route, handling.id, ReplyFlag.END, b""), handling)

    def _goes_at_once(self, link: Link, frame: bytes, handling: HandledRequest[RequestTask]) -> bool:
        """Send a reply that nothing keeps waiting, as most are; else it is `_send`'s, which knows what there may be."""
        try:
            return (
                len(frame) <= MAX_PAYLOAD
                and link.handled.has(handling)
                and self._dispatcher.send_nowait(link.node_id, frame)
            )
        except (PeerNotConnected, ConnectionClosed):
            return False

    async def _send(self, link: Link, frame: bytes, handling: HandledRequest[RequestTask]) -> bool:
        """Send a reply of any length; False if it will not arrive, or nobody waits for it any more."""
        if not link.handled.has(handling):
            return False
        if len(frame) <= LARGE:
            return await self._send_now(link, frame, handling)
        queue, size = self._dispatcher.queues.get(link.node_id), len(frame)
        if queue is None:
            return False
        self._dispatcher.transport.worked(link.node_id, size * _REPLYING_BYTE)
        limit = "reply_bytes"
        use = None
        if not queue.replies or queue.replies + size <= self.session.limits.reply_bytes:
            # Who traces it has the message and its payload, too
            use = self._use(queue, link, handling, size if self._dispatcher.tracer is None else 3 * size)
            limit = "total_message_bytes"
        if use is None:
            self._too_much(link, handling, limit)
            self._dispatcher.transport.worked(link.node_id, _REPLYING + size * _REPLYING_BYTE, wasted=True)
            return False
        use.reply = size
        queue.replies += size
        try:
            return await self._send_now(link, frame, handling)
        finally:
            use.end()

    async def _send_now(self, link: Link, frame: bytes, handling: HandledRequest[RequestTask]) -> bool:
        try:
            if len(frame) <= MAX_PAYLOAD:
                if not self._dispatcher.send_nowait(link.node_id, frame):
                    if not is_part(frame):
                        link.handled.answer(handling)
                    await self._dispatcher.transport.send(link.node_id, frame)
                return True

            def refused(failure: Failure) -> None:
                link.refuse(Scope.REQUEST, handling.id, failure.code, f"the reply: {failure.text}")
                if link.handled.close(handling) and handling.handle is not None:
                    handling.handle.cancel()

            if not is_part(frame):
                link.handled.answer(handling)
            await link.large.send(frame, failed=refused)
            return True
        except RemoteFailure:
            return False  # and told
        except (PeerNotConnected, ConnectionClosed):
            logger.debug("%s went before its reply", link.node_id)
        except SessionError as error:
            await self._fail(link, handling, Code.TOO_LARGE, f"the reply: {error}")
        return False

    async def _fail(self, link: Link, handling: HandledRequest[RequestTask], code: int, text: str) -> None:
        if not link.handled.has(handling):
            return
        try:
            frame = encode_failure(link.route, Scope.REQUEST, handling.id, code, clip(text))
            link.handled.answer(handling)
            await self._dispatcher.transport.send(link.node_id, frame)
        except (PeerNotConnected, ConnectionClosed):
            logger.debug("%s went before it heard of a failure", link.node_id)

    def _trace(self, link: Link, payload: bytes, message: Message, since: float) -> None:
        if self._dispatcher.tracer is not None:
            with self._dispatcher.charging(link.node_id, payload):
                self._dispatcher.tracer.trace("sent", link.node_id, payload, message, since=since)
