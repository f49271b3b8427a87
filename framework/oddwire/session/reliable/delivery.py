"""Reliable delivery: outbox and inbox in one store, connected to the sessions with peers.

It chooses the program that a lane's messages are sent to, sends them, and resends them. How an application handles the
messages it receives is defined by its `DeliveryHost`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

from oddwire import clocks
from oddwire.errors import PeerNotConnected, SessionError, StoreError, TransportError
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Allowance, Counters, Limits
from oddwire.session.peer.link import Link
from oddwire.session.peer.peer_session import PeerSession
from oddwire.session.reliable.acknowledgements import Acknowledgements
from oddwire.session.reliable.inbox import Inbox, InboxHost
from oddwire.session.reliable.outbox import Outbox
from oddwire.session.reliable.outbox_state import Loss, OutboxLane
from oddwire.session.reliable.receivers import Known, Offer
from oddwire.session.store.database import former_lane_of
from oddwire.session.store.unit import Store
from oddwire.session.wire.frame_types import Ack, Code, Data, Failure
from oddwire.session.wire.frames import data_place

__all__ = ["Delivery", "DeliveryHost"]

logger = get_logger("oddwire.session")

_POLL: Final = 0.05  # seconds between attempts to open a locked store
_EXPIRING: Final = 60.0  # seconds between checks for messages and lanes that are too old
_MORE: Final = 0.05  # seconds until the next check if one has found some: each call handles a limited number
_TELLING: Final = 2e-6  # seconds of work counted per refusal in an ack, in addition to those measured
# `StoreError.reason`s that the operator has to fix before the application starts
_MISTAKES: Final = ("foreign", "newer", "locked", "unfinished")
_ALONE: Final = 60.0  # seconds that messages wait at a connected peer that has nobody for them, until it is logged


class DeliveryHost(InboxHost, Protocol):
    """What reliable delivery needs of the application. All methods are called on the event loop."""

    def lost(self, loss: Loss, extension: str) -> None:
        """Handle the loss of a message of ours that was refused for good or has expired; see `Outbox`.

        ``extension`` is the extension that sent it, empty for one that is not loaded.
        """


class Delivery:
    """Reliable messages in both directions: an outbox and an inbox in one store; a `ReliableDelivery` for a `Session`.

    ``limits`` are the application's, ``allowances`` its extensions', ``extensions`` the names of all loaded extensions.
    ``pause`` is passed to `Inbox`. `send` works at once; messages are sent and received only after `start`.
    """

    def __init__(
        self,
        store: Store,
        *,
        limits: Limits,
        allowances: Iterable[Allowance] = (),
        extensions: Collection[str] = (),
        pause: float = 1.0,
    ) -> None:
        self.store = store
        by_name = {allowance.extension: allowance for allowance in allowances}
        self.outbox = Outbox(store, limits=limits, allowances=by_name, ready=self._ready, lost=self._lost)
        self.send = self.outbox.send
        """Stores a message for delivery; see `Outbox.send`."""
        self.inbox = Inbox(store, self._acknowledge, limits=limits, counters=self.outbox.counters, pause=pause)
        self._extensions = frozenset(extensions)
        self._host: DeliveryHost | None = None
        self._peers: Mapping[NodeId, PeerSession] = MappingProxyType({})
        self._time: Callable[[], float] = lambda: clocks.monotonic()
        self._pumps: set[NodeId] = set()  # peers for which a `_pump` task is running
        self._timer: asyncio.TimerHandle | None = None

    @property
    def counters(self) -> Counters:
        """How often the application's limits on stored messages took effect, and how many messages were lost."""
        return self.outbox.counters

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of the store, for our hello; empty while it cannot be opened."""
        return self.store.identity.numbers

    # Its life ---------------------------------------------------------------------------------------

    async def open(self, patience: float) -> None:
        """Open the store, waiting up to ``patience`` seconds for another process to release it.

        Raises `StoreError` for what the operator has to fix: a store in use, of another kind, of a later version, or
        with an unfinished move. Any other failure is logged; opening is tried again when the store is needed, and
        everything that does not need it works.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while True:
            try:
                await self.store.open()
            except StoreError as error:
                if error.reason == "locked" and loop.time() < deadline:
                    await asyncio.sleep(_POLL)
                    continue
                if error.reason in _MISTAKES:
                    raise
                logger.error("reliable delivery is suspended: %s", error)
            return

    def start(
        self,
        host: DeliveryHost,
        peers: Mapping[NodeId, PeerSession],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Start sending and receiving. ``peers`` is the live mapping of connected peers.

        ``spawn`` starts tasks that are cancelled when the application closes. ``clock`` returns the time for timeouts
        and resending, in seconds; by default it is the event loop's.
        """
        loop = asyncio.get_running_loop()
        self._host, self._peers, self._spawn, self._time = host, peers, spawn, clock or loop.time
        self._acknowledgements = Acknowledgements(spawn)
        self.inbox.start(host, spawn)
        self._expire()
        for peer in [*peers.values()]:
            self._choose(peer)
            self._ready(peer.node_id)

    async def renew(self) -> None:
        """Assign new numbers to the store and its lanes, and sequences from 1 on to their messages, in one commit.

        It is for a copy of a store that another program uses too (protocol, Programs and stores). Nothing is sent until
        the commit is on disk. Raises `StoreError` if it fails; it is tried again then, and still nothing is sent.
        """
        await self.store.ready()
        self.store.identity.renew()
        self.outbox.renew()
        await self.store.touch().durable()

    def stop(self) -> None:
        """Start no more handlers, and fail all receipts that are waited for; see `Outbox.close`."""
        self.inbox.close()
        self.outbox.close()
        if self._timer is not None:
            self._timer.cancel()

    async def aclose(self) -> None:
        """Commit what is not on disk yet, and close the store."""
        self.stop()
        await self.store.aclose()

    async def abandon(self) -> None:
        """End as the process would: nothing more is committed; see `GroupCommit.abandon`."""
        self.stop()
        await self.store.abandon()

    def _expire(self) -> None:
        found = self.outbox.expire() + self.inbox.expire()
        self._timer = asyncio.get_running_loop().call_later(_MORE if found else _EXPIRING, self._expire)

    def _lost(self, loss: Loss) -> None:
        if self._host is not None:  # None only before `start`, when no message can be lost
            self._host.lost(loss, loss.extension if loss.extension in self._extensions else "")

    # As `oddwire.session.host.ReliableDelivery` ---------------------------------------------------------------

    def hello_received(self, link: Link, new: bool) -> None:
        """Send what waits for a program that has said hello, again or for the first time."""
        self._choose(link.peer)
        self._ready(link.node_id)

    def session_ended(self, link: Link) -> None:
        """Send nothing more to a program whose session has ended; its lanes may go to another, or wait for it."""
        self.outbox.ended(link.node_id, link.route)
        self.inbox.ended(link.node_id, link)
        self._choose(link.peer)
        self._ready(link.node_id)

    def peer_disconnected(self, node_id: NodeId) -> None:
        """Send nothing more to a peer that has disconnected."""
        now = self._time()
        for lane in self.outbox.lanes(node_id):
            lane.search.pause(now)
        self.outbox.disconnected(node_id)
        self.inbox.disconnected(node_id)

    def data_received(self, link: Link, data: Data) -> bool:
        """Receive a reliable message; see `Inbox.receive`."""
        return self.inbox.receive(link.node_id, data, self._time(), link)

    def ack_received(self, link: Link, ack: Ack) -> bool:
        """Receive a peer's ack. Return False if there is no such lane."""
        known = self.outbox.acknowledged(link.node_id, ack, self._time(), link.route)
        if known:
            self._ready(link.node_id)
        return known

    def is_waiting(self, link: Link) -> bool:
        """Return whether there are messages for a program that it has not acknowledged."""
        return any(lane.address == link.route and lane.load.messages for lane in self.outbox.lanes(link.node_id))

    def tick(self, peer: PeerSession, now: float) -> None:
        """Resend messages whose ack is overdue, and choose programs for the lanes that have none."""
        if not self.outbox.lanes(peer.node_id):
            return
        self._choose(peer)
        if self.outbox.deadline(peer.node_id) <= now:
            self.outbox.tick(peer.node_id, now)
        self._ready(peer.node_id)

    def _acknowledge(self, source: object, ack: Ack) -> None:
        if isinstance(source, Link) and source.common:
            self._acknowledgements.post(source, ack)
            if ack.failures:
                source.shared.transport.worked(source.node_id, _TELLING * len(ack.failures), wasted=True)

    # The program of a lane --------------------------------------------------------------------------

    def _choose(self, peer: PeerSession, waiting: bool = False) -> None:
        """Choose a program of the peer for each of its lanes; with ``waiting``, only for the lanes that have none."""
        for lane in self.outbox.lanes(peer.node_id):
            if not waiting or not lane.address:
                self._choose_for(lane, peer)

    def _choose_for(self, lane: OutboxLane, peer: PeerSession) -> None:
        now = self._time()
        offers = [Offer(link.route, link.program, link.stores) for link in self._takers(peer, lane)]
        found = lane.search.choose(offers, lane.wanted, lane.address, now)
        if found is None or (found.route != lane.address and not lane.load.messages):
            if lane.address:
                self.outbox.disconnected(peer.node_id, lane.lane)
        elif lane.load.messages or lane.address:
            self.outbox.connected(peer.node_id, lane.lane, found.route, _remembered(found, lane.wanted))
        if lane.load.messages and not offers and lane.search.is_alone(now, _ALONE):
            self._report_no_receiver(peer, lane)
        peer.wake(lane.search.due(_ALONE))

    def _takers(self, peer: PeerSession, lane: OutboxLane) -> list[Link]:
        """Return the programs that take a lane's messages, in the order of their first hellos.

        Where no program of the node names the extension in any version, those that list the message's type under
        another name count (protocol, Whom to address).
        """
        links = [link for link in peer.links.values() if link.ready]
        found = [link for link in links if self._is_spoken(link, lane)]
        if found or not links or peer.waiting or any(lane.extension in link.spoken for link in links):
            return found
        type_id = self.outbox.type_of(lane)
        return [link for link in links if any(type_id in known.types for known in link.spoken.values())]

    def _is_spoken(self, link: Link, lane: OutboxLane) -> bool:
        """Return whether a program takes a lane's messages. Lanes of extensions no longer loaded are sent as well."""
        if not lane.extension:
            return any(former_lane_of(name) == lane.lane for name in link.spoken)
        return lane.extension in (link.agreed if lane.extension in self._extensions else link.spoken)

    def _report_no_receiver(self, peer: PeerSession, lane: OutboxLane) -> None:
        """Log, once per search, that messages wait at a connected peer because no program takes them."""
        if lane.search.reported:
            return
        lane.search.reported = True
        self.counters.waiting["nobody"] += 1
        versions = peer.extensions().get(lane.extension)
        if not lane.extension:
            why = "their extension is unknown: no extension that is loaded here has sent them"
        elif versions:
            why = f"it speaks {lane.extension!r} only in other versions: {', '.join(versions)}"
        else:
            why = f"no program behind it speaks {lane.extension!r}"
        logger.warning("%d reliable messages to %s wait: %s", lane.load.messages, peer.node_id, why)

    # Sending ----------------------------------------------------------------------------------------

    def _ready(self, node_id: NodeId) -> None:
        """Start the task that sends a peer's outgoing messages in order, if there are any and it is not running."""
        peer = self._peers.get(node_id)
        if peer is None:
            return
        self._choose(peer, waiting=True)
        if node_id in self._pumps:
            return
        if self.outbox.has_outgoing(node_id):
            self._pumps.add(node_id)
            self._spawn(self._pump(peer))
        else:
            peer.wake(self.outbox.deadline(node_id))

    async def _pump(self, peer: PeerSession) -> None:
        node_id = peer.node_id
        try:
            while not peer.closed:
                self._choose(peer, waiting=True)
                taken = self.outbox.outgoing(node_id, self._time())
                if not taken:
                    break
                for lane, frames in taken:
                    await self._send_all(peer, lane, frames)
        except PeerNotConnected:
            logger.debug("%s disconnected; what is in the outbox waits", node_id)
        finally:
            self._pumps.discard(node_id)
        if peer.closed:
            self._ready(node_id)  # the peer may have connected again meanwhile
        else:
            peer.wake(self.outbox.deadline(node_id))

    async def _send_all(self, peer: PeerSession, lane: OutboxLane, frames: Iterable[bytes]) -> None:
        """Send a lane's frames until its program changes: the sender restarts from its base then."""
        address, number = lane.address, lane.lane
        link = next((link for link in peer.links.values() if link.route == address), None)
        for frame in frames:
            if link is None or link.closed or (lane.address, lane.lane) != (address, number):
                return
            try:
                await self._send(link, frame)
            except PeerNotConnected:
                raise
            except TransportError as error:  # of this frame or program: it is resent later
                logger.debug("a reliable message to %s is not sent for now: %s", peer.node_id, error)
                return

    async def _send(self, link: Link, frame: bytes) -> None:
        lane, epoch, sequence = data_place(frame)

        def failed(failure: Failure) -> None:  # must not refer to the frame, since it is kept for late failures
            if failure.code == Code.TOO_LARGE:
                self._too_large(link, lane, epoch, sequence, failure.text)

        try:
            await link.send(frame, failed=failed)
        except SessionError as error:
            if getattr(error, "code", Code.TOO_LARGE) == Code.TOO_LARGE:
                self._too_large(link, lane, epoch, sequence, str(error))  # any other: it is resent later

    def _too_large(self, link: Link, lane: int, epoch: int, sequence: int, text: str) -> None:
        if not link.closed:  # else another program may take the message
            self.outbox.drop(link.node_id, lane, epoch, sequence, Code.TOO_LARGE, text)
            self._ready(link.node_id)


def _remembered(offer: Offer, known: Known | None) -> Known:
    """Return the program and stores to remember for a lane; those known if the program's hello lists no stores yet."""
    if known is not None and not offer.stores and offer.program == known.program:
        return known
    return Known(offer.program, offer.stores)
