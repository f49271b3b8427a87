"""Sending to peers: messages, reliable messages, and requests.

Requests carry the session's ids. For peers without a session `exchanges` tells which message answers which.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, TypeVar

from oddwire import clocks
from oddwire.app.declarations.annotations import alternatives, either
from oddwire.app.dispatch.connection_hooks import counting_request, is_urgent
from oddwire.app.dispatch.listeners import MessageStream
from oddwire.app.dispatch.peer_queue import PeerQueue
from oddwire.app.dispatch.plain_requests import PlainRequests, too_long
from oddwire.app.dispatch.questions import Match, question_of
from oddwire.app.insight.counts import sent_fate
from oddwire.app.plugins.manager import Contribution
from oddwire.app.plugins.tables import check_support, not_shown, shows_support, unregistered
from oddwire.durations import duration
from oddwire.errors import DecodeError, EncodeError, NotSupported, RemoteFailure, ReplyTimeout
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, schema_of
from oddwire.session.peer.fragment_sender import Progress
from oddwire.session.peer.link import Link
from oddwire.session.peer.peer_session import PeerSession
from oddwire.session.wire.frame_types import Code
from oddwire.transports.base import MAX_PAYLOAD, PeerInfo, fast_send, not_connected

if TYPE_CHECKING:
    from oddwire.app.dispatch.core import Core
    from oddwire.app.dispatch.peer_rpcs import PeerRpcs
    from oddwire.app.dispatch.tracing import Tracer
    from oddwire.app.extension import Extension
    from oddwire.app.limits.backpressure import Backpressure
    from oddwire.app.resending.again import Again, Pending
    from oddwire.app.resending.keys import Key
    from oddwire.session.reliable.receipt import Receipt

__all__ = ["AppMessenger"]

M = TypeVar("M", bound=Message)


class AppMessenger:
    """The `Messenger` of a running application: its messages and requests to peers."""

    def __init__(self, core: Core, backpressure: Backpressure) -> None:
        self._core = core
        self._backpressure = backpressure
        self._transport = core.transport
        self._send_nowait = fast_send(core.transport)
        self._queues = core.queues
        self._routes = core.routes
        self._outgoing = core.outgoing
        self._tables = core.tables
        self._tracer: Tracer | None = None
        core.trace_in(self)
        self._plain_requests = PlainRequests(core, backpressure, self.check_support)
        self.peer_rpcs: PeerRpcs | None = None
        """JSON-RPC with peers, None if no plugin has any."""

    def use_tracer(self, tracer: Tracer | None) -> None:
        """Trace and count what is sent, and replies, by this tracer from now on."""
        self._tracer = tracer

    # Peers ------------------------------------------------------------------------------------------

    def info(self, node_id: NodeId) -> PeerInfo | None:
        """Return the `PeerInfo` of a connected peer, None for any other."""
        queue = self._queues.get(node_id)
        return None if queue is None else queue.info

    def session_of(self, node_id: NodeId) -> PeerSession | None:
        """Return a connected peer's session, None without one."""
        queue = self._queues.get(node_id)
        return None if queue is None else queue.session

    def owner_of(self, extension: Extension | str) -> Contribution:
        """Return the contribution of a loaded extension. Raises `ExtensionError`."""
        return self._tables.owner_of(extension)

    def peer_rpc(self, message: type[Message], extension: str) -> PeerRpcs:
        """Return the JSON-RPC of the application. Raises `ExtensionError` if it has none of this message's type."""
        if self.peer_rpcs is None:
            from oddwire.app.dispatch.peer_rpcs import not_loaded  # seldom needed

            raise not_loaded(message, extension)
        return self.peer_rpcs

    # Messages ---------------------------------------------------------------------------------------

    async def send(
        self,
        node_id: NodeId,
        message: Message,
        force: bool = False,
        since: float | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Encode a message and send it; see `Peer.send`. ``since`` is when the message that it answers was received."""
        encode, owners, _ = self._outgoing[type(message)]
        if owners is not None and not force:
            await self.check_support(node_id, message, owners)
        payload = encode(message)
        try:
            if progress is None and len(payload) <= MAX_PAYLOAD:
                if not self._send_nowait(node_id, payload):
                    await self._transport.send(node_id, payload)
            else:
                await self._send_large(node_id, message, payload, progress)
        except BaseException as error:
            self._count_unsent(node_id, payload, error)
            raise
        if self._tracer is not None:
            self._tracer.trace("sent", node_id, payload, message, since=since, outcome="ok")

    def _count_unsent(self, node_id: NodeId, payload: bytes, error: BaseException) -> None:
        if self._tracer is not None:
            self._tracer.count("sent", node_id, payload, sent_fate(error))

    async def send_raw(self, node_id: NodeId, payload: bytes, force: bool) -> None:
        """Send a payload without encoding it; see `Peer.send_raw`."""
        type_id = int.from_bytes(payload[:2], "big")
        if type_id % 2 == 0 and not force:
            await self._check_raw_support(node_id, type_id)
        try:
            if not self._send_nowait(node_id, payload):
                await self._transport.send(node_id, payload)
        except BaseException as error:
            self._count_unsent(node_id, payload, error)
            raise
        self._trace_raw(node_id, type_id, payload)

    def _trace_raw(self, node_id: NodeId, type_id: int, payload: bytes) -> None:
        if self._tracer is not None:
            registry, message, error = self._tables.registry, None, None
            if registry.lookup(type_id) is not None:
                try:
                    message = registry.decode(payload)
                except DecodeError as found:
                    error = found
            self._tracer.trace("sent", node_id, payload, message, error=error, outcome="ok")

    async def _check_raw_support(self, node_id: NodeId, type_id: int) -> None:
        """Raise `NotSupported` for an even type, as `check_support` does for messages."""
        schema = self._tables.registry.lookup(type_id)
        if schema is not None:
            await self.check_support(node_id, schema.cls, (*self._tables.claims[schema.cls],))
            return
        owners = self._tables.takers(type_id)
        while (info := self.info(node_id)) is not None:
            session = self.session_of(node_id)
            if any(owner.is_shown_by(info) for owner in owners):
                return
            if session is not None and any(session.version_of(owner.name) is not None for owner in owners):
                return
            if session is None or not session.waiting or not owners:
                raise not_shown(f"type {type_id:#06x} is even", owners, node_id)
            await session.change()
        raise not_connected(node_id)

    async def deliver(self, node_id: NodeId, message: Message) -> Receipt:
        """Store a message until the peer has acknowledged it; see `Peer.deliver`."""
        receipt, payload = await self._core.resources.deliver(node_id, message)
        if self._tracer is not None:
            self._tracer.trace("sent", node_id, payload, message, outcome="ok")
        return receipt

    async def keep(self, node_id: NodeId, message: Message, again: Again, force: bool) -> None:
        """Store a message, and send it until it is settled; see `Peer.send`."""
        await self._core.resources.resending().keep(node_id, message, again, force)

    async def settle(self, node_id: NodeId, key: Key, extension: Extension | str | None) -> bool:
        """Settle a message that is sent again; see `Peer.settle`."""
        return await self._core.resources.resending().settle(node_id, key, extension)

    async def pending(self, node_id: NodeId) -> list[Pending]:
        """Return what waits for a peer; see `Peer.pending`."""
        return await self._core.resources.resending().pending(node_id)

    async def _send_large(
        self, node_id: NodeId, message: Message, payload: bytes, progress: Progress | None = None
    ) -> None:
        """Send a message that is too long for one payload, or with a ``progress`` callback."""
        if len(payload) > MAX_PAYLOAD:
            session = self.session_of(node_id)
            link = None if session is None else await self._reach(session, message, None)
            if link is None:
                if self.info(node_id) is None:
                    raise not_connected(node_id)
                raise too_long(node_id, message, payload)
            try:
                await link.send(payload, progress=progress)
            except RemoteFailure as error:
                error.name_peer(node_id)
                raise
            return
        await self._transport.send(node_id, payload)
        if progress is not None:
            progress(len(payload), len(payload))

    async def check_support(
        self, node_id: NodeId, message: Message | type[Message], owners: tuple[Contribution, ...]
    ) -> None:
        """Raise `NotSupported` as `tables.check_support` does, after waiting for the peer's hello."""
        info, session = self.info(node_id), self.session_of(node_id)
        while info is not None and session is not None and session.waiting:
            if shows_support(message, owners, info, session):
                return
            await session.change()
            info, session = self.info(node_id), self.session_of(node_id)
        check_support(message, owners, info, node_id, session)

    # Requests ---------------------------------------------------------------------------------------

    async def request(
        self,
        node_id: NodeId,
        message: Message,
        reply: Any,
        limit: float | None,
        force: bool,
        match: str | Match | None = None,
        plain: bool = False,
    ) -> Any:
        """Send a request and wait ``limit`` seconds for its reply; see `Peer.request`."""
        # `_queue`, and below `_encode` and `Backpressure.ask`, inlined: the path of every request
        try:
            several = None if reply in self._outgoing else self._accepted(reply, message)
        except TypeError:  # not hashable
            several = self._accepted(reply)
        queue, tracer = self._queues.get(node_id), self._tracer
        if queue is None or queue.info is None:
            raise not_connected(node_id)
        encode, owners, field = self._outgoing[type(message)]
        question = None
        if match is not None or field is not None:
            question = question_of(message, several or (reply,), match)
        session = None if plain else queue.session
        link = None if session is None else session.reach.get(type(message))
        if link is None:
            start = clocks.monotonic()
            if session is not None:
                link = await self._reach(session, message, limit, "plain=True does not wait for it")
            if link is None:
                left = None if limit is None else max(0.0, limit - (clocks.monotonic() - start))
                if question is None:
                    question = self._plain_requests.in_order(message, several or (reply,))
                return await self._plain_requests.ask(queue, message, question, left, limit, force)
        if owners is not None and not force:
            check_support(message, owners, queue.info, node_id, session)
        payload = encode(message)
        trace, ticket, asked = None, None, 0.0
        if tracer is not None:
            trace, asked = self._tracing(tracer, node_id, message, payload), clocks.monotonic()
            ticket = tracer.ticket("sent", node_id, payload)
        queue.request_begun()
        if queue.paused:
            self._backpressure.resume_if_drained(queue)
        try:
            if queue.may_ask_urgently:
                with counting_request(queue):
                    content = await link.calls.ask(payload, limit, trace, is_urgent(queue))
            else:
                content = await link.calls.ask(payload, limit, trace)
        except BaseException as error:
            if ticket is not None:
                ticket.end(sent_fate(error))
            if isinstance(error, ReplyTimeout):
                raise _too_late(node_id, message, several or (reply,), error) from None
            if isinstance(error, RemoteFailure):
                error.name_peer(node_id)
            raise
        finally:
            queue.request_ended()
        route = self._routes.get(content[:2])
        if tracer is None and route is not None:
            found = route.decode(content)
            if type(found) is reply and question is None:  # the usual case, without tracers
                return found
        if ticket is not None:
            ticket.end("ok")
        answer = self._read(node_id, message, content, several or (reply,), asked)
        if question is not None and not question.accepts(answer):
            what = "is for something else" if question.field is None else f"has another {question.field}"
            failure = RemoteFailure(
                f"{node_id} should have answered this {question.name}: its {type(answer).__name__} {what}",
                code=Code.UNSUPPORTED,
            )
            failure.name_peer(node_id)
            raise failure
        return answer

    async def stream(
        self, node_id: NodeId, message: Message, part: type[M], limit: float | None, credit: int | None, force: bool
    ) -> AsyncGenerator[M, None]:
        """Send a request for a stream and yield its parts; see `Peer.stream`."""
        accepted = self._accepted(part)
        queue = self._queue(node_id)
        session = queue.session
        remedy = "a stream needs it, so a timeout of more than a second"
        link = None if session is None else await self._reach(session, message, limit, remedy)
        if session is None or link is None:
            raise NotSupported(f"{node_id} has no session: streams need one", feature="session")
        payload = self._encode(queue, session, message, force)
        trace, ticket = None, None
        if (tracer := self._tracer) is not None:
            trace, ticket = self._tracing(tracer, node_id, message, payload), tracer.ticket("sent", node_id, payload)
        asked = clocks.monotonic()
        most = self._core.limits.stream_credit
        credit = most if credit is None else min(credit, most)
        parts = link.calls.stream(payload, credit, limit, trace, queue.may_ask_urgently and is_urgent(queue))
        self._backpressure.ask(queue)
        count = 0
        try:
            with counting_request(queue):
                async for content in parts:
                    count += 1
                    yield self._read(node_id, message, content, accepted, asked)
            if ticket is not None:
                ticket.end("ok")
        except BaseException as error:
            if ticket is not None:
                ticket.end(sent_fate(error))
            if isinstance(error, ReplyTimeout):
                raise _too_late(node_id, message, accepted, error, count) from None
            if isinstance(error, RemoteFailure):
                error.name_peer(node_id)
            raise
        finally:
            queue.request_ended()
            await parts.aclose()

    def _accepted(self, reply: object, message: Message | None = None) -> tuple[type[Any], ...]:
        """Return the accepted classes of a reply; without one, those that the class of ``message`` declares.

        Raises `EncodeError` if one is no message class or unregistered.
        """
        declared = () if reply is not None else getattr(getattr(message, "__oddwire__", None), "replies", ())
        classes = declared or alternatives(reply)
        for cls in classes:
            if not (isinstance(cls, type) and issubclass(cls, Message)):
                should = "a message class, or several as in 'Quote | NoQuote'"
                hint = (
                    f"; {type(message).__name__} declares no replies=" if reply is None and message is not None else ""
                )
                raise EncodeError(f"what is asked for should be {should}, not {_shown(cls)}{hint}")
            if cls not in self._outgoing:
                raise unregistered(cls)
        return classes

    def _queue(self, node_id: NodeId) -> PeerQueue:
        queue = self._queues.get(node_id)
        if queue is None or queue.info is None:
            raise not_connected(node_id)
        return queue

    async def _reach(
        self, session: PeerSession, message: Message, limit: float | None, remedy: str = ""
    ) -> Link | None:
        """Return the link to the peer's program for a message, waiting until it is known; None without a session.

        ``remedy`` says in the error what helps if ``limit`` seconds are too few for that. Raises `RemoteFailure` if
        there are programs, or were a moment ago, and none of them handles the message; `ReplyTimeout`;
        `PeerNotConnected` once the connection has ended, even if there is a new one.
        """
        schema = schema_of(message)
        names = [owner.name for owner in self._tables.claims[type(message)]]
        deadline = asyncio.timeout(limit)
        try:
            async with deadline:
                while (link := session.speaker(names, schema.type_id)) is None and session.waiting:
                    await session.change()
        except TimeoutError:
            if limit is None or not deadline.expired():
                raise
            waits = f"still waiting for the hello of {session.node_id}, up to a second after it connected"
            text = f"{schema.name} was not sent within {duration(limit)}: {waits}; {remedy}"
            raise ReplyTimeout(text, timeout=limit, sent=False) from None
        if session.closed:
            raise not_connected(session.node_id)
        if link is None:
            link = session.only()
        if link is not None:
            session.reach[type(message)] = link
        elif session.several or (session.had_hello and not session.links):
            title = self._tables.registry.title_of(schema.type_id)
            text = f"none of the programs behind {session.node_id} speaks {' or '.join(names)}"
            raise RemoteFailure(f"{text}: {title} would not be handled", code=Code.UNKNOWN_MESSAGE)
        return link

    def _encode(self, queue: PeerQueue, session: PeerSession, message: Message, force: bool) -> bytes:
        encode, owners, _ = self._outgoing[type(message)]
        if owners is not None and not force:
            check_support(message, owners, queue.info, session.node_id, session)
        return encode(message)

    @staticmethod
    def _tracing(tracer: Tracer, node_id: NodeId, message: Message, payload: bytes) -> functools.partial[float]:
        return functools.partial(tracer.trace, "sent", node_id, payload, message)

    def _read(
        self, node_id: NodeId, message: Message, content: bytes, accepted: tuple[type[M], ...], asked: float
    ) -> M:
        """Decode a reply, which has to be of an accepted class."""
        route, tracer = self._routes.get(content[:2]), self._tracer
        try:
            found = None if route is None else route.decode(content)
        except DecodeError as error:
            if tracer is not None:
                since = asked or None  # 0.0 if nobody had asked to see it when it was sent
                tracer.trace("received", node_id, content, None, error=error, since=since, outcome="malformed")
            raise
        if tracer is not None:
            outcome = "awaited" if found is not None else tracer.nobodys(content)
            tracer.trace("received", node_id, content, found, since=asked or None, outcome=outcome)
        for cls in accepted:
            if type(found) is cls:
                return found
        what = self._tables.registry.title_of(int.from_bytes(content[:2], "big"))
        wanted = either(accepted)
        text = f"{node_id} should have answered {type(message).__name__} with {wanted}, not with {what}"
        failure = RemoteFailure(text, code=Code.UNSUPPORTED)
        failure.name_peer(node_id)
        raise failure

    # Messages that are waited for ---------------------------------------------------------------------

    async def wait_for(self, node_id: NodeId, classes: Any, match: Match | None, limit: float | None) -> Any:
        """Return the next message of some classes; see `Peer.wait_for`."""
        return await self._plain_requests.wait_for(node_id, self._accepted(classes), match, limit)

    def messages(self, node_id: NodeId, classes: Any, match: Match | None) -> MessageStream[Any]:
        """Return a stream of the messages of some classes; see `Peer.messages`."""
        return self._plain_requests.messages(node_id, self._accepted(classes), match)


def _shown(given: object) -> str:
    return given.__name__ if isinstance(given, type) else f"{given!r:.100}"


def _too_late(
    node_id: NodeId, message: Message, accepted: tuple[type, ...], error: ReplyTimeout, parts: int = 0
) -> ReplyTimeout:
    """Return the error for a reply that did not come, or for the stream part after the ``parts`` that did.

    ``error`` is that of the session; if nothing was sent, its text is the reason.
    """
    wanted, asked, limit = either(accepted), type(message).__name__, duration(error.timeout)
    if not error.sent:
        text = f"{asked} was not sent within {limit}: {error}"
    elif parts:
        text = f"no {wanted} from {node_id} in {limit} of waiting after part {parts} of the stream for {asked}"
    else:
        text = f"no {wanted} from {node_id} within {limit} of {asked}"
    return ReplyTimeout(text, timeout=error.timeout, sent=error.sent)
