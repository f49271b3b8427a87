"""The transport's sink: decodes received payloads, and queues the messages per peer for their handlers.

Payloads are decoded on arrival, so the policy is applied to a malformed one in the order of arrival, and a reply
reaches its request even while the handler that sent the request blocks the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final

from oddwire import clocks
from oddwire.app.context import Peer
from oddwire.app.dispatch.connection_hooks import ConnectionHooks
from oddwire.app.dispatch.core import Core
from oddwire.app.dispatch.departed_peers import DepartedPeers
from oddwire.app.dispatch.handler_watch import HandlerWatch
from oddwire.app.dispatch.messenger import AppMessenger
from oddwire.app.dispatch.peer_queue import MESSAGE_WEIGHT, PeerQueue
from oddwire.app.dispatch.policy import Outcome
from oddwire.app.dispatch.queue_workers import QueueWorkers
from oddwire.app.dispatch.session_host import AppSessionHost
from oddwire.app.dispatch.settling import Settling
from oddwire.app.dispatch.slow_path import SlowPath
from oddwire.app.limits.access import Meter
from oddwire.app.limits.backpressure import Backpressure
from oddwire.app.limits.rates import RateLimitedSink
from oddwire.app.limits.request_quotas import messenger_of
from oddwire.app.plugins.manager import HookCall
from oddwire.errors import Truncated
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.session.constants import SESSION_TYPE_BYTES
from oddwire.session.limits import Counters, Limits
from oddwire.transports.base import PeerInfo, Sink

if TYPE_CHECKING:
    from oddwire.app.dispatch.tracing import Tracer
    from oddwire.session.reliable.delivery import Delivery

__all__ = ["Dispatcher"]

logger = get_logger("oddwire.app")

_LEAVE_TIMEOUT: Final = 0.5  # seconds to tell peers that the application ends, where its connections do not


class Dispatcher:
    """The `Sink` with which an application opens its transport. Creates and closes the parts that share ``core``."""

    def __init__(
        self,
        core: Core,
        *,
        on_connect: Sequence[HookCall] = (),
        on_disconnect: Sequence[HookCall] = (),
        session: bool = True,
    ) -> None:
        self.core = core
        self.tasks = core.tasks
        self._transport = core.transport
        self._enforcer = core.enforcer
        self._queues = core.queues
        self._routes = core.routes
        self._backpressure = Backpressure(core)
        self.messenger: AppMessenger = messenger_of(core, self._backpressure)
        """Sends messages and requests."""
        self._workers = QueueWorkers(core, self._backpressure, self.messenger, self._queue_over)
        self._settling = Settling(core, self._workers)
        self.settled = self._settling.settled  # as the sink
        self._departed_peers = DepartedPeers(core.loop, self._backpressure, self._workers)
        peer_rpcs: PeerRpcs | None = None
        if core.tables.peer_rpcs:
            from oddwire.app.dispatch.peer_rpcs import PeerRpcs  # imported late: few plugins have any

            peer_rpcs = self.messenger.peer_rpcs = PeerRpcs(core, self._backpressure, self.messenger)
        self._slow_path = SlowPath(core, self._backpressure, self._workers, peer_rpcs)
        core.trace_in(self)
        self._hooks = ConnectionHooks(core, self._workers, on_connect, on_disconnect)
        self._host = AppSessionHost(core, self._backpressure, self.whole_received) if session else None
        self.session = None if self._host is None else self._host.session
        """The sessions with peers, None in an application without the session layer."""
        self._delivery: Delivery | None = None
        self._watch = HandlerWatch(core, self._hooks)

    def use_delivery(self, delivery: Delivery) -> None:
        """Start reliable delivery with this store's inbox and outbox."""
        from oddwire.app.dispatch.reliable_handlers import ReliableHandlers  # imported late: few applications need it

        self._delivery, session = delivery, self.session
        if session is not None:
            delivery.store.identity.on_change = lambda: session.set_stores(delivery.numbers)
            session.use_delivery(delivery, delivery.numbers)
        peers = {} if session is None else session.peers
        handlers = ReliableHandlers(self.core, self._hooks)
        self._watch.watch_reliable(handlers)
        delivery.start(handlers, peers, self.core.spawn)
        self.core.resources.start_resending(self.core, self.messenger)

    def use_tracer(self, tracer: Tracer | None) -> None:
        """Count messages from now on, if this tracer does."""
        counts = None if tracer is None else tracer.counts
        self._others: Callable[[PeerQueue | None, NodeId, bytes], object] = self._unrouted
        if counts is None:
            self._fast_routes = {prefix: route[:4] for prefix, route in self._routes.items()}
            return
        from oddwire.app.dispatch.counted_messages import CountedMessages  # imported late: few count

        parts = (self._slow_path, self._backpressure, self._workers)
        self._others = CountedMessages(self.core, counts, *parts, self._unrouted).received
        self._fast_routes = {}

    # The sink ---------------------------------------------------------------------------------------

    def peer_connected(self, peer: PeerInfo) -> None:
        """Create the peer's queue, or use its previous one if that is not drained yet; then run the connect hooks."""
        queue = self._queues.get(peer.node_id)
        if queue is None:
            handle, owners = Peer(self.messenger, peer.node_id), 1 + len(self.core.tables.owners)
            queue = self._queues[peer.node_id] = PeerQueue(handle, peer, owners, self.core.is_traced)
        self._departed_peers.remove(queue)
        queue.info, queue.since = peer, clocks.monotonic()
        queue.hung_up = queue.abandoned = False
        if self.core.tracer is not None:
            self._look_on(queue)
        if queue.paused or self.core.closing:
            self._backpressure.pause(queue)
        self._hooks.connected(queue)
        if self.session is not None:
            queue.session = self.session.peer_connected(peer.node_id)
        if self.core.resender is not None:
            self.core.resender.connected(queue)

    def _look_on(self, queue: PeerQueue) -> None:
        core = self.core
        if core.counts is not None:
            core.counts.peers[queue.peer.node_id] = [0, 0]
        for watch in core.watches:
            watch.peer_connected(queue.peer)

    def payload_received(self, peer: NodeId, payload: bytes) -> None:
        """Decode a payload and enqueue it for its handler, in time independent of the number of peers and types."""
        prefix = payload[:2]
        queue = self._queues.get(peer)
        fast = self._fast_routes.get(prefix)
        if queue is None or fast is None or queue.hung_up:
            if prefix == SESSION_TYPE_BYTES and queue is not None and queue.session is not None and not queue.hung_up:
                link = queue.session.addressed.get(payload[3:11])
                if link is not None:
                    link.receive(payload)
                else:
                    queue.session.receive(payload)
            else:
                self._others(queue, peer, payload)
            return
        decode, handler, owner, slow = fast
        try:
            message = decode(payload)
        except Exception as error:
            self._slow_path.malformed(queue, payload, error)
            return
        if slow or queue.needs_slow_path:
            self._slow_path.dispatch_slowly(queue, self._routes[payload[:2]], message, payload)
            return
        if handler is None:
            self.core.unhandled(queue, payload, message)
            return
        # `QueueWorkers.enqueue`, inlined: the path of nearly every message.
        weight = len(payload) + MESSAGE_WEIGHT
        queue.waiting.append((handler, owner, message, weight))
        queue.held = held = queue.held + weight
        if held > queue.mark:
            self._backpressure.full(queue)
        if queue.wake is not None:
            self._workers.wake(queue)

    def whole_received(self, peer: NodeId, payload: bytes) -> None:
        """Dispatch a message reassembled from fragments; it counts in the memory budget of all peers."""
        queue, route = self._queues.get(peer), self._routes.get(payload[:2])
        if queue is None or route is None or queue.hung_up:
            self.payload_received(peer, payload)
            return
        try:
            message = route.decode(payload)
        except Exception as error:
            self._slow_path.malformed(queue, payload, error)
            return
        self._slow_path.dispatch_slowly(queue, route, message, payload)

    def peer_disconnected(self, peer: NodeId, reason: str) -> None:
        """End the requests under way, ours and the peer's.

        Received messages are still handled, and then the disconnect hooks run.
        """
        queue = self._queues.get(peer)
        if queue is None or queue.info is None:
            return
        queue.info = queue.session = None
        if self.core.counts is not None:
            self.core.counts.peers.pop(peer, None)
        for watch in self.core.watches:
            watch.peer_disconnected(queue.peer, reason)
        queue.fail_requests(reason)
        queue.cancel_serving()
        queue.cancel_throttle()
        if self.session is not None:
            self.session.peer_disconnected(peer, reason)
        for access in self.core.access.values():
            access.remove_peer(peer)
        if self.core.resender is not None:
            self.core.resender.disconnected(peer)
        self._hooks.disconnected(queue, reason)
        self._workers.wake(queue)
        if not self.core.closing:
            self._departed_peers.add(queue)

    def metered(self, limits: Limits | None) -> Sink:
        """Return the sink for the transport: this dispatcher, behind a `RateLimitedSink` if ``limits`` have a rate."""
        if limits is None or not Meter.measures(limits):
            return self
        return RateLimitedSink(self, self.core, self._backpressure)

    def host_stopping(self, reason: str) -> None:
        """Stop the application, because its host ends or asks for it."""
        logger.info("stopping: %s", reason)
        self.core.app.host_stopped = reason
        self.core.app.stop()

    def _queue_over(self, queue: PeerQueue) -> None:
        self._queues.pop(queue.peer.node_id, None)
        self._settling.over(queue)
        self._departed_peers.remove(queue)

    def _unrouted(self, queue: PeerQueue | None, peer: NodeId, payload: bytes) -> None:
        core = self.core
        if queue is not None and not queue.hung_up and payload[:2] in core.unknown:
            self._slow_path.dispatch_slowly(queue, core.unknown[payload[:2]], payload, payload)
            return
        core.transport.wasted(peer)
        if queue is None or queue.hung_up:
            core.counters.dropped["not_connected"] += 1
            if core.tracer is not None:
                core.tracer.count("received", peer, payload, "dropped")
            logger.debug("%d bytes from %s, which is not connected", len(payload), peer)
            return
        if len(payload) < 2:
            core.malformed(queue, payload, Truncated(f"a payload of {len(payload)} bytes has no type", offset=0))
            return
        if core.tracer is not None:
            outcome = core.tracer.nobodys(payload)
            core.tracer.trace("received", peer, payload, None, handled=False, outcome=outcome)
        type_id = int.from_bytes(payload[:2], "big")
        found = Outcome.UNKNOWN_ODD if type_id % 2 else Outcome.UNKNOWN_EVEN
        core.enforcer.apply(found, queue, core.tables.registry.title_of(type_id), payload)

    # For the application ----------------------------------------------------------------------------

    def peers(self) -> list[Peer]:
        """Return the connected peers, in the order of their first connection."""
        return [queue.peer for queue in self._queues.values() if queue.info is not None]

    def counters(self, extension: str | None = None) -> Counters:
        """Return how often limits took effect: one extension's own, or by default the sum of all."""
        parts = [access.counters for name, access in self.core.access.items() if extension in (None, name)]
        if extension is None:
            parts += [self.core.counters, self.core.failures.counters]
            if self.session is not None:
                parts.append(self.session.shared.counters)
            if self._delivery is not None:
                parts += [self._delivery.counters, self.core.resources.resending().kept.counters]
        counters = Counters()
        for part in parts:
            counters.add(part)
        if extension is not None:
            counters.failed[extension] += self.core.failures.counters.failed[extension]
        return counters

    def remove_peers(self, reason: str) -> None:
        """Remove all peers, without hooks, so that later events of the transport are ignored; for `abandon`.

        Requests that wait for replies fail with `ConnectionClosed` and ``reason``.
        """
        self.core.closing = True
        self._settling.close()
        queues = [*self._queues.values()]
        self._queues.clear()
        for queue in queues:
            queue.info = queue.session = None
            queue.cancel_throttle()
            queue.fail_requests(reason)
            if self.session is not None:
                self.session.peer_disconnected(queue.peer.node_id, reason)
            if self.core.resender is not None:
                self.core.resender.disconnected(queue.peer.node_id)
            for own in (queue.own_tasks or {}).values():
                own.end()

    async def abandon(self) -> None:
        """Cancel all tasks, and call no hooks: as the end of the process would. For `oddwire.testing`.

        To be called after `remove_peers`, once the transport and the store accept nothing any more.
        """
        if self.session is not None:
            self.session.close()
        self._watch.close()
        await self.tasks.settle(0.0)
        self._hooks.abandon()

    async def aclose(
        self, grace: float, close: Callable[[], Coroutine[Any, Any, None]], hooks_grace: float | None = None
    ) -> None:
        """Stop accepting messages, wait for handlers, ``close`` the transport, run the disconnect hook for every peer.

        Handlers have ``grace`` seconds, and then disconnect hooks ``hooks_grace``, by default as many; those that still
        run then are cancelled.
        """
        core = self.core
        core.closing = True
        reason = "the application is closing"
        for queue in self._queues.values():
            for own in (queue.own_tasks or {}).values():
                own.end_jobs()
            self._backpressure.pause(queue)
            queue.fail_requests(reason)
            queue.end_rest()
            self._workers.wake(queue)
        for credit in core.stalled:
            if not credit.done():
                credit.set_result(False)
        if self.session is not None:
            self.session.fail_requests(reason)
        if self._delivery is not None:
            self._delivery.stop()
            self.core.resources.resending().close()
        try:
            await self.tasks.settle(grace)
        finally:
            for queue in self._queues.values():
                if dropped := len(queue.drop_messages()):
                    core.counters.dropped["closing"] += dropped
                    core.enforcer.dropped(queue.peer.node_id, dropped)
            try:
                if self.session is not None:
                    await self.session.leave(_LEAVE_TIMEOUT)
                await close()
            finally:
                for queue in self._queues.values():
                    self.peer_disconnected(queue.peer.node_id, reason)
                    self._workers.wake(queue)
                if self.session is not None:
                    self.session.close()
                try:
                    await self.tasks.settle(grace if hooks_grace is None else hooks_grace)
                finally:
                    await self._hooks.finish()
                    self._watch.close()
