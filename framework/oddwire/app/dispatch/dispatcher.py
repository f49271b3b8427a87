"""The transport's sink: decodes what arrives, queues it per peer, and awaits handlers in order.

Every peer has a queue: a queue and one long-lived task that drains it. Payloads are decoded as they arrive, so what
the policy does about a bad one happens in the order of arrival, and so a reply finds its request although the
handler that asked holds the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter, thread_time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from oddwire.app.context import Context, Peer
from oddwire.app.dispatch.connection_hooks import Greeter, Greeting
from oddwire.app.dispatch.departed_peers import DepartedPeers
from oddwire.app.dispatch.peer_queue import LONG, MESSAGE_WEIGHT, PeerQueue, Run
from oddwire.app.dispatch.policy import Enforcer, Outcome, decode_error
from oddwire.app.dispatch.session_host import AppSessionHost
from oddwire.app.dispatch.slow_path import SlowPath
from oddwire.app.dispatch.tasks import Tasks
from oddwire.app.dispatch.tracing import Tracer
from oddwire.app.extension import Extension
from oddwire.app.limits.access import Meter
from oddwire.app.limits.memory_budget import LARGE, MemoryBudget
from oddwire.app.limits.rates import RateLimitedSink
from oddwire.app.limits.request_quotas import requests_of
from oddwire.app.plugins.manager import Contribution, HookCall
from oddwire.app.plugins.router import OutgoingTable, Router
from oddwire.errors import (
    ConnectionClosed,
    PeerNotConnected,
    Truncated,
)
from oddwire.log_limits import get_logger
from oddwire.schema import Message
from oddwire.session.limits import Counters, Limits
from oddwire.session.peer.fragment_sender import Progress
from oddwire.session.peer.peer_session import PeerSession
from oddwire.session.wire.frame_types import SESSION_TYPE_BYTES
from oddwire.transports.base import MAX_PAYLOAD, NodeId, PeerInfo, Sink, Transport, fast_send

if TYPE_CHECKING:
    from oddwire.app.application import Application
    from oddwire.app.dispatch.reliable_handlers import ReliableHandlers
    from oddwire.app.limits.access import AccessControl

__all__ = ["Dispatcher"]

logger = get_logger("oddwire.app")

_FAREWELL: Final = 0.5  # seconds for telling peers that we end, where the connections do not
_TURNS: Final = 128  # messages of one peer handled before other peers get the loop
_TURN: Final = 0.002  # and seconds of them
_CHEAP: Final = 2048  # bytes that do not decode to more than a message may cost


class Dispatcher:
    """The `Sink` an application opens its transport with, and the way its messages go out."""

    def __init__(
        self,
        app: Application,
        router: Router,
        transport: Transport,
        *,
        on_connect: Sequence[HookCall] = (),
        on_disconnect: Sequence[HookCall] = (),
        on_failure: Sequence[HookCall] = (),
        on_loss: Sequence[HookCall] = (),
        tracers: Sequence[HookCall] = (),
        guards: Mapping[str, AccessControl] = MappingProxyType({}),
        session: bool = True,
        limits: Limits | None = None,
    ) -> None:
        self.app = app
        self.router = router
        self.transport = transport
        self.send_nowait = fast_send(transport)
        self.takes_turns = type(transport).turn is not Transport.turn
        """Whether the transport may have a message wait that is taken later than it was read."""
        self.tracer = Tracer(app, tracers) if tracers else None
        self.loop = asyncio.get_running_loop()
        self.guards = guards
        self._counters = Counters()
        self.deliveries: ReliableHandlers | None = None
        self._longer = SlowPath(self)
        self.routes = {prefix: self._longer.wrap_route(route) for prefix, route in router.incoming.items()}
        self._shorter = {prefix: route[:4] for prefix, route in self.routes.items()}
        self.room = MemoryBudget((limits or Limits()).total_message_bytes)
        self.outgoing = OutgoingTable(router.outgoing)
        self.queues: dict[NodeId, PeerQueue] = {}
        self._departed = DepartedPeers(self)
        self.tasks = Tasks()
        self.spawn = self.tasks.spawn
        self.enforcer = Enforcer(app, transport, on_failure, self.spawn, on_loss=on_loss, tracer=self.tracer)
        self.closing = False
        self.greeter = Greeter(self, on_connect, on_disconnect)
        self.requests = requests_of(self)
        self.conversation = AppSessionHost(self, limits) if session else None

    # The sink ---------------------------------------------------------------------------------------

    def peer_connected(self, peer: PeerInfo) -> None:
        """Open the peer's queue, or its old one anew if that is not drained yet."""
        queue = self.queues.get(peer.node_id)
        if queue is None:
            handle, owners = Peer(self, peer.node_id), 1 + len(self.router.owners)
            queue = self.queues[peer.node_id] = PeerQueue(handle, peer, owners, self.tracer is not None)
        self._departed.forget(queue)
        queue.info = peer
        queue.hung_up = queue.abandoned = False
        if queue.paused or self.closing:
            queue.paused = True
            self.transport.pause(peer.node_id)
        self.greeter.connected(queue)
        if self.conversation is not None:
            queue.session = self.conversation.session.peer_connected(peer.node_id)

    def payload_received(self, peer: NodeId, payload: bytes) -> None:
        """Decode, and queue for the handler. Nothing here grows with peers, types or extensions."""
        prefix = payload[:2]
        queue = self.queues.get(peer)
        short = self._shorter.get(prefix)
        if queue is None or short is None or queue.hung_up:
            if prefix == SESSION_TYPE_BYTES and queue is not None and queue.session is not None and not queue.hung_up:
                link = queue.session.addressed.get(payload[3:11])
                if link is not None:
                    link.receive(payload)
                else:
                    queue.session.receive(payload)
            else:
                self._unrouted(queue, peer, payload)
            return
        decode, handler, owner, longer = short
        try:
            message = decode(payload)
        except Exception as error:
            self.malformed(queue, payload, error)
            return
        if longer or queue.needs_slow_path:
            self._longer.dispatch_slowly(queue, self.routes[payload[:2]], message, payload)
            return
        if handler is None:
            self.enforcer.apply(Outcome.UNHANDLED, queue, self.enforcer.describe(payload))
            return
        # enqueue, written out: this is the way of nearly every message.
        weight = len(payload) + MESSAGE_WEIGHT
        queue.waiting.append((handler, owner, message, weight))
        queue.held = held = queue.held + weight
        if held > queue.mark:
            self._full(queue)
        if queue.wake is not None:
            self.wake(queue)

    def whole_received(self, peer: NodeId, payload: bytes) -> None:
        """Take a message that came in fragments as if it had come whole; it counts for all peers together."""
        queue, route = self.queues.get(peer), self.routes.get(payload[:2])
        if queue is None or route is None or queue.hung_up:
            self.payload_received(peer, payload)
            return
        try:
            message = route.decode(payload)
        except Exception as error:
            self.malformed(queue, payload, error)
            return
        self._longer.dispatch_slowly(queue, route, message, payload)

    def peer_disconnected(self, peer: NodeId, reason: str) -> None:
        """Fail the requests under way; what was received is still handled, then the hooks hear of it."""
        queue = self.queues.get(peer)
        if queue is None or queue.info is None:
            return
        queue.info = queue.session = None
        queue.give_up(reason)
        queue.cancel_throttle()
        if self.conversation is not None:
            self.conversation.session.peer_disconnected(peer, reason)
        if self.deliveries is not None:
            self.deliveries.peer_disconnected(peer)
        for guard in self.guards.values():
            guard.forget(peer)
        self.greeter.disconnected(queue, reason)
        self.wake(queue)
        if not self.closing:
            self._departed.add(queue)

    def metered(self, limits: Limits | None) -> Sink:
        """Return what the transport is to be opened with: ourselves, behind a meter where there are rates to keep."""
        if limits is None or not Meter.measures(limits):
            return self
        return RateLimitedSink(self, limits, self._counters)

    def host_stopping(self, reason: str) -> None:
        """Stop the application: its host ends, or wants it to."""
        logger.info("stopping: %s", reason)
        self.app.stop()

    # Sending ----------------------------------------------------------------------------------------

    async def send(
        self,
        node_id: NodeId,
        message: Message,
        force: bool = False,
        since: float | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Encode and hand to the transport; see `Peer.send`. ``since`` is when what it answers was received."""
        encode, owners = self.outgoing[type(message)]
        if owners is not None and not force:
            await self.requests.check_support(node_id, message, owners)
        payload = encode(message)
        if progress is None and len(payload) <= MAX_PAYLOAD:
            if not self.send_nowait(node_id, payload):
                await self.transport.send(node_id, payload)
        else:
            await self.requests.send_large(node_id, message, payload, progress)
        if self.tracer is not None:
            self.tracer.trace("sent", node_id, payload, message, since=since)

    def info(self, node_id: NodeId) -> PeerInfo | None:
        """Tell what is known of a connected peer, None of any other."""
        queue = self.queues.get(node_id)
        return None if queue is None else queue.info

    def session_of(self, node_id: NodeId) -> PeerSession | None:
        """Return a connected peer's part of the session; None without one."""
        queue = self.queues.get(node_id)
        return None if queue is None else queue.session

    def peers(self) -> list[Peer]:
        """Return the peers connected now, in the order of their first connecting."""
        return [queue.peer for queue in self.queues.values() if queue.info is not None]

    def owner_of(self, extension: Extension | str) -> Contribution:
        """Find a loaded extension. Raises `ExtensionError`."""
        return self.router.owner_of(extension)

    def counters(self, extension: str | None = None) -> Counters:
        """Return how often limits took effect: an extension's own, or all together."""
        parts = [guard.counters for name, guard in self.guards.items() if extension in (None, name)]
        if extension is None:
            others = (self.conversation, self.deliveries)
            parts += [self._counters, *(other.counters for other in others if other is not None)]
        counters = Counters()
        for part in parts:
            counters.add(part)
        return counters

    async def aclose(self, grace: float, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Take no more messages, let handlers finish, ``close`` the transport, bid every peer farewell.

        Handlers, and then farewells, have ``grace`` seconds; what still runs after them is cancelled.
        """
        self.closing = True
        reason = "the application is closing"
        for queue in self.queues.values():
            queue.paused = True
            self.transport.pause(queue.peer.node_id)
            queue.give_up(reason)
            self.wake(queue)
        if self.conversation is not None:
            self.conversation.session.give_up(reason)
        if self.deliveries is not None:
            self.deliveries.give_up()
        try:
            await self.tasks.settle(grace)
        finally:
            for queue in self.queues.values():
                if dropped := len(queue.drop_messages()):
                    self._counters.dropped["closing"] += dropped
                    self.enforcer.dropped(queue.peer.node_id, dropped)
            try:
                if self.conversation is not None:
                    await self.conversation.session.leave(_FAREWELL)
                await close()
            finally:
                for queue in self.queues.values():
                    self.peer_disconnected(queue.peer.node_id, reason)
                    self.wake(queue)
                if self.conversation is not None:
                    self.conversation.session.close()
                await self.tasks.settle(grace)

    # The queues --------------------------------------------------------------------------------------

    async def _work(self, queue: PeerQueue) -> None:
        """Drain one queue for as long as its peer stays: handlers in order, and now and then a turn for other peers."""
        waiting, contexts, turns = queue.waiting, queue.contexts, _TURNS
        me = asyncio.current_task()
        assert me is not None  # noqa: S101 - narrows the type for checkers
        while True:
            until = perf_counter() + _TURN
            while waiting:
                run, owner, message, weight = waiting.popleft()
                queue.held -= weight
                if queue.paused:
                    self.resume_if_drained(queue)
                context = contexts[owner] or self.context(queue, owner)
                try:
                    reply = await run(context, message)
                    if reply is not None:
                        await self.reply(queue, reply)
                except BaseException as error:
                    self.enforcer.failed(context, message, error, self.tasks.ending or queue.abandoned, me)
                if me.cancelling():  # a handler has cancelled its own task, or still will have: no other's
                    queue.worker = self.spawn(self._work(queue))
                    return
                turns -= 1
                if not turns or perf_counter() >= until:
                    turns = _TURNS
                    self._recount(queue)
                    await asyncio.sleep(0)
                    until = perf_counter() + _TURN
            self._recount(queue)
            if self.closing or (queue.info is None and not queue.hooks):
                break
            run = context = message = reply = None  # type: ignore[assignment]  # not kept while nothing comes
            queue.wake = self.loop.create_future()
            await queue.wake
        if queue.info is None and not queue.hooks:
            self.queues.pop(queue.peer.node_id, None)
            self._departed.forget(queue)

    def enqueue(self, queue: PeerQueue, run: Run, owner: int, argument: object, weight: int) -> None:
        """Have something done when its turn in the queue comes."""
        queue.waiting.append((run, owner, argument, weight))
        queue.held += weight
        if queue.held > queue.mark:
            self._full(queue)
        self.wake(queue)

    def take_room(self, queue: PeerQueue, weight: int) -> None:
        """Count a large message until `leave_room`; if there is no more room, its peer is read on once that is done."""
        self.count_room(queue, weight)
        if self.room.full and not queue.paused and not queue.is_asking:
            self._counters.throttled["total_message_bytes"] += 1
            queue.paused = True
            self.transport.pause(queue.peer.node_id)

    def count_room(self, queue: PeerQueue, weight: int) -> None:
        """Count what is large, and read on: what is under way may need what comes."""
        self.room.held += weight
        queue.large += weight

    def drop(self, queue: PeerQueue, why: str) -> int:
        """Forget the messages that wait in a queue, and return how many."""
        dropped = queue.drop_messages()
        for weight in dropped:
            if weight > LARGE:
                self.leave_room(queue, weight)
        self._recount(queue)
        self._counters.dropped[why] += len(dropped)
        return len(dropped)

    def leave_room(self, queue: PeerQueue, weight: int) -> None:
        """Count it no more."""
        self.count_room(queue, -weight)
        if queue.paused:
            self.resume_if_drained(queue)

    def is_crowded(self, queue: PeerQueue | None) -> bool:
        """Say whether a peer should bring nothing large now: there is no room left, and it has some of that."""
        room = self.room
        return room.closed or (room.full and queue is not None and queue.large + queue.requested > 0)

    def set_aside(self, queue: PeerQueue, greeting: Greeting, owner: int, message: tuple[Run, Any, int]) -> None:
        """Have a message wait for a greeting; what waits counts as what is queued."""
        run, argument, weight = message

        def release() -> None:
            if not self.tasks.ending:
                queue.waiting.append((run, owner, argument, weight))
                self.wake(queue)

        self.hold(queue, weight)
        greeting.hold(owner, release)

    def hold(self, queue: PeerQueue, weight: int) -> None:
        """Count what waits for a greeting."""
        queue.held += weight
        if queue.held > queue.mark:
            self._full(queue)

    def wake(self, queue: PeerQueue) -> None:
        """Have a queue's worker look what there is to do."""
        if self.tasks.cancelling:
            return  # `aclose` has all of them look once that is over
        if queue.wake is not None and not queue.wake.done():
            queue.wake.set_result(None)
            queue.wake = None
        elif queue.worker is None or queue.worker.done():
            queue.worker = self.spawn(self._work(queue))

    def _full(self, queue: PeerQueue) -> None:
        """Count what waits in a queue that is long, and stop the transport, if it is not stopped, of one too long."""
        if queue.held > queue.mark:
            self._recount(queue)
        if not queue.paused and (queue.is_full or (self.room.full and queue.is_long)):
            if not queue.is_full:
                self._counters.throttled["total_message_bytes"] += 1
            queue.paused = True
            self.transport.pause(queue.peer.node_id)

    def _recount(self, queue: PeerQueue) -> None:
        """Count a long queue for all peers; what is large in it counts by itself."""
        if not queue.counted and queue.held <= LONG:
            return
        counted = max(0, queue.held - queue.large) if queue.held > LONG else 0
        self.room.held += counted - queue.counted
        queue.counted = counted
        queue.mark = queue.held + LONG if counted else LONG

    def resume_if_drained(self, queue: PeerQueue) -> None:
        """Let a paused transport go on, once there is room."""
        if not queue.has_room or self.closing:
            return
        if self.room.full:
            self._recount(queue)
            if queue.is_long or (not queue.is_asking and self.is_crowded(queue) and queue.large > 0):
                return
        queue.paused = False
        self.transport.resume(queue.peer.node_id)

    @contextmanager
    def charging(self, node_id: NodeId, payload: bytes, wasted: float = 0.0) -> Iterator[None]:
        """Charge a peer with what a message of its costs to take, where that is not done as it is handed on.

        One of which nothing comes costs ``wasted`` seconds elsewhere. What is short costs little, and is not measured.
        """
        measured = len(payload) > _CHEAP
        began = thread_time() if measured else 0.0
        try:
            yield
        finally:
            seconds = thread_time() - began if measured else 0.0
            if measured or wasted:
                self.transport.worked(node_id, seconds + wasted, wasted=wasted > 0)

    def throttle(self, queue: PeerQueue, seconds: float) -> None:
        """Read a peer so much later, whatever room its queue has; longer, if it is to be read later already."""
        until = self.loop.time() + seconds
        if queue.throttle is not None:
            until = max(until, queue.throttle.when())
            queue.throttle.cancel()
        queue.throttle = self.loop.call_at(until, self._relent, queue)
        if not queue.paused:
            queue.paused = True
            self.transport.pause(queue.peer.node_id)

    def _relent(self, queue: PeerQueue) -> None:
        queue.throttle = None
        if queue.paused:
            self.resume_if_drained(queue)

    def context(self, queue: PeerQueue, owner: int) -> Context:
        """Make the context that an owner's handlers get for this peer."""
        name = self.router.owners[owner - 1].name if owner else ""
        context = queue.contexts[owner] = Context(self.app, name, queue.peer)
        return context

    async def reply(self, queue: PeerQueue, reply: Message, since: float | None = None) -> None:
        """Send what a handler returned."""
        try:
            await self.send(queue.peer.node_id, reply, since=since)
        except (PeerNotConnected, ConnectionClosed):
            logger.debug("%s went before its reply: %s", queue.peer, type(reply).__name__)

    # What went wrong --------------------------------------------------------------------------------

    def _unrouted(self, queue: PeerQueue | None, peer: NodeId, payload: bytes) -> None:
        self.transport.wasted(peer)
        if queue is None or queue.hung_up:
            self._counters.dropped["not_connected"] += 1
            logger.debug("%d bytes from %s, which is not connected", len(payload), peer)
            return
        if len(payload) < 2:
            self.malformed(queue, payload, Truncated(f"a payload of {len(payload)} bytes has no type", offset=0))
            return
        if self.tracer is not None:
            self.tracer.trace("received", peer, payload, None, handled=False)
        type_id = int.from_bytes(payload[:2], "big")
        outcome = Outcome.UNKNOWN_ODD if type_id % 2 else Outcome.UNKNOWN_EVEN
        self.enforcer.apply(outcome, queue, self.router.registry.title_of(type_id))

    def malformed(self, queue: PeerQueue, payload: bytes, error: Exception) -> None:
        """Deal with a payload that does not decode."""
        self.transport.wasted(queue.peer.node_id)
        error = decode_error(payload, error, self.router.registry)
        if self.tracer is not None:
            self.tracer.trace("received", queue.peer.node_id, payload, None, error=error, handled=False)
        self.enforcer.apply(Outcome.MALFORMED, queue, str(error))
