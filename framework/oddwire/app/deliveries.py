"""The application's side of reliable delivery: its store, what goes out of it, and the handlers of what comes in."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Final

from oddwire.app.context import Context
from oddwire.app.policy import Outcome, decode_error
from oddwire.app.router import Route
from oddwire.errors import ConnectionClosed, LocalProtocolError, PeerNotConnected, Refuse, SessionError, StoreError
from oddwire.logs import get_logger
from oddwire.schema import Message
from oddwire.session.frames import data_place, encode_ack
from oddwire.session.inbox import ATTEMPTS, Inbox
from oddwire.session.kinds import Ack, Code, Data, Failure, Refusal, count_as
from oddwire.session.limits import Allowance, Counters, Limits
from oddwire.session.link import Link
from oddwire.session.outbox import Outbox
from oddwire.session.receipt import Receipt
from oddwire.session.routes import Loss
from oddwire.session.store import Store
from oddwire.transports.base import NodeId

if TYPE_CHECKING:
    from oddwire.app.dispatcher import Dispatcher

__all__ = ["Deliveries", "lane_of"]

logger = get_logger("oddwire.app")

_POLL: Final = 0.05  # seconds between two looks whether the store is free
_EXPIRING: Final = 60.0  # seconds between two looks for messages that are too old
_MORE: Final = 0.05  # seconds until the next look, if some were: not all are given up in one go
# What keeps a store from being opened and is the operator's to mend before anything runs
_MISTAKES: Final = ("foreign", "newer", "locked")


@functools.cache
def lane_of(extension: str) -> int:
    """Give the lane of an extension's reliable messages."""
    return int.from_bytes(hashlib.sha256(extension.encode()).digest()[:8], "big")


def _title_of(dispatcher: Dispatcher | None, payload: bytes) -> str:
    type_id = int.from_bytes(payload[:2], "big")
    return f"type {type_id:#06x}" if dispatcher is None else dispatcher.router.registry.title_of(type_id)


class Deliveries:
    """An application's reliable messages, in both directions, and the store they share with the extensions.

    ``path`` is where the store is, ``limits`` are the application's, ``allowances`` its extensions'. It works without a
    dispatcher, `attach` gives it one: until then, nothing comes and nothing goes.
    """

    def __init__(self, path: str, limits: Limits, allowances: Iterable[Allowance] = ()) -> None:
        self.store = Store(path)
        by_lane = {lane_of(allowance.extension): allowance for allowance in allowances}
        self._outbox = Outbox(self.store, limits=limits, allowances=by_lane, ready=self._ready, lost=self._lost)
        self._inbox = Inbox(self.store, self)
        self._dispatcher: Dispatcher | None = None
        self._pumps: dict[NodeId, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def counters(self) -> Counters:
        """How often the application's limits of what is kept took effect, and how many messages were lost."""
        return self._outbox.counters

    async def open(self, patience: float) -> None:
        """Open the store, waiting up to ``patience`` seconds for another process to be done with it.

        Raises `StoreError` for a mistake of the operator's: it is in use, or is something else. A store that is out of
        order otherwise is told of in the log; it is tried again when it is needed, and all that does not need it works.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                await self.store.open()
            except StoreError as error:
                if error.reason == "locked" and time.monotonic() < deadline:
                    await asyncio.sleep(_POLL)
                    continue
                if error.reason in _MISTAKES:
                    raise
                logger.error("there is no reliable delivery for now: %s", error)
            return

    def attach(self, dispatcher: Dispatcher) -> None:
        """Begin: peers will come."""
        self._dispatcher = dispatcher
        dispatcher.deliveries = self
        self._expire()
        for peer in dispatcher.peers():
            link = dispatcher.link(peer.node_id)
            if link is not None:
                self.hello_received(link, new=True)

    def give_up(self) -> None:
        """Begin to handle nothing more, and tell all who wait for a receipt that they will not hear."""
        self._inbox.close()
        self._outbox.close()
        if self._timer is not None:
            self._timer.cancel()

    async def aclose(self) -> None:
        """Keep what is not kept yet, and close the store."""
        self.give_up()
        await self.store.aclose()

    # Peers ------------------------------------------------------------------------------------------

    def hello_received(self, link: Link, new: bool) -> None:
        """Send a peer what waits for it; all that is in doubt too, if its process is a ``new`` one."""
        if not link.ready or not new:
            return
        self._outbox.disconnected(link.node_id)
        self._outbox.connected(link.node_id)
        self._ready(link.node_id)

    def peer_disconnected(self, node_id: NodeId) -> None:
        """Send nothing to a peer that is gone."""
        self._outbox.disconnected(node_id)
        self._inbox.disconnected(node_id)

    def tick(self, link: Link, now: float) -> None:
        """Send again what has not been acknowledged for too long."""
        deadline = self._outbox.deadline(link.node_id)
        if deadline <= now:
            self._outbox.tick(link.node_id, now)
            self._ready(link.node_id)
        else:
            link.session.wake(link, deadline)

    def _expire(self) -> None:
        found = self._outbox.expire()
        self._timer = asyncio.get_running_loop().call_later(_MORE if found else _EXPIRING, self._expire)

    # Going out --------------------------------------------------------------------------------------

    async def send(self, node_id: NodeId, owner: str, payload: bytes) -> Receipt:
        """Keep a message until the peer has it; see `Peer.send`."""
        return await self._outbox.send(node_id, lane_of(owner), payload)

    def _ready(self, node_id: NodeId) -> None:
        """Send what there is to a peer, in order: one task does it."""
        if self._dispatcher is not None and node_id not in self._pumps:
            link = self._dispatcher.link(node_id)
            if link is not None and link.ready:
                self._pumps[node_id] = self._dispatcher.spawn(self._pump(link))

    async def _pump(self, link: Link) -> None:
        node_id, loop = link.node_id, link.session.loop
        try:
            while link.ready and (frames := self._outbox.outgoing(node_id, loop.time())):
                for frame in frames:
                    await self._send(link, frame)
        except (PeerNotConnected, ConnectionClosed):
            logger.debug("%s went; what is in the outbox waits", node_id)
        finally:
            del self._pumps[node_id]
        if link.closed:
            self._ready(node_id)  # it may have come back meanwhile
        else:
            link.session.wake(link, self._outbox.deadline(node_id))

    async def _send(self, link: Link, frame: bytes) -> None:
        lane, sequence = data_place(frame)

        def failed(failure: Failure) -> None:  # is kept for long: a refusal may come late. The frame is not
            if failure.code == Code.TOO_LARGE:
                self._too_large(link, lane, sequence, failure.text)

        try:
            await link.send(frame, failed=failed)
        except SessionError as error:
            if getattr(error, "code", Code.TOO_LARGE) == Code.TOO_LARGE:
                self._too_large(link, lane, sequence, str(error))  # and if not, it goes again later

    def _too_large(self, link: Link, lane: int, sequence: int, text: str) -> None:
        self._outbox.give_up(link.node_id, lane, sequence, Code.TOO_LARGE, text)
        self._ready(link.node_id)

    def acknowledged(self, link: Link, ack: Ack) -> bool:
        """Take a peer's ack; False for one of nothing that was sent."""
        known = self._outbox.acknowledged(link.node_id, ack, link.session.loop.time())
        if known:
            self._ready(link.node_id)
        return known

    def _lost(self, loss: Loss) -> None:
        dispatcher = self._dispatcher
        if dispatcher is not None:  # without one nothing was sent, nor looked at for its age
            names = {lane_of(owner.name): owner.name for owner in dispatcher.router.owners}
            dispatcher.enforcer.undelivered(loss, names.get(loss.lane, ""))

    # Coming in: the inbox's host --------------------------------------------------------------------

    def received(self, link: Link, data: Data) -> bool:
        """Take a reliable message; False for one that an honest peer would not send."""
        return self._inbox.receive(link.node_id, data, link.session.loop.time())

    async def admit(self, node_id: NodeId, payload: bytes) -> None:
        """Have a message wait for its extension's on_connect."""
        dispatcher = self._dispatcher
        if dispatcher is not None:
            lane, route = dispatcher.lanes.get(node_id), dispatcher.routes.get(payload[:2])
            if lane is not None and route is not None and lane.greeting is not None:
                await dispatcher.greeter.until(lane, route.owner)

    def handler_of(self, node_id: NodeId, payload: bytes) -> tuple[str, Callable[[], Awaitable[object]]]:
        """Find who handles a message. Raises `Refuse`."""
        dispatcher, route, message = self._read(payload)
        lane = dispatcher.lanes.get(node_id)
        owner = dispatcher.router.owners[route.owner - 1].name
        context = Context(dispatcher.app, owner, dispatcher.app.peer(node_id) if lane is None else lane.peer)
        if dispatcher.tracer is not None:
            dispatcher.tracer.trace("received", node_id, payload, message)
        return owner, functools.partial(self._handle, route, context, message, len(payload))

    def acknowledge(self, node_id: NodeId, ack: Ack) -> None:
        """Send an ack."""
        link = None if self._dispatcher is None else self._dispatcher.link(node_id)
        if link is not None and link.ready:
            link.post(encode_ack(*ack))

    def attempt_failed(self, node_id: NodeId, payload: bytes, error: Exception, attempt: int) -> None:
        """Report what a handler raised."""
        dispatcher, route, message = self._read(payload)
        owner = dispatcher.router.owners[route.owner - 1].name
        dispatcher.enforcer.failed(Context(dispatcher.app, owner, dispatcher.app.peer(node_id)), message, error)

    def refused(self, node_id: NodeId, payload: bytes, refusal: Refusal) -> None:
        """Tell of a message that is refused for good, and count it."""
        self.counters.declined[count_as(refusal.code)] += 1
        dispatcher = self._dispatcher
        if dispatcher is None:
            return
        route = dispatcher.routes.get(payload[:2])
        owner = dispatcher.router.owners[route.owner - 1].name if route is not None and route.owner else ""
        text = refusal.text or (f"its handler failed {ATTEMPTS} times" if refusal.code == Code.INTERNAL else "")
        error = Refuse(text, code=refusal.code)
        dispatcher.enforcer.refused(Outcome.DECLINED, node_id, error, payload, extension=owner)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task of the application's."""
        if self._dispatcher is None:
            raise LocalProtocolError("the application is not started")
        return self._dispatcher.spawn(work)

    def _read(self, payload: bytes) -> tuple[Dispatcher, Route, Message]:
        dispatcher = self._dispatcher
        route = None if dispatcher is None else dispatcher.routes.get(payload[:2])
        if dispatcher is None or route is None or route.handler is None:
            title = _title_of(dispatcher, payload)
            raise Refuse(f"{title} is not handled here", code=Code.UNKNOWN_MESSAGE)
        if route.reliable is None:
            title = _title_of(dispatcher, payload)
            text = f"{title} is not taken reliably here: its handler is not one of reliable messages"
            raise Refuse(text, code=Code.UNSUPPORTED)
        registry = dispatcher.router.registry
        try:
            return dispatcher, route, route.decode(payload)
        except Exception as error:
            raise Refuse(str(decode_error(payload, error, registry)), code=Code.MALFORMED) from error

    async def _handle(self, route: Route, context: Context, message: Message, size: int) -> None:
        if route.guard is not None:
            await route.guard.admit_later(context.peer, size)
        assert route.reliable is not None  # noqa: S101 - narrows the type for checkers
        reply = await route.reliable(context, message)
        if reply is not None:
            await context.peer.send(reply, reliable=True)

    # A handler of reliable messages that gets one in another way -----------------------------------------

    async def alone(
        self, owner: str, function: Callable[[Context, Any], Awaitable[Message | None]], context: Context, message: Any
    ) -> Message | None:
        """Run a handler as a unit of work of its own; its reply is given once what it did is on disk."""
        async with self.store.unit(owner) as unit:
            reply = await function(context, message)
        await unit.durable()
        return reply
