"""Reliable messages on their way out: on disk until the peer has acknowledged them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from itertools import accumulate, islice
from types import MappingProxyType
from typing import Final, TypeAlias

from oddwire.errors import ConnectionClosed, LocalProtocolError, RemoteFailure, StoreError
from oddwire.logs import get_logger
from oddwire.proto.keys import NodeId
from oddwire.session.ages import Ages
from oddwire.session.database import MEMORY, Database
from oddwire.session.frames import MAX_NUMBER, Ack, Code, encode_data
from oddwire.session.kinds import count_as
from oddwire.session.limits import Allowance, Counters, Limits
from oddwire.session.quotas import OutboxQuotas
from oddwire.session.receipt import Failure, Receipt
from oddwire.session.reliable import Sender
from oddwire.session.routes import Load, Loss, Peer, Route, Row, Share
from oddwire.session.store import Store
from oddwire.session.table import OutboxTable

__all__ = ["Outbox"]

logger = get_logger("oddwire.session")

_Failures: TypeAlias = dict[int, tuple[int, Failure]]  # by number: the code, and what makes the error


class Outbox:
    """Every peer's reliable messages, as a part of the store.

    ``limits`` hold for each peer, ``allowances``, by lane, for each peer within that: those of the extensions whose
    lanes they are. ``ready`` is called with a linked peer for which `outgoing` may have something, ``lost`` with each
    message that is refused for good or given up: once, and once more if the process ends before that is on disk, as
    it then goes out again. How the session uses it:

    - A peer has said hello: `connected`; it is gone: `disconnected`.
    - An ack has come: `acknowledged`. It is `deadline`: `tick`. Once a minute or so, and while it finds any: `expire`.
    - After each of these, and when ``ready`` is called: send what `outgoing` gives.
    """

    def __init__(
        self,
        store: Store,
        *,
        limits: Limits,
        ready: Callable[[NodeId], None],
        lost: Callable[[Loss], object],
        allowances: Mapping[int, Allowance] = MappingProxyType({}),
        ages: Ages | None = None,
    ) -> None:
        self._store = store
        self._quotas = OutboxQuotas(limits, allowances)
        self._ready = ready
        self._lost = lost
        self._ages = ages or Ages()
        self._peers: dict[NodeId, Peer] = {}
        self._total = Load()
        self._ids = 0
        self._gathered = Share()
        self._writing = Share()
        self._table = OutboxTable()
        self._closed = ""
        store.add(self)

    @property
    def counters(self) -> Counters:
        """How often ``limits`` took effect; of those of extensions, their allowances tell."""
        return self._quotas.counters

    # For authors ------------------------------------------------------------------------------------

    async def send(self, node_id: NodeId, lane: int, payload: bytes) -> Receipt:
        """Keep a message for a peer; return when it is on disk.

        In a unit of work it is part of that: it returns at once, and goes out if the unit ends well. After `close` it
        is kept all the same, for as long as the store is open. Raises `QuotaExceeded` if there is too much for the peer
        already, `StoreError` if it cannot be kept. Cancelled, it may go out or not.
        """
        await self._store.ready()
        route = self._accept(node_id, lane, len(payload))
        unit = self._store.current()
        if unit is not None:
            receipt = Receipt(asyncio.current_task())
            unit.at_end(
                partial(self._gather, route, payload, receipt), partial(self._withdraw, route, payload, receipt)
            )
            return receipt
        receipt = Receipt()
        self._gather(route, payload, receipt)
        await self._store.touch().durable()
        return receipt

    def _accept(self, node_id: NodeId, lane: int, size: int) -> Route:
        peer = self._peer(node_id)
        route = peer.routes.get(lane)
        self._quotas.admit(peer, lane, size)
        if route is None:
            self._ids += 1
            route = peer.routes[lane] = self._route(self._ids, peer, lane, (self._epoch(), 0, 1, 1))
        route.add(1, size)
        return route

    def _epoch(self) -> int:
        # Greater than those before, as a rule; where not, the peer says so, and the lane is numbered anew
        return min(max(int(self._ages.wall() * 1e6), 1), MAX_NUMBER - 1)

    def _gather(self, route: Route, payload: bytes, receipt: Receipt) -> None:
        number = route.next
        route.next = number + 1
        route.sizes.append(len(payload))
        route.receipts[number] = receipt
        receipt.sent()
        if self._closed:
            receipt.settle(partial(ConnectionClosed, self._closed))
        share = self._gathered
        share.touched[route] = None
        share.rows.append(Row(route, number, self._ages(), payload, receipt))

    @staticmethod
    def _withdraw(route: Route, payload: bytes, receipt: Receipt) -> None:
        route.add(-1, -len(payload))
        text = "the handler that sent it failed, or could not be committed: it was not sent"
        receipt.settle(lambda: LocalProtocolError(text))

    # For the session --------------------------------------------------------------------------------

    def connected(self, node_id: NodeId) -> None:
        """Begin to send to a peer."""
        peer = self._peer(node_id)
        peer.linked = True
        for route in peer.routes.values():
            route.sender.connected()

    def disconnected(self, node_id: NodeId) -> None:
        """Send nothing to a peer until it comes back."""
        peer = self._peers.get(node_id)
        if peer is not None:
            peer.linked = False
            for route in peer.routes.values():
                route.sender.disconnected()
            if not peer.routes:
                del self._peers[node_id]

    def outgoing(self, node_id: NodeId, now: float) -> list[bytes]:
        """Give the data frames to send to a peer now, each lane's in order; they count as sent."""
        peer = self._peers.get(node_id)
        if peer is None or not peer.linked:
            return []
        frames: list[bytes] = []
        for route in peer.routes.values():
            sender = route.sender
            first, count = sender.wanted()
            if count:
                sender.load(self._table.payloads(route, first, count))
            taken = sender.take(now)
            if taken:
                lane, epoch, base = route.lane, sender.epoch, sender.base - sender.offset
                frames += [encode_data(lane, epoch, base, sequence, payload) for sequence, payload in taken]
        return frames

    def acknowledged(self, node_id: NodeId, ack: Ack, now: float) -> bool:
        """Take a peer's ack of a lane; say whether there is such a lane."""
        peer = self._peers.get(node_id)
        route = None if peer is None else peer.routes.get(ack.id)
        if route is None:
            return False
        first, stop, failures, epoch = route.sender.acknowledged(ack, now)
        if epoch:
            logger.warning(
                "%s knows more of lane %016x than the outbox: it was put back, or made anew; what is in it goes again",
                node_id,
                ack.id,
            )
            self._gathered.touched[route] = None
            self._gathered.renumbered[route] = (epoch, 0)
            self._store.touch()
        if stop > first:
            self._settle(route, first, stop, _refused(failures))
            if failures:
                self._store.touch()  # the peer remembers them until our base on disk is past them
        return True

    def give_up(self, node_id: NodeId, lane: int, sequence: int, code: int, text: str) -> None:
        """Give up a message that the peer cannot take, too large say; its receipt raises `RemoteFailure`."""
        peer = self._peers.get(node_id)
        route = None if peer is None else peer.routes.get(lane)
        if route is not None:
            first, stop, failures, _ = route.sender.give_up(sequence + route.sender.offset, code, text)
            if stop > first:
                self._settle(route, first, stop, _refused(failures))
                self._store.touch()  # what follows is sent once that is on disk

    def _settle(self, route: Route, first: int, stop: int, failures: _Failures) -> None:
        if failures:
            self._report(route, failures)
        size = 0
        for number in range(first, stop):
            size += route.sizes.popleft()
            receipt = route.receipts.pop(number, None)
            if receipt is None:
                continue
            if number in failures:  # told once it is on disk: a message that was given up does not go out after all
                self._gathered.failed.append((receipt, failures[number][1]))
            else:
                receipt.settle(None)
        route.add(first - stop, -size)
        self._gathered.touched[route] = None
        self._store.touch_later()

    def _report(self, route: Route, failures: _Failures) -> None:
        now, kept = self._ages(), self._table.kept(route, min(failures), max(failures) + 1)
        for number, (code, failure) in failures.items():
            self.counters.undelivered[count_as(code)] += 1
            made, payload = kept.get(number, (None, b""))
            age = None if made is None else now - made
            self._lost(Loss(route.peer.node_id, route.lane, payload, code, failure, age))

    def deadline(self, node_id: NodeId) -> float:
        """Give when `tick` is due for a peer, in the time that the others are told; infinity for never."""
        peer = self._peers.get(node_id)
        return min((route.sender.deadline for route in peer.routes.values()), default=_NEVER) if peer else _NEVER

    def tick(self, node_id: NodeId, now: float) -> None:
        """Have what was not acknowledged for too long sent again."""
        peer = self._peers.get(node_id)
        if peer is not None:
            for route in peer.routes.values():
                route.sender.tick(now)

    def waiting(self, node_id: NodeId) -> tuple[int, int]:
        """Give how many messages to a peer are not settled, and their bytes."""
        peer = self._peers.get(node_id)
        return (peer.load.messages, peer.load.bytes) if peer else (0, 0)

    def expire(self) -> int:
        """Give up what is too old, and return how many that were: some of them, if they are many."""
        now, count, waits = self._ages(), 0, False
        for peer in self._peers.values():
            for route in peer.routes.values():
                first, seconds = route.sender.settled, self._quotas.least("outbox_seconds", route.lane)
                some = sum(total <= _AT_ONCE for total in accumulate(islice(route.sizes, _MOST))) or 1
                end = min(first + some, route.sender.stop)
                waits = waits or end > first
                stop = self._table.first_younger(route, first, end, now - seconds)
                if stop > first:
                    failure = self._quotas.too_old(route.lane, seconds, stop - first)
                    route.sender.expire(stop)
                    self._settle(route, first, stop, dict.fromkeys(range(first, stop), (Code.EXPIRED, failure)))
                    self._store.touch()
                    count += stop - first
        if waits and self._ages.is_due(_MARKED):
            self._store.touch_later()
        return count

    def close(self) -> None:
        """Tell all who wait for a receipt, now or later, that they will not hear; what is in the outbox stays."""
        left = 0 if self._closed else sum(peer.load.messages for peer in self._peers.values())
        forgets = self._store.path == MEMORY
        if left and forgets:
            many = f"{left} reliable messages that were" if left > 1 else "a reliable message that was"
            text = "lost with this process; a store on disk (--data-dir) would keep what waits for the next start"
            logger.warning("%s not delivered yet: %s", many, text)
        elif left:
            self._store.touch_later()  # for the clocks to be written down
        later = "is lost, as the store is in memory" if forgets else "goes out once it runs again"
        self._closed = f"the application is closed; what is in the outbox {later}"
        failure = partial(ConnectionClosed, self._closed)
        for peer in self._peers.values():
            for route in peer.routes.values():
                for receipt in list(route.receipts.values()):
                    receipt.settle(failure)

    # As `oddwire.session.commit.Part` ---------------------------------------------------------------

    def load(self, database: Database) -> None:
        """Read what was left over."""
        table, routes = self._table, dict[int, Route]()
        table.load(database.reader)
        self._ages.resume(*table.mark())
        for id_, node_id, lane, numbers in table.routes():
            peer = self._peer(node_id)
            routes[id_] = peer.routes[lane] = self._route(id_, peer, lane, numbers)
            self._ids = max(self._ids, id_)
        for id_, size in table.sizes():
            route = routes[id_]
            route.sizes.append(size)
            route.add(1, size)
        for peer in self._peers.values():
            if peer.linked:
                self._ready(peer.node_id)

    def begin(self) -> None:
        """Take what was gathered for the commit."""
        share, self._writing, self._gathered = self._gathered, self._gathered, Share()
        share.settled = {route: route.sender.settled for route in share.touched}
        if self._ages.is_due() and any(peer.load.messages for peer in self._peers.values()):
            share.mark = self._ages.mark()
        for route, (epoch, _) in share.renumbered.items():
            sender = route.sender
            epoch = max(self._epoch(), epoch + 1, sender.epoch + 1)
            share.renumbered[route] = (epoch, sender.settled - 1)

    def write(self, writer: sqlite3.Connection) -> None:
        """Write it."""
        self._table.write(writer, self._writing)

    def end(self, error: StoreError | None) -> None:
        """Send what is on disk now; or take back what is not."""
        share, self._writing = self._writing, Share()
        if error is not None:
            self._take_back(share)
            return
        for route, _, _, payload, _ in share.rows:
            route.sender.added(payload)
        for route in share.touched:
            route.sender.stored(share.settled[route])
        for route, (epoch, start) in share.renumbered.items():
            route.sender.renumbered(epoch, start)
        for receipt, failure in share.failed:
            receipt.settle(failure)
        for peer in {route.peer: None for route in share.touched}:
            if peer.linked:
                self._ready(peer.node_id)

    def _take_back(self, share: Share) -> None:
        for route, _, _, payload, receipt in share.rows:
            route.sizes.pop()
            self._withdraw(route, payload, receipt)
            route.next = route.sender.stop
        for route in share.renumbered:
            route.sender.not_renumbered()
        self._gathered.failed += share.failed
        for route in share.touched:
            if route.sender.settled > route.sender.base:
                self._gathered.touched[route] = None
                self._store.touch_later(_RETRY)

    # What they share --------------------------------------------------------------------------------

    def _peer(self, node_id: NodeId) -> Peer:
        peer = self._peers.get(node_id)
        if peer is None:
            peer = self._peers[node_id] = Peer(node_id, self._total)
        return peer

    def _route(self, id_: int, peer: Peer, lane: int, numbers: tuple[int, ...]) -> Route:
        epoch, offset, base, stop = numbers
        sender = Sender(
            epoch=epoch,
            offset=offset,
            base=base,
            stop=stop,
            window=int(self._quotas.least("window_messages", lane)),
            window_bytes=int(self._quotas.least("window_bytes", lane)),
        )
        if peer.linked:
            sender.connected()
        return Route(id_, peer, lane, sender)


_NEVER: Final = float("inf")
_RETRY: Final = 5.0  # seconds until what could not be deleted is tried again, if nothing else is committed


_MARKED: Final = 3600.0  # seconds between two marks of the clocks, if nothing else is committed
# What is given up in one go: each is reported, and others have to have their turn
_MOST: Final = 256
_AT_ONCE: Final = 1 << 20  # bytes


def _refused(failures: Mapping[int, tuple[int, str]]) -> _Failures:
    return {number: (code, partial(RemoteFailure, text, code=code)) for number, (code, text) in failures.items()}
