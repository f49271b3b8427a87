"""Reliable delivery: the store, what goes out of it to which program of which peer, and what comes in.

Here is who takes a lane, when it is sent and sent again. What an application does with a message that comes, its
`DeliveryHost` knows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

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

_POLL: Final = 0.05  # seconds between two looks whether the store is free
_EXPIRING: Final = 60.0  # seconds between two looks for messages that are too old
_MORE: Final = 0.05  # seconds until the next look, if some were: not all are given up in one go
_TELLING: Final = 2e-6  # seconds of work for each refusal in an ack, beside what is measured
# What keeps a store from being opened and is the operator's to mend before anything runs
_MISTAKES: Final = ("foreign", "newer", "locked", "unfinished")
_ALONE: Final = 60.0  # seconds that messages wait for a connected peer until it is told that nobody takes them


class DeliveryHost(InboxHost, Protocol):
    """What reliable delivery needs of the application. Everything is called on the loop."""

    def lost(self, loss: Loss, extension: str) -> None:
        """Learn that a message of ours was refused for good, or given up; see `Outbox`.

        ``extension`` is whose it was, empty for one that is not loaded.
        """


class Delivery:
    """Reliable messages in both directions: an outbox and an inbox in one store, and how the session has their frames.

    ``limits`` are the application's, ``allowances`` its extensions', ``extensions`` the names of all of those.
    ``pause`` is as `Inbox` has it. Messages are kept at once; until `start`, nothing comes and nothing goes.
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
        """Keeps a message until the peer has it; see `Outbox.send`."""
        self.inbox = Inbox(store, self._acknowledge, limits=limits, counters=self.outbox.counters, pause=pause)
        self._extensions = frozenset(extensions)
        self._host: DeliveryHost | None = None
        self._peers: Mapping[NodeId, PeerSession] = MappingProxyType({})
        self._time: Callable[[], float] = time.monotonic
        self._pumps: set[NodeId] = set()  # peers to whom a task sends what there is
        self._timer: asyncio.TimerHandle | None = None

    @property
    def counters(self) -> Counters:
        """How often the application's limits of what is kept took effect, and how many messages were lost."""
        return self.outbox.counters

    @property
    def numbers(self) -> tuple[int, ...]:
        """By which numbers peers know the store; none while it cannot be opened."""
        return self.store.identity.numbers

    # Its life ---------------------------------------------------------------------------------------

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

    def start(
        self,
        host: DeliveryHost,
        peers: Mapping[NodeId, PeerSession],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Begin: ``peers`` are those connected, now and later, to whom messages go.

        ``spawn`` runs tasks that end with the application at the latest. ``clock`` is the one that frames are told by,
        the loop's by default.
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
        """Assign the store another number, its lanes others, and their messages sequences from 1 on, all at once.

        For a store that was copied and that another program uses, too; nothing is sent before. Raises `StoreError` if
        it cannot be written; then that is tried again, and still nothing is sent.
        """
        await self.store.ready()
        self.store.identity.renew()
        self.outbox.renew()
        await self.store.touch().durable()

    def give_up(self) -> None:
        """Begin to handle nothing more, and tell all who wait for a receipt that they will not hear."""
        self.inbox.close()
        self.outbox.close()
        if self._timer is not None:
            self._timer.cancel()

    async def aclose(self) -> None:
        """Keep what is not kept yet, and close the store."""
        self.give_up()
        await self.store.aclose()

    def _expire(self) -> None:
        found = self.outbox.expire() + self.inbox.forget()
        self._timer = asyncio.get_running_loop().call_later(_MORE if found else _EXPIRING, self._expire)

    def _lost(self, loss: Loss) -> None:
        if self._host is not None:  # before, nothing was sent, nor looked at for its age
            self._host.lost(loss, loss.extension if loss.extension in self._extensions else "")

    # As `oddwire.session.host.ReliableDelivery` ---------------------------------------------------------------

    def hello_received(self, link: Link, new: bool) -> None:
        """Send what waits for a program that has said hello, or has changed what it says."""
        self._choose(link.peer)
        self._ready(link.node_id)

    def session_ended(self, link: Link) -> None:
        """Send nothing more to a program that has ended: another may take it, or it when it is back."""
        self.outbox.ended(link.node_id, link.route)
        self.inbox.ended(link.node_id, link)
        self._choose(link.peer)
        self._ready(link.node_id)

    def peer_disconnected(self, node_id: NodeId) -> None:
        """Send nothing to a peer that is gone."""
        now = self._time()
        for lane in self.outbox.lanes(node_id):
            lane.search.pause(now)
        self.outbox.disconnected(node_id)
        self.inbox.disconnected(node_id)

    def data_received(self, link: Link, data: Data) -> bool:
        """Take a reliable message; False for one that an honest peer would not send."""
        return self.inbox.receive(link.node_id, data, self._time(), link)

    def ack_received(self, link: Link, ack: Ack) -> bool:
        """Take a peer's ack; False for one of nothing that was sent."""
        known = self.outbox.acknowledged(link.node_id, ack, self._time(), link.route)
        if known:
            self._ready(link.node_id)
        return known

    def is_waiting(self, link: Link) -> bool:
        """Say whether there are messages for a program that it has not acknowledged."""
        return any(lane.address == link.route and lane.load.messages for lane in self.outbox.lanes(link.node_id))

    def tick(self, peer: PeerSession, now: float) -> None:
        """Send again what has not been acknowledged for too long, look for who takes what nobody takes."""
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

    # Who takes a lane -------------------------------------------------------------------------------

    def _choose(self, peer: PeerSession, waiting: bool = False) -> None:
        """Choose who gets a peer's lanes, of the programs behind it; or only those ``waiting`` that nobody gets."""
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
            self._tell_alone(peer, lane)
        peer.wake(lane.search.due(_ALONE))

    def _takers(self, peer: PeerSession, lane: OutboxLane) -> list[Link]:
        """Return the programs that take a lane's messages, in the order in which they came.

        Where none of the node names the extension, not even in another version, it may go by another name there.
        """
        links = [link for link in peer.links.values() if link.ready]
        found = [link for link in links if self._is_spoken(link, lane)]
        if found or not links or peer.waiting or any(lane.extension in link.spoken for link in links):
            return found
        type_id = self.outbox.type_of(lane)
        return [link for link in links if any(type_id in told.types for told in link.spoken.values())]

    def _is_spoken(self, link: Link, lane: OutboxLane) -> bool:
        """Say whether a program takes a lane's messages; those of an extension no longer loaded go out as well."""
        if not lane.extension:
            return any(former_lane_of(name) == lane.lane for name in link.spoken)
        return lane.extension in (link.agreed if lane.extension in self._extensions else link.spoken)

    def _tell_alone(self, peer: PeerSession, lane: OutboxLane) -> None:
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

    # Going out --------------------------------------------------------------------------------------

    def _ready(self, node_id: NodeId) -> None:
        """Send what there is to a peer, in order: one task does it, made when there is something."""
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
            logger.debug("%s went; what is in the outbox waits", node_id)
        finally:
            self._pumps.discard(node_id)
        if peer.closed:
            self._ready(node_id)  # it may have come back meanwhile
        else:
            peer.wake(self.outbox.deadline(node_id))

    async def _send_all(self, peer: PeerSession, lane: OutboxLane, frames: Iterable[bytes]) -> None:
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
            self.outbox.give_up(link.node_id, lane, epoch, sequence, Code.TOO_LARGE, text)
            self._ready(link.node_id)


def _remembered(offer: Offer, known: Known | None) -> Known:
    """Return what to keep of the program a lane goes to: one that lists no store may not know it yet."""
    if known is not None and not offer.stores and offer.program == known.program:
        return known
    return Known(offer.program, offer.stores)
