"""Outgoing reliable messages: on disk until the peer has acknowledged them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import accumulate, islice
from types import MappingProxyType
from typing import Final, TypeAlias

from oddwire.errors import ConnectionClosed, LocalProtocolError, RemoteFailure, StoreError
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Allowance, Counters, Limits
from oddwire.session.reliable.outbox_lanes import NEW, OutboxLanes
from oddwire.session.reliable.outbox_quotas import OutboxQuotas
from oddwire.session.reliable.outbox_state import Load, Loss, OutboxLane, OutboxPeer, OutboxRow, OutboxShare
from oddwire.session.reliable.receipt import Failure, Receipt
from oddwire.session.reliable.receivers import Known
from oddwire.session.store.database import MEMORY, Database
from oddwire.session.store.unit import Store
from oddwire.session.wire.frame_types import Ack, Code, count_as
from oddwire.session.wire.frames import encode_data
from oddwire.sqlite_files import explain

__all__ = ["Outbox"]

logger = get_logger("oddwire.session")

_Failures: TypeAlias = dict[int, tuple[int, Failure]]  # by number: the code, and the function that returns the error


class Outbox:
    """The outgoing reliable messages of all peers; a part of the store.

    An extension's messages to a peer have a lane. ``limits`` apply to each peer, ``allowances``, by extension, to each
    peer within them. ``ready`` is called with a peer that may have messages to send. ``lost`` is called with each
    message that was refused for good, given up or has expired: once, and again if the process ends before that is on
    disk, as the message is then sent again.

    How the session uses it:

    - Call `connected` when a program was chosen for one of a connected peer's `lanes`; `disconnected` when a lane has
      none any more, or the peer has disconnected; `ended` when a session has ended, for all its lanes.
    - Call `acknowledged` with each ack, `tick` at `deadline`, and `expire` about once a minute, and again soon while it
      finds any.
    - After each of these, and when ``ready`` is called, send the frames that `outgoing` returns.

    In memory are the lanes with messages, and those that have a program; the others are on disk only.
    """

    def __init__(
        self,
        store: Store,
        *,
        limits: Limits,
        ready: Callable[[NodeId], object],
        lost: Callable[[Loss], object],
        allowances: Mapping[str, Allowance] = MappingProxyType({}),
    ) -> None:
        self._store = store
        self._limits = limits
        self._quotas = OutboxQuotas(limits, allowances)
        self._ready = ready
        self._lost = lost
        self._ages = store.ages
        self._lanes = OutboxLanes(self._quotas, store.ages)
        self._renewing = False
        self._gathered = OutboxShare()
        self._writing = OutboxShare()
        self._table = self._lanes.table
        self._closed = ""
        store.add(self)

    @property
    def counters(self) -> Counters:
        """How often ``limits`` took effect. The limits of extensions are counted in their allowances."""
        return self._quotas.counters

    @property
    def total(self) -> Load:
        """The load of all peers, to which other messages that are kept may be added."""
        return self._lanes.total

    # For authors ------------------------------------------------------------------------------------

    async def send(self, node_id: NodeId, extension: str, payload: bytes) -> Receipt:
        """Store a message for a peer. Returns its receipt once the message is on disk.

        In a unit of work the message is part of the unit: the call returns without waiting for the disk, and the
        message is sent if the unit succeeds. After `close`, messages are still stored while the store is open.

        Raises `QuotaExceeded` if too much waits already, `StoreError` if the message cannot be stored. If it is
        cancelled, the message may or may not be sent.
        """
        await self._store.ready()
        lane = self._accept(node_id, extension, len(payload))
        unit = self._store.current()
        if unit is not None:
            receipt = Receipt(node_id, asyncio.current_task())
            unit.at_end(partial(self._gather, lane, payload, receipt), partial(self._withdraw, lane, payload, receipt))
            return receipt
        receipt = Receipt(node_id)
        self._gather(lane, payload, receipt)
        await self._store.touch().durable()
        return receipt

    def _accept(self, node_id: NodeId, extension: str, size: int) -> OutboxLane:
        peer = self._lanes.peer(node_id)
        try:
            self._quotas.admit(peer, extension, size)
            lane = peer.current.get(extension)
            if lane is None:
                lane = self._lanes.find(peer, extension, self._gathered, self._writing)
        except sqlite3.Error as error:
            self._tidy(peer)
            raise explain(error, self._store.path) from error
        except BaseException:
            self._tidy(peer)
            raise
        lane.add(1, size)
        return lane

    def _tidy(self, peer: OutboxPeer) -> None:
        self._lanes.tidy(peer, self._gathered, self._writing)

    def _gather(self, lane: OutboxLane, payload: bytes, receipt: Receipt) -> None:
        number = lane.next
        lane.next = number + 1
        lane.sizes.append(len(payload))
        lane.receipts[number] = receipt
        receipt.sent()
        if self._closed:
            receipt.settle(partial(ConnectionClosed, self._closed))
        made = self._touch(lane)
        self._gathered.rows.append(OutboxRow(lane, number, made, payload, receipt))
        if not lane.address:
            self._ready(lane.peer.node_id)  # if its program is there, that is written in the same commit

    def type_of(self, lane: OutboxLane) -> int | None:
        """Return the type of a lane's next message on disk; None if there is none."""
        payloads = self._table.payloads(lane, lane.sender.settled, 1)
        return int.from_bytes(payloads[0][:2], "big") if payloads else None

    def _touch(self, lane: OutboxLane) -> float:
        """Write a lane's numbers with the next commit, and sometimes its time of last use. Return the time."""
        share, now = self._gathered, self._ages()
        share.touched[lane] = None
        if now - lane.used >= _SELDOM:
            lane.used = now
            share.whole[lane] = None
        return now

    def _withdraw(self, lane: OutboxLane, payload: bytes, receipt: Receipt) -> None:
        lane.add(-1, -len(payload))
        text = "the handler that sent it failed, or could not be committed: it was not sent"
        receipt.settle(lambda: LocalProtocolError(text))
        self._tidy(lane.peer)

    # For the session --------------------------------------------------------------------------------

    def lanes(self, node_id: NodeId) -> list[OutboxLane]:
        """Return a peer's lanes that have messages or a program."""
        peer = self._lanes.peers.get(node_id)
        return [] if peer is None else [lane for lane in peer.lanes.values() if lane.load.messages or lane.address]

    def connected(self, node_id: NodeId, lane: int, route: int, known: Known) -> None:
        """Send a lane's messages in one session from now on, once the session's program is on disk.

        ``route`` are the addresses of the session, ``known`` are the numbers of its program and stores.
        """
        found = self._lanes.lane(node_id, lane)
        if found is None:
            return
        if found.address != route:
            self._unlink(found)
            found.address = route
        if found.known == found.wanted == known and found not in self._writing.known:
            self._link(found)
        else:
            found.wanted = known
            self._note_known(found)
            self._store.touch()

    def _note_known(self, lane: OutboxLane) -> None:
        self._touch(lane)
        self._gathered.whole[lane] = None
        self._gathered.known[lane] = lane.wanted

    @staticmethod
    def _link(lane: OutboxLane) -> None:
        if not lane.linked:
            lane.linked = True
            lane.sender.connected()

    @staticmethod
    def _unlink(lane: OutboxLane) -> None:
        lane.address, lane.linked = 0, False
        lane.sender.disconnected()

    def disconnected(self, node_id: NodeId, lane: int | None = None) -> None:
        """Send nothing of one lane of a peer, or of all, until `connected` is called."""
        peer = self._lanes.peers.get(node_id)
        if peer is not None:
            for found in peer.lanes.values():
                if lane in (None, found.lane):
                    self._unlink(found)
            self._tidy(peer)

    def ended(self, node_id: NodeId, route: int) -> None:
        """Send nothing more in the session with this route."""
        peer = self._lanes.peers.get(node_id)
        if peer is not None:
            for lane in peer.lanes.values():
                if lane.address == route:
                    self._unlink(lane)
            self._tidy(peer)

    def outgoing(self, node_id: NodeId, now: float) -> list[tuple[OutboxLane, list[bytes]]]:
        """Return the data frames to send to a peer now, by lane, each lane's in order. They count as sent.

        The frames of a lane belong to the session of its ``address``. Once that has changed, drop those not sent yet.
        """
        peer = self._lanes.peers.get(node_id)
        if peer is None or self._renewing:
            return []
        found: list[tuple[OutboxLane, list[bytes]]] = []
        for lane in peer.lanes.values():
            sender = lane.sender
            first, count = sender.wanted()
            if count:
                sender.load(self._table.payloads(lane, first, count))
            taken = sender.take(now)
            if taken:
                address, number, epoch, base = lane.address, lane.lane, sender.epoch, sender.base - sender.offset
                frames = [encode_data(address, number, epoch, base, sequence, payload) for sequence, payload in taken]
                found.append((lane, frames))
        return found

    def has_outgoing(self, node_id: NodeId) -> bool:
        """Return whether `outgoing` may return frames."""
        peer = self._lanes.peers.get(node_id)
        return peer is not None and not self._renewing and any(lane.sender.ready for lane in peer.lanes.values())

    def acknowledged(self, node_id: NodeId, ack: Ack, now: float, route: int) -> bool:
        """Apply an ack from the session with this route. Return whether there is such a lane.

        The ack is ignored unless the lane's messages are sent in that session.
        """
        found = self._lanes.lane(node_id, ack.id)
        if found is None or found.address != route or not found.linked:
            return found is not None
        first, stop, failures, epoch = found.sender.acknowledged(ack, now)
        if epoch:
            logger.warning(
                "%s has acknowledged more of lane %016x, of extension %r, than the store %s has sent: it was "
                "restored, or created again; what waits there is sent again",
                node_id,
                ack.id,
                found.extension,
                self._store.path,
            )
            self._gathered.touched[found] = None
            self._gathered.renumbered[found] = (epoch, 0)
            self._store.touch()
        if stop > first:
            self._settle(found, first, stop, _refused(failures))
            if failures:
                self._store.touch()  # the peer keeps refusals until our base on disk is above them
        return True

    def drop(self, node_id: NodeId, lane: int, epoch: int, sequence: int, code: int, text: str) -> None:
        """Give up a message that the peer cannot take, such as one that is too large.

        Its receipt raises `RemoteFailure` with ``code`` and ``text``. Ignored unless ``epoch`` is the lane's.
        """
        found = self._lanes.lane(node_id, lane)
        if found is not None and found.sender.epoch == epoch:
            first, stop, failures, _ = found.sender.drop(sequence + found.sender.offset, code, text)
            if stop > first:
                self._settle(found, first, stop, _refused(failures))
                self._store.touch()  # later messages are sent once the new base is on disk

    def _settle(self, lane: OutboxLane, first: int, stop: int, failures: _Failures) -> None:
        if failures:
            self._report(lane, failures)
        size = 0
        for number in range(first, stop):
            size += lane.sizes.popleft()
            receipt = lane.receipts.pop(number, None)
            if receipt is None:
                continue
            if number in failures:  # after the commit: until then the message might be sent again
                self._gathered.failed.append((receipt, failures[number][1]))
            else:
                receipt.settle(None)
        lane.add(first - stop, -size)
        self._touch(lane)
        self._store.touch_later()

    def _report(self, lane: OutboxLane, failures: _Failures) -> None:
        now, kept = self._ages(), self._table.kept(lane, min(failures), max(failures) + 1)
        for number, (code, failure) in failures.items():
            self.counters.undelivered[count_as(code)] += 1
            made, payload = kept.get(number, (None, b""))
            age = None if made is None else now - made
            self._lost(Loss(lane.peer.node_id, lane.extension, payload, code, failure, age))

    def deadline(self, node_id: NodeId) -> float:
        """Return when to call `tick` for a peer, by the clock of ``now`` of other methods; infinity for never."""
        peer = self._lanes.peers.get(node_id)
        return min((lane.sender.deadline for lane in peer.lanes.values()), default=_NEVER) if peer else _NEVER

    def tick(self, node_id: NodeId, now: float) -> None:
        """Resend the messages of a peer whose ack is overdue: `outgoing` returns them."""
        peer = self._lanes.peers.get(node_id)
        if peer is not None:
            for lane in peer.lanes.values():
                lane.sender.tick(now)

    def waiting(self, node_id: NodeId) -> tuple[int, int]:
        """Return the number of messages to a peer that are not settled, and their payload bytes."""
        peer = self._lanes.peers.get(node_id)
        return (peer.load.messages, peer.load.bytes) if peer else (0, 0)

    def loads(self) -> dict[str, tuple[int, int]]:
        """Return the number of messages that are not settled, and their payload bytes, by extension."""
        found: dict[str, tuple[int, int]] = {}
        for peer in self._lanes.peers.values():
            for lane in peer.lanes.values():
                if lane.load.messages:
                    messages, size = found.get(lane.extension, (0, 0))
                    found[lane.extension] = messages + lane.load.messages, size + lane.load.bytes
        return found

    def kept(self, node_id: NodeId) -> Iterator[list[tuple[str, float, bytes]]]:
        """Yield the messages to a peer that are on disk and not settled, a few at a time: extension, age, payload.

        Ages are in seconds. Others may be sent or settled while the caller has one of the lists.
        """
        for lane in self.lanes(node_id):
            first = lane.sender.settled
            while first < lane.sender.stop:
                found = self._table.kept(lane, max(first, lane.sender.settled), min(first + _MOST, lane.sender.stop))
                now = self._ages()
                yield [(lane.extension, max(0.0, now - made), payload) for made, payload in found.values()]
                first += _MOST

    def expire(self) -> int:
        """Expire messages older than ``outbox_seconds``, and remove lanes unused for ``lane_seconds``.

        Return how many in all: not all there are, if there are many.
        """
        now, count, waits = self._ages(), 0, False
        for peer in list(self._lanes.peers.values()):
            for lane in peer.lanes.values():
                first, seconds = lane.sender.settled, self._quotas.least("outbox_seconds", lane.extension)
                some = sum(total <= _AT_ONCE for total in accumulate(islice(lane.sizes, _MOST))) or 1
                end = min(first + some, lane.sender.stop)
                if end <= first:
                    continue
                waits = True
                stop = self._table.first_younger(lane, first, end, now - seconds)
                if stop > first:
                    failure = self._quotas.too_old(lane.extension, seconds, stop - first)
                    lane.sender.expire(stop)
                    self._settle(lane, first, stop, dict.fromkeys(range(first, stop), (Code.EXPIRED, failure)))
                    self._store.touch()
                    count += stop - first
            self._tidy(peer)
        if waits and self._ages.is_due(_MARKED):
            self._store.touch_later()
        return count + self._drop_lanes(self._gathered, now - self._limits.lane_seconds, _MOST, "lane_seconds")

    def _drop_lanes(self, share: OutboxShare, used: float, most: int, limit: str) -> int:
        """Add up to ``most`` lanes not used since ``used`` to those a commit deletes. Return how many."""
        count, changed = self._lanes.drop_unused(share, self._writing, used, most)
        if count:
            self.counters.dropped[limit] += count
        if changed and share is self._gathered:
            self._store.touch_later()
        return count

    def renew(self) -> None:
        """Assign new numbers to all lanes, and sequences from 1 on to their messages, with the next commit.

        It is for a copy of a store: another program has lanes with the same numbers. Nothing is sent before the commit
        is on disk.
        """
        self._renewing = self._gathered.renewed = True
        self._store.touch()

    def close(self) -> None:
        """Fail all receipts that are waited for, now or later, with `ConnectionClosed`; the messages stay stored.

        A log record says how many messages are lost with a store in memory.
        """
        left = 0 if self._closed else sum(peer.load.messages for peer in self._lanes.peers.values())
        in_memory = self._store.path == MEMORY
        if left and in_memory:
            many = f"{left} reliable messages that were" if left > 1 else "a reliable message that was"
            text = "lost with this process; a store on disk (--data-dir) would keep what waits for the next start"
            logger.warning("%s not delivered yet: %s", many, text)
        elif left:
            self._store.touch_later()  # to write a mark of the clocks
        later = "is lost, as the store is in memory" if in_memory else "is sent after the next start"
        self._closed = f"the application is closed; what is in the outbox {later}"
        failure = partial(ConnectionClosed, self._closed)
        for peer in self._lanes.peers.values():
            for lane in peer.lanes.values():
                for receipt in list(lane.receipts.values()):
                    receipt.settle(failure)

    # As `oddwire.session.store.part.Part` -----------------------------------------------------------------------

    def load(self, database: Database) -> None:
        """Load the lanes with messages of earlier processes."""
        self._lanes.load(database.reader)
        for node_id in [*self._lanes.peers]:
            self._ready(node_id)

    def begin(self) -> None:
        """Make the gathered changes the share of the commit, and remove lanes above ``total_lanes``."""
        share, self._writing, self._gathered = self._gathered, self._gathered, OutboxShare()
        new = sum(not lane.stored for lane in share.whole)
        excess = self._lanes.stored + new - len(share.dropped) - self._limits.total_lanes
        if new and excess > 0:
            found = self._drop_lanes(share, _NEVER, min(excess, max(new, _MOST)), "total_lanes")
            logger.info("%d unused lanes of reliable messages are dropped: there are too many", found)
        for lane, (epoch, _) in share.renumbered.items():
            share.renumbered[lane] = (
                max(self._lanes.epoch(), epoch + 1, lane.sender.epoch + 1),
                lane.sender.settled - 1,
            )
        if share.renewed:
            self._lanes.renumber(share)
        share.settled = {lane: lane.sender.settled for lane in share.touched}

    def write(self, writer: sqlite3.Connection) -> None:
        """Write the share of the commit."""
        self._table.write(writer, self._writing)

    def end(self, error: StoreError | None) -> None:
        """Send the messages that are on disk now; after an error, take back what was not written."""
        share, self._writing = self._writing, OutboxShare()
        if error is not None:
            self._take_back(share)
            return
        for lane, _, _, payload, _ in share.rows:
            lane.sender.added(payload)
        for lane in share.touched:
            lane.sender.stored(share.settled[lane])
        self._lanes.stored += sum(not lane.stored for lane in share.whole) - len(share.dropped)
        for lane in share.whole:
            lane.stored = True
        for lane, (epoch, start) in share.renumbered.items():
            lane.sender.renumbered(epoch, start)
        if share.renewed:
            self._lanes.renumbered(share)
            self._renewing = self._gathered.renewed
        for lane, known in share.known.items():
            lane.known = known
            if lane.address and known == lane.wanted:
                self._link(lane)
        for receipt, failure in share.failed:
            receipt.settle(failure)
        for peer in {lane.peer: None for lane in share.touched}:
            self._ready(peer.node_id)
            self._tidy(peer)

    def _take_back(self, share: OutboxShare) -> None:
        for lane, _, _, payload, receipt in share.rows:
            lane.sizes.pop()
            self._withdraw(lane, payload, receipt)
            lane.next = lane.sender.stop
        for lane in share.whole:
            lane.used = NEW
        for lane in share.renumbered:
            lane.sender.not_renumbered()
        again = self._gathered
        again.failed += share.failed
        for lane in share.touched:
            if lane.sender.settled > lane.sender.base:
                self._touch(lane)
                self._store.touch_later(_RETRY)
        for lane in share.known:
            if lane.wanted != lane.known and lane.address and not self._closed:
                self._note_known(lane)
                self._store.touch_later(_RETRY)
        if share.renewed:
            again.renewed = True
            self._store.touch_later(_RETRY)


_NEVER: Final = float("inf")
_RETRY: Final = 5.0  # seconds until a failed commit is tried again if nothing else is committed
_SELDOM: Final = 600.0  # seconds between updates of a lane's time of last use

_MARKED: Final = 3600.0  # seconds between marks of the clocks if nothing else is committed
# Max messages and bytes that expire at once: each is reported, and must not block the event loop for long
_MOST: Final = 256
_AT_ONCE: Final = 1 << 20  # bytes


def _refused(failures: Mapping[int, tuple[int, str]]) -> _Failures:
    return {number: (code, partial(RemoteFailure, text, code=code)) for number, (code, text) in failures.items()}
