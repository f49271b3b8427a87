"""State shared by the dispatcher's parts: routing tables, peers' queues, tasks, and the error policy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from time import thread_time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from oddwire.app.context import Context
from oddwire.app.declarations.malformed import Malformed
from oddwire.app.dispatch.background import Background
from oddwire.app.dispatch.exchanges import Fate
from oddwire.app.dispatch.failures import Failures
from oddwire.app.dispatch.peer_queue import PeerQueue, Run
from oddwire.app.dispatch.policy import Enforcer, Outcome, decode_error
from oddwire.app.dispatch.tasks import Tasks
from oddwire.app.dispatch.tracing import Traced, Tracer
from oddwire.app.limits.memory_budget import MemoryBudget
from oddwire.app.plugins.manager import HookCall
from oddwire.app.plugins.tables import OutgoingTable, Route, Tables
from oddwire.proto.keys import NodeId
from oddwire.schema import Message
from oddwire.session.constants import SESSION_TYPE
from oddwire.session.limits import Counters, Limits
from oddwire.transports.base import Transport, takes_turns

if TYPE_CHECKING:
    from oddwire.app.application import Application
    from oddwire.app.dispatch.resources import Resources
    from oddwire.app.insight.counts import Counts
    from oddwire.app.insight.watch import Watch
    from oddwire.app.limits.access import AccessControl
    from oddwire.app.resending.resender import Resender

__all__ = ["Core"]

_CHEAP: Final = 2048  # bytes; shorter payloads cannot decode to more than a message may cost


class Core:
    """The parts of a `Dispatcher` that its other parts share; without behaviour of its own.

    ``access`` is the access control of extensions, by the extension's name.
    """

    def __init__(
        self,
        app: Application,
        tables: Tables,
        transport: Transport,
        resources: Resources,
        failures: Failures,
        background: Background,
        *,
        access: Mapping[str, AccessControl] = MappingProxyType({}),
        on_loss: Sequence[HookCall] = (),
        tracers: Sequence[HookCall] = (),
        limits: Limits | None = None,
    ) -> None:
        self.app = app
        self.tables = tables
        self.transport = transport
        self.resources = resources
        self.failures = failures
        self.background = background
        self.takes_turns = takes_turns(transport)
        """Whether the transport may delay the handling of a delivered message."""
        self.access = access
        self.limits = limits or Limits()
        self.loop = asyncio.get_running_loop()
        self.counters = Counters()
        """How often the application's limits took effect, without those of the session and the store."""
        self.routes = {prefix: self.complete(route) for prefix, route in tables.incoming.items()}
        """The routes of received messages, by the two bytes of their type."""
        self.unknown = self._unknown()
        """The routes of types without a message class, by their two bytes; their messages are whole payloads."""
        self.outgoing = OutgoingTable(tables.outgoing)
        """The encoding of messages to be sent, by their class."""
        self.queues: dict[NodeId, PeerQueue] = {}
        """The queues of connected peers, and of disconnected ones whose messages are still handled."""
        background.queues = self.queues
        self.memory_budget = MemoryBudget(self.limits.total_message_bytes)
        self.tasks = Tasks()
        self.spawn = self.tasks.spawn
        self._hooks = (*tracers,)
        self._traced: list[Traced] = []
        self.tracer = Tracer(app, tracers) if tracers else None
        """Traces and counts messages, None while nobody wants to know."""
        self.watches: tuple[Watch[Any], ...] = ()
        """Who looks on for a while; see `look_on`."""
        self.enforcer = Enforcer(app, transport, failures, self.spawn, on_loss=on_loss)
        self.trace_in(self.enforcer)
        self.resender: Resender | None = None
        """What sends messages again, once there are any."""
        self.closing = False
        """Whether received messages are not accepted any more."""
        self.stalled: set[asyncio.Future[bool]] = set()
        """Streams that wait for credit: True for more of it, False once none can come, as the application closes."""

    def complete(self, route: Route) -> Route:
        """Wrap a route's handler: add the extension's access control, and for reliable messages a unit of work."""
        owner = self.owner_name(route.owner)
        access = self.access.get(owner)
        if access is not None and (access.is_needed or route.rate is not None):
            route = route._replace(slow=True, access=access)
        if route.weigh is not None:
            route = route._replace(slow=True)  # to be weighed
        if route.reliable is not None:
            route = route._replace(handler=partial(self._in_unit, owner, route.reliable))
        return route

    # Insight, which may be wanted while the application runs ------------------------------------------

    def trace_in(self, part: Traced) -> None:
        """Let a part of the dispatcher know the tracer, now and whenever there is another one."""
        self._traced.append(part)
        part.use_tracer(self.tracer)

    @property
    def counts(self) -> Counts | None:
        """The counts of messages, None while they are not counted."""
        return None if self.tracer is None else self.tracer.counts

    @property
    def is_traced(self) -> bool:
        """Whether anybody is told of each message."""
        return self.tracer is not None and self.tracer.tells

    def count_messages(self) -> Counts:
        """Count messages from now on, unless they are counted already."""
        counts = self.counts
        if counts is None:
            from oddwire.app.insight.counts import Counts

            counts = Counts(self._is_known)
            counts.peers = {node_id: [0, 0] for node_id, queue in self.queues.items() if queue.info is not None}
            self._use_tracer(counts)
        return counts

    def look_on(self, watch: Watch[Any]) -> None:
        """Tell ``watch`` of messages, peers and failures from now on."""
        self._tell((*self.watches, watch))

    def look_away(self, watch: Watch[Any]) -> None:
        """Undo `look_on`."""
        self._tell(tuple(one for one in self.watches if one is not watch))

    def _tell(self, watches: tuple[Watch[Any], ...]) -> None:
        self.watches = self.failures.watches = self.enforcer.watches = watches
        self._use_tracer(self.counts)

    def _use_tracer(self, counts: Counts | None) -> None:
        calls: list[Callable[..., object]] = [*self._hooks, *(watch.message_traced for watch in self.watches)]
        self.tracer = Tracer(self.app, calls, counts) if calls or counts is not None else None
        for part in self._traced:
            part.use_tracer(self.tracer)
        for queue in self.queues.values():
            queue.set_tracing(self.is_traced)

    def _is_known(self, type_id: int) -> bool:
        return type_id == SESSION_TYPE or self.tables.registry.lookup(type_id) is not None

    def _unknown(self) -> dict[bytes, Route]:
        found: dict[bytes, Route] = {}
        for handler, route in self.tables.unknown:
            found.update(dict.fromkeys([number.to_bytes(2, "big") for number in handler.numbers], self.complete(route)))
        return found

    async def _in_unit(self, owner: str, run: Run, context: Context, message: Message) -> Message | None:
        """Run a reliable handler for a message not sent reliably; return its reply once the unit of work is on disk."""
        async with self.resources.delivery().store.unit(owner) as unit:
            reply = await run(context, message)
        await unit.durable()
        return reply

    def owner_name(self, owner: int) -> str:
        """Return the name of the extension with a route's ``owner`` number; empty for 0, which is no extension."""
        return self.tables.owners[owner - 1].name if owner else ""

    def context(self, queue: PeerQueue, owner: int) -> Context:
        """Create the context with which an owner's handlers are called for this peer."""
        context = queue.contexts[owner] = Context(self.app, self.owner_name(owner), queue.peer)
        return context

    @contextmanager
    def charging(self, node_id: NodeId, payload: bytes, wasted: float = 0.0) -> Iterator[None]:
        """Context manager: charge a peer with the CPU time of its message, where the dispatcher does not do so.

        A useless message costs ``wasted`` seconds elsewhere. Short payloads cost little, and are not measured.
        """
        measured = len(payload) > _CHEAP
        began = thread_time() if measured else 0.0
        try:
            yield
        finally:
            seconds = thread_time() - began if measured else 0.0
            if measured or wasted:
                self.transport.worked(node_id, seconds + wasted, wasted=wasted > 0)

    def take_malformed(self, node_id: NodeId, payload: bytes, error: Exception) -> Malformed:
        """Return what a handler that takes `Malformed` gets for a payload that does not decode; count it as wasted."""
        self.transport.wasted(node_id)
        return Malformed(payload, decode_error(payload, error, self.tables.registry))

    def malformed(self, queue: PeerQueue, payload: bytes, error: Exception) -> None:
        """Apply the policy to a payload that does not decode: count it as wasted, trace and log it, warn the peer."""
        self.transport.wasted(queue.peer.node_id)
        error = decode_error(payload, error, self.tables.registry)
        if self.tracer is not None:
            self.tracer.trace(
                "received", queue.peer.node_id, payload, None, error=error, handled=False, outcome="malformed"
            )
        self.enforcer.apply(Outcome.MALFORMED, queue, str(error), payload)

    def unhandled(self, queue: PeerQueue, payload: bytes, message: Message, fate: Fate = Fate.FREE) -> None:
        """Apply the policy to a message without a handler, that may be a late reply, or one too many."""
        warning = "" if queue.exchanges is None else queue.exchanges.unhandled(message, fate)
        if warning:
            self.enforcer.apply(Outcome.UNASKED, queue, f"{self.enforcer.describe(payload)}: {warning}", payload)
        else:
            self.enforcer.apply(Outcome.UNHANDLED, queue, self.enforcer.describe(payload), payload)
