"""The application's side of reliable delivery: its store, what goes out of it, and the handlers of what comes in."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Final

from oddwire.app.context import Context
from oddwire.app.dispatch.acknowledgements import Acknowledgements
from oddwire.app.dispatch.policy import Outcome, decode_error
from oddwire.app.plugins.router import Route
from oddwire.errors import (
    LocalProtocolError,
    PeerNotConnected,
    Refuse,
    SessionError,
    StoreError,
    TransportError,
)
from oddwire.exit_exceptions import must_pass, spelled
from oddwire.log_limits import get_logger
from oddwire.schema import Message
from oddwire.session.limits import Allowance, Counters, Limits
from oddwire.session.peer.link import Link
from oddwire.session.peer.peer_session import PeerSession
from oddwire.session.reliable.inbox import ATTEMPTS, Inbox
from oddwire.session.reliable.outbox import Outbox
from oddwire.session.reliable.outbox_state import Loss
from oddwire.session.reliable.outbox_state import OutboxLane as Sending
from oddwire.session.reliable.receipt import Receipt
from oddwire.session.reliable.receivers import Known, Offer
from oddwire.session.store.database import former_lane_of
from oddwire.session.store.unit import Store
from oddwire.session.wire.frame_types import Ack, Code, Data, Failure, Refusal, count_as
from oddwire.session.wire.frames import data_place
from oddwire.transports.base import NodeId

if TYPE_CHECKING:
    from oddwire.app.dispatch.dispatcher import Dispatcher

__all__ = ["ReliableHandlers"]

logger = get_logger("oddwire.app")

_POLL: Final = 0.05  # seconds between two looks whether the store is free
_EXPIRING: Final = 60.0  # seconds between two looks for messages that are too old
_MORE: Final = 0.05  # seconds until the next look, if some were: not all are given up in one go
# Seconds of work for a message that is refused, and for each refusal in an ack, beside what is measured
_REFUSING: Final = 250e-6
_TELLING: Final = 2e-6
_UNMEASURED: Final = 2048  # bytes of a message whose decoding is too cheap to be charged for
_TURN: Final = 64  # messages handled until others have the loop
# What keeps a store from being opened and is the operator's to mend before anything runs
_MISTAKES: Final = ("foreign", "newer", "locked", "unfinished")
_ALONE: Final = 60.0  # seconds that messages wait for a connected peer until it is told that nobody takes them


def _remembered(offer: Offer, known: Known | None) -> Known:
    """Return what to keep of the program a lane goes to: one that lists no store may not know it yet."""
    if known is not None and not offer.stores and offer.program == known.program:
        return known
    return Known(offer.program, offer.stores)


def _title_of(dispatcher: Dispatcher | None, payload: bytes) -> str:
    type_id = int.from_bytes(payload[:2], "big")
    return f"type {type_id:#06x}" if dispatcher is None else dispatcher.router.registry.title_of(type_id)


class ReliableHandlers:
    """An application's reliable messages, in both directions, and the store they share with the extensions.

    ``path`` is where the store is, ``number`` the one it gets if it is made. ``limits`` are the application's,
    ``allowances`` its extensions', ``extensions`` the names of all of those. It works without a dispatcher, `attach`
    gives it one: until then, nothing comes and nothing goes.
    """

    def __init__(
        self,
        path: str,
        limits: Limits,
        allowances: Iterable[Allowance] = (),
        *,
        number: int | None = None,
        extensions: Collection[str] = (),
    ) -> None:
        self.store = Store(path, number=number, extensions=extensions)
        self.store.identity.told = self._tell_numbers
        by_name = {allowance.extension: allowance for allowance in allowances}
        self._extensions = frozenset(extensions)
        self._outbox = Outbox(self.store, limits=limits, allowances=by_name, ready=self._ready, lost=self._lost)
        self._inbox = Inbox(self.store, self, limits=limits, counters=self._outbox.counters)
        self._dispatcher: Dispatcher | None = None
        self._pumps: dict[NodeId, asyncio.Task[None]] = {}
        self._acks = Acknowledgements(self.spawn)
        self._admitted = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def counters(self) -> Counters:
        """How often the application's limits of what is kept took effect, and how many messages were lost."""
        return self._outbox.counters

    @property
    def numbers(self) -> tuple[int, ...]:
        """By which numbers peers know the store; none while it cannot be opened."""
        return self.store.identity.numbers

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
        self._tell_numbers()
        self._expire()
        for peer in dispatcher.peers():
            session = dispatcher.session_of(peer.node_id)
            if session is not None:
                self._choose(session)
                self._ready(peer.node_id)

    def _tell_numbers(self) -> None:
        if self._dispatcher is not None and self._dispatcher.conversation is not None:
            self._dispatcher.conversation.session.set_stores(self.numbers)

    async def renew(self) -> None:
        """Assign the store another number, its lanes others, and their messages sequences from 1 on, all at once.

        For a store that was copied and that another program uses, too; nothing is sent before. Raises `StoreError` if
        it cannot be written; then that is tried again, and still nothing is sent.
        """
        await self.store.ready()
        self.store.identity.renew()
        self._outbox.renew()
        await self.store.touch().durable()

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
        """Send what waits for a program that has said hello, or has changed what it says."""
        self._choose(link.peer)
        self._ready(link.node_id)

    def session_ended(self, link: Link) -> None:
        """Send nothing more to a program that has ended: another may take it, or it when it is back."""
        self._outbox.ended(link.node_id, link.route)
        self._inbox.ended(link.node_id, link)
        self._choose(link.peer)
        self._ready(link.node_id)

    def peer_disconnected(self, node_id: NodeId) -> None:
        """Send nothing to a peer that is gone."""
        for lane in self._outbox.lanes(node_id):
            lane.search.pause(asyncio.get_running_loop().time())
        self._outbox.disconnected(node_id)
        self._inbox.disconnected(node_id)

    def is_waiting(self, link: Link) -> bool:
        """Say whether there are messages for a program that it has not acknowledged."""
        return any(lane.address == link.route and lane.load.messages for lane in self._outbox.lanes(link.node_id))

    def tick(self, peer: PeerSession, now: float) -> None:
        """Send again what has not been acknowledged for too long, look for who takes what nobody takes."""
        if not self._outbox.lanes(peer.node_id):
            return
        self._choose(peer)
        deadline = self._outbox.deadline(peer.node_id)
        if deadline <= now:
            self._outbox.tick(peer.node_id, now)
        else:
            peer.wake(deadline)
        self._ready(peer.node_id)

    def _choose(self, peer: PeerSession, waiting: bool = False) -> None:
        """Choose who gets a peer's lanes, of the programs behind it; or only those ``waiting`` that nobody gets."""
        now = peer.session.loop.time()
        for lane in self._outbox.lanes(peer.node_id):
            if waiting and lane.address:
                continue
            offers = [Offer(link.route, link.program, link.stores) for link in self._takers(peer, lane)]
            found = lane.search.choose(offers, lane.wanted, lane.address, now)
            if found is None or (found.route != lane.address and not lane.load.messages):
                if lane.address:
                    self._outbox.disconnected(peer.node_id, lane.lane)
            elif lane.load.messages or lane.address:
                self._outbox.connected(peer.node_id, lane.lane, found.route, _remembered(found, lane.wanted))
            if lane.load.messages and not offers and lane.search.is_alone(now, _ALONE):
                self._tell_alone(peer, lane)
            peer.wake(lane.search.due(_ALONE))

    def _takers(self, peer: PeerSession, lane: Sending) -> list[Link]:
        """Return the programs that take a lane's messages, in the order in which they came.

        Where none of the node names the extension, not even in another version, it may go by another name there.
        """
        links = [link for link in peer.links.values() if link.ready]
        found = [link for link in links if self._is_spoken(link, lane)]
        if found or not links or peer.waiting or any(lane.extension in link.spoken for link in links):
            return found
        type_id = self._outbox.type_of(lane)
        return [link for link in links if any(type_id in told.types for told in link.spoken.values())]

    def _is_spoken(self, link: Link, lane: Sending) -> bool:
        """Say whether a program takes a lane's messages; those of an extension no longer loaded go out as well."""
        if not lane.extension:
            return any(former_lane_of(name) == lane.lane for name in link.spoken)
        return lane.extension in (link.agreed if lane.extension in self._extensions else link.spoken)

    def _tell_alone(self, peer: PeerSession, lane: Sending) -> None:
        """Say once that messages wait for a program that is not there, while the peer's node is."""
        if lane.search.told:
            return
        lane.search.told = True
        self.counters.waiting["nobody"] += 1
        versions = peer.extensions().get(lane.extension)
        if not lane.extension:
            why = "it is not known whose they are: no extension that is loaded here has sent them"
        elif versions:
            why = f"it speaks {lane.extension!r} only in other versions: {', '.join(versions)}"
        else:
            why = f"no program behind it speaks {lane.extension!r}"
        logger.warning("%d reliable messages to %s wait: %s", lane.load.messages, peer.node_id, why)

    def _expire(self) -> None:
        found = self._outbox.expire() + self._inbox.forget()
        self._timer = asyncio.get_running_loop().call_later(_MORE if found else _EXPIRING, self._expire)

    # Going out --------------------------------------------------------------------------------------

    async def send(self, node_id: NodeId, owner: str, payload: bytes) -> Receipt:
        """Keep a message until the peer has it; see `Peer.send`."""
        receipt = await self._outbox.send(node_id, owner, payload)
        receipt.node_id = node_id
        return receipt

    def _ready(self, node_id: NodeId) -> None:
        """Send what there is to a peer, in order: one task does it."""
        if self._dispatcher is not None and node_id not in self._pumps:
            peer = self._dispatcher.session_of(node_id)
            if peer is not None and peer.links:
                self._pumps[node_id] = self._dispatcher.spawn(self._pump(peer))
            elif peer is not None:
                self._choose(peer)  # for the time to be counted

    async def _pump(self, peer: PeerSession) -> None:
        node_id, loop = peer.node_id, peer.session.loop
        try:
            while not peer.closed:
                self._choose(peer, waiting=True)
                taken = self._outbox.outgoing(node_id, loop.time())
                if not taken:
                    break
                for lane, frames in taken:
                    await self._send_all(peer, lane, frames)
        except PeerNotConnected:
            logger.debug("%s went; what is in the outbox waits", node_id)
        finally:
            del self._pumps[node_id]
        if peer.closed:
            self._ready(node_id)  # it may have come back meanwhile
        else:
            peer.wake(self._outbox.deadline(node_id))

    async def _send_all(self, peer: PeerSession, lane: Sending, frames: Iterable[bytes]) -> None:
        """Send a lane's frames, as long as they go where they were meant to: from there on it begins again."""
        address, number = lane.address, lane.lane
        link = next((link for link in peer.links.values() if link.route == address), None)
        for frame in frames:
            if link is None or link.closed or (lane.address, lane.lane) != (address, number):
                return
            try:
                await self._send(link, frame)
            except PeerNotConnected:
                raise
            except TransportError as error:  # its program went; or the node did not take it: it goes again later
                logger.debug("a reliable message to %s is not sent for now: %s", peer.node_id, error)
                return

    async def _send(self, link: Link, frame: bytes) -> None:
        lane, epoch, sequence = data_place(frame)

        def failed(failure: Failure) -> None:  # is kept for long: a refusal may come late. The frame is not
            if failure.code == Code.TOO_LARGE:
                self._too_large(link, lane, epoch, sequence, failure.text)

        try:
            await link.send(frame, failed=failed)
        except SessionError as error:
            if getattr(error, "code", Code.TOO_LARGE) == Code.TOO_LARGE:
                self._too_large(link, lane, epoch, sequence, str(error))  # and if not, it goes again later

    def _too_large(self, link: Link, lane: int, epoch: int, sequence: int, text: str) -> None:
        if not link.closed:  # else another may take it
            self._outbox.give_up(link.node_id, lane, epoch, sequence, Code.TOO_LARGE, text)
            self._ready(link.node_id)

    def acknowledged(self, link: Link, ack: Ack) -> bool:
        """Take a peer's ack; False for one of nothing that was sent."""
        known = self._outbox.acknowledged(link.node_id, ack, link.session.loop.time(), link.route)
        if known:
            self._ready(link.node_id)
        return known

    def _lost(self, loss: Loss) -> None:
        dispatcher = self._dispatcher
        if dispatcher is not None:  # without one nothing was sent, nor looked at for its age
            dispatcher.enforcer.undelivered(loss, loss.extension if loss.extension in self._extensions else "")

    # Coming in: the inbox's host --------------------------------------------------------------------

    def received(self, link: Link, data: Data) -> bool:
        """Take a reliable message; False for one that an honest peer would not send."""
        return self._inbox.receive(link.node_id, data, link.session.loop.time(), link)

    async def admit(self, node_id: NodeId, payload: bytes) -> None:
        """Have a message wait for its extension's on_connect, and for a peer that has had more than its share."""
        dispatcher = self._dispatcher
        if dispatcher is not None:
            queue, route = dispatcher.queues.get(node_id), dispatcher.routes.get(payload[:2])
            if queue is not None and route is not None and queue.greeting is not None:
                await dispatcher.greeter.until(queue, route.owner)
            self._admitted += 1
            if not self._admitted % _TURN:
                await asyncio.sleep(0)
            if dispatcher.takes_turns:
                await dispatcher.transport.turn(node_id)

    def handler_of(self, node_id: NodeId, payload: bytes) -> tuple[str, Callable[[], Awaitable[object]]]:
        """Find who handles a message. Raises `Refuse`."""
        if self._dispatcher is None or len(payload) <= _UNMEASURED:
            return self._handler_of(node_id, payload)
        with self._dispatcher.charging(node_id, payload):
            return self._handler_of(node_id, payload)

    def _handler_of(self, node_id: NodeId, payload: bytes) -> tuple[str, Callable[[], Awaitable[object]]]:
        dispatcher, route, message = self._read(payload)
        queue = dispatcher.queues.get(node_id)
        owner = dispatcher.router.owners[route.owner - 1].name
        context = Context(dispatcher.app, owner, dispatcher.app.peer(node_id) if queue is None else queue.peer)
        if dispatcher.tracer is not None:
            dispatcher.tracer.trace("received", node_id, payload, message)
        return owner, functools.partial(self._handle, route, context, message, len(payload))

    def acknowledge(self, source: object, ack: Ack) -> None:
        """Send an ack to a program."""
        if self._dispatcher is not None and isinstance(source, Link) and source.common:
            refused = len(ack.failures)
            self._acks.post(source, ack)
            if refused:
                self._dispatcher.transport.worked(source.node_id, _TELLING * refused, wasted=True)

    def attempt_failed(self, node_id: NodeId, payload: bytes, error: Exception, attempt: int) -> None:
        """Report what a handler raised."""
        if self._dispatcher is None:
            return
        with self._dispatcher.charging(node_id, payload):
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
        with dispatcher.charging(node_id, payload, _REFUSING):
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
        me = asyncio.current_task()
        try:
            if route.guard is not None:
                await route.guard.admit_later(context.peer, size)
            assert route.reliable is not None  # noqa: S101 - narrows the type for checkers
            reply = await route.reliable(context, message)
        except (Exception, asyncio.CancelledError):
            raise
        except BaseException as error:
            if must_pass(error, me):
                raise
            raise RuntimeError(f"the handler raised {spelled(error)}") from error
        finally:
            del me
        if reply is not None:
            await context.peer.deliver(reply)

    # A handler of reliable messages that gets one in another way -----------------------------------------

    async def alone(
        self, owner: str, function: Callable[[Context, Any], Awaitable[Message | None]], context: Context, message: Any
    ) -> Message | None:
        """Run a handler as a unit of work of its own; its reply is given once what it did is on disk."""
        async with self.store.unit(owner) as unit:
            reply = await function(context, message)
        await unit.durable()
        return reply
