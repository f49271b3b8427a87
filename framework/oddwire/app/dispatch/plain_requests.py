"""Requests without ids, and waiting for messages: what there is with peers that have no session."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from oddwire.app.declarations.annotations import either
from oddwire.app.dispatch.exchanges import Exchange, Exchanges, State
from oddwire.app.dispatch.listeners import MessageStream, NextMessage
from oddwire.app.dispatch.questions import Match, Question, check_function
from oddwire.app.insight.counts import sent_fate
from oddwire.durations import duration
from oddwire.errors import NotSupported, OddwireError, ReplyTimeout
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, schema_of
from oddwire.transports.base import MAX_PAYLOAD, fast_send, not_connected
from oddwire.transports.host import HostTransport

if TYPE_CHECKING:
    from oddwire.app.dispatch.core import Core
    from oddwire.app.dispatch.peer_queue import PeerQueue
    from oddwire.app.dispatch.tracing import Tracer
    from oddwire.app.insight.counts import Ticket
    from oddwire.app.limits.backpressure import Backpressure
    from oddwire.app.plugins.manager import Contribution

__all__ = ["PlainRequests", "too_long"]


class PlainRequests:
    """Sends requests as plain messages, and waits for messages of peers.

    ``check_support`` raises `NotSupported` for a message of even type that the peer does not show to know.
    """

    def __init__(
        self,
        core: Core,
        backpressure: Backpressure,
        check_support: Callable[[NodeId, Message, tuple[Contribution, ...]], Coroutine[Any, Any, None]],
    ) -> None:
        self._core = core
        self._backpressure = backpressure
        self._check_support = check_support
        self._transport = core.transport
        self._send_nowait = fast_send(core.transport)
        self._is_hosted = isinstance(core.transport, HostTransport)
        self._queues = core.queues
        self._tracer: Tracer | None = None
        core.trace_in(self)
        self._questions: dict[tuple[type[Message], tuple[type[Message], ...]], Question] = {}

    def use_tracer(self, tracer: Tracer | None) -> None:
        """Trace and count requests by this tracer from now on."""
        self._tracer = tracer

    def in_order(self, message: Message, accepted: tuple[type[Message], ...]) -> Question:
        """Return the question of a request without a match: one for all requests of its class for these replies."""
        key = type(message), accepted
        question = self._questions.get(key)
        if question is None:
            question = self._questions[key] = Question(schema_of(message).name, accepted)
        return question

    async def ask(
        self,
        queue: PeerQueue,
        message: Message,
        question: Question,
        left: float | None,
        limit: float | None,
        force: bool,
    ) -> Any:
        """Send a request once its reply can be told from others, and return that.

        Waits ``left`` seconds, of the ``limit`` that is named if they are over. Raises as `Peer.request` does.
        """
        node_id = queue.peer.node_id
        encode, owners, _ = self._core.outgoing[type(message)]
        payload = encode(message)
        if len(payload) > MAX_PAYLOAD:
            why = "plain=True sends it without the session" if queue.session is not None else ""
            raise too_long(node_id, message, payload, why)
        exchanges = queue.exchanges
        if exchanges is None:
            core = self._core
            exchanges = Exchanges(node_id, core.loop, core.counters, core.limits.open_requests, queue.look)
            queue.exchanges = exchanges
        exchange = exchanges.open(question)
        self._backpressure.ask(queue)
        deadline = asyncio.timeout(left)
        ticket: Ticket | None = None
        try:
            async with deadline:
                if exchange.turn is not None:
                    await exchanges.turn(exchange)
                if owners is not None and not force:
                    await self._check_support(node_id, message, owners)
                if not exchange.answer.done():  # else the connection has ended
                    exchanges.advance(exchange, State.SENT)
                    tracer = self._tracer
                    if tracer is not None:
                        ticket = tracer.ticket("sent", node_id, payload)
                    try:
                        if not self._send_nowait(node_id, payload):
                            await self._send(exchanges, exchange, node_id, payload)
                    except OddwireError:
                        exchanges.advance(exchange, State.SENDING)
                        if ticket is not None:
                            ticket.end("unsent")
                        raise
                    if tracer is not None:
                        tracer.trace("sent", node_id, payload, message)
                answer = await exchange.answer
                if ticket is not None:
                    ticket.end("ok")
                return answer
        except TimeoutError:
            if limit is None or not deadline.expired():
                raise
            error = exchanges.too_late(exchange, limit, limit if left is None else limit - left)
            if ticket is not None:
                ticket.end(sent_fate(error))
        except OddwireError:  # what came is not the reply, or the connection has ended
            if ticket is not None:
                ticket.end("failed")
            raise
        finally:
            if ticket is not None:
                ticket.end()
            queue.request_ended()
            exchanges.close(exchange)
            del exchange, deadline  # an error's traceback refers to this frame
        try:
            raise error  # only here: in the context of the timeout it would be part of a reference cycle
        finally:
            del error

    async def _send(self, exchanges: Exchanges, exchange: Exchange, node_id: NodeId, payload: bytes) -> None:
        """Send a request that may have to wait for that, and record how far this comes if it is cancelled."""
        if not self._is_hosted:  # a host node may send what is cancelled here
            exchanges.advance(exchange, State.SENDING)
        await self._transport.send(node_id, payload)
        exchanges.advance(exchange, State.SENT)

    async def wait_for(
        self, node_id: NodeId, accepted: tuple[type[Message], ...], match: Match | None, limit: float | None
    ) -> Any:
        """Return the next message of the ``accepted`` classes; see `Peer.wait_for`."""
        check_function("wait_for()", match)
        queue = self._connected(node_id)
        waiting = NextMessage(match, self._core.loop)
        queue.listen(accepted, waiting)
        self._backpressure.ask(queue)
        deadline = asyncio.timeout(limit)
        try:
            async with deadline:
                return await waiting.future
        except TimeoutError:
            if limit is None or not deadline.expired():
                raise
        finally:
            queue.request_ended()
            queue.unlisten(accepted, waiting)
            del waiting, deadline  # an error's traceback refers to this frame
        raise ReplyTimeout(f"no {either(accepted)} from {node_id} within {duration(limit)}", timeout=limit)

    def messages(self, node_id: NodeId, accepted: tuple[type[Message], ...], match: Match | None) -> MessageStream[Any]:
        """Return a stream of the messages of the ``accepted`` classes; see `Peer.messages`."""
        check_function("messages()", match)
        return MessageStream(accepted, match, functools.partial(self._connected, node_id), self._backpressure)

    def _connected(self, node_id: NodeId) -> PeerQueue:
        queue = self._queues.get(node_id)
        if queue is None or queue.info is None:
            raise not_connected(node_id)
        return queue


def too_long(node_id: NodeId, message: Message, payload: bytes, why: str = "") -> NotSupported:
    """Return the error for a message that needs a session; ``why`` there is none: by default, the peer has none."""
    name, size, why = schema_of(message).name, len(payload), why or f"{node_id} has no session"
    return NotSupported(f"{name} has {size} bytes here, and {why}: it takes {MAX_PAYLOAD} at most", feature="session")
