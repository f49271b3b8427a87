"""Incoming reliable messages: each is handled once, in its lane's order, and acknowledged once that is on disk."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, Protocol

from oddwire.errors import Refuse, StoreError
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Counters, Limits
from oddwire.session.reliable.inbox_records import Key, LaneRecord, LaneRecords
from oddwire.session.reliable.inbox_state import NEVER, InboxPeer, InboxShare, Lane, Waiting
from oddwire.session.reliable.lanes import Receiver, Verdict
from oddwire.session.store.database import Database
from oddwire.session.store.unit import Store
from oddwire.session.wire.fields import clip
from oddwire.session.wire.frame_types import Ack, AckFlag, Code, Data, Refusal, count_as
from oddwire.sqlite_files import explain

__all__ = ["ATTEMPTS", "MAX_LANES", "Inbox", "InboxHost", "NotNow"]

logger = get_logger("oddwire.session")

ATTEMPTS: Final = 5
"""Failed attempts to handle a message after which it is refused for good."""
MAX_LANES: Final = 256
"""Max number of lanes of one peer: it needs one per extension, and may have some that it does not use any more."""
_STRANGE: Final = 16  # lanes of one peer on which everything was refused so far; they are in memory only
_HELD: Final = 8 << 20  # bytes of a peer's messages that wait or are handled; a single one may be larger
_HELD_ALL: Final = 256 << 20  # the same for all peers; above it, up to twice as much, one message per peer is held


class InboxHost(Protocol):
    """What an inbox needs of the application. All methods are called on the event loop."""

    async def admit(self, node_id: NodeId, payload: bytes) -> None:
        """Wait until a message may be handled: after the peer's connect hooks, say."""

    def handler_of(self, node_id: NodeId, payload: bytes) -> tuple[str, Callable[[], Awaitable[object]]]:
        """Return the extension that handles a message, and a function that runs the handler, for one attempt.

        Raises `Refuse` for a message without a handler, a malformed one, or one that this peer may not send: it is
        refused for good. The function raises `NotNow` if the message is to come again.
        """
        raise NotImplementedError

    def attempt_failed(self, node_id: NodeId, payload: bytes, error: Exception, attempt: int) -> None:
        """Handle an error of a handler, other than `Refuse`; after attempt `ATTEMPTS` the message is refused."""

    def reliable_refused(self, node_id: NodeId, payload: bytes, refusal: Refusal) -> None:
        """Handle the final refusal of a message, to log it say."""


class NotNow(Exception):
    """What a handler needs is not there, through no fault of its message: that will come again."""


class _Superseded(Exception):
    """The effects of a handler are to be discarded: its message was superseded meanwhile, and comes again."""


class Inbox:
    """The incoming reliable messages of all peers; a part of the store.

    Call `receive` with each data frame, `ended` when a session has ended, and `disconnected` when a peer has. Acks are
    passed to ``acknowledge``, with the ``source`` of the last call of `receive` for their lane. Frames are ignored
    until `start` is called.

    Lanes do not wait for each other. A handler that fails is called again after ``pause`` seconds, twice as long each
    time. Records of lanes that are unused for long, or too many, are removed as ``limits`` say: in each commit, and by
    `expire`, which is to be called about once a minute.
    """

    def __init__(
        self,
        store: Store,
        acknowledge: Callable[[object, Ack], object],
        *,
        limits: Limits | None = None,
        counters: Counters | None = None,
        pause: float = 1.0,
    ) -> None:
        self._store = store
        self._acknowledge = acknowledge
        self._host: InboxHost | None = None
        self._limits = limits or Limits()
        self._pause = pause
        self._ages = store.ages
        self.counters = counters or Counters()
        """How many lanes were removed, and messages refused for good."""
        self._peers: dict[NodeId, InboxPeer] = {}
        self._held = 0  # bytes of all peers' messages that wait or are handled
        self._gathered = InboxShare()
        self._writing = InboxShare()
        self._database: Database | None = None
        self._records = LaneRecords()
        self._opening: asyncio.Task[None] | None = None
        self._readable = True
        self._closed = asyncio.Event()
        self._seen: set[Key] = set()  # lanes loaded with `unverified` set, which happens once per process
        store.add(self)

    def start(self, host: InboxHost, spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]) -> None:
        """Accept messages from now on: ``host`` returns their handlers, ``spawn`` starts tasks."""
        self._host, self._spawn = host, spawn

    def receive(self, node_id: NodeId, data: Data, now: float, source: object) -> bool:
        """Handle, acknowledge or ignore a data frame (protocol, The receiver).

        ``source`` is passed to ``acknowledge`` with the lane's acks from now on. Return False if the peer has too many
        lanes: it is a fault then.
        """
        if self._closed.is_set() or self._host is None:
            return True
        if self._database is None:
            self._reopen()
            return True  # not acknowledged: it will come again
        try:
            lane = self._lane(node_id, data.lane)
        except sqlite3.Error as error:
            if self._readable:
                logger.error("no reliable messages are accepted: %s", explain(error, self._store.path))
            self._readable = False
            return True
        if lane is None:
            return False
        lane.source = source
        receiver = lane.receiver
        verdict = receiver.receive(data.epoch, data.base, data.sequence, now)
        if verdict is Verdict.HANDLE:
            peer, size = lane.peer, len(data.content)
            full = self._held + size > (_HELD_ALL if peer.held else 2 * _HELD_ALL)
            if full or (peer.held and peer.held + size > _HELD):
                receiver.taken -= 1
                lane.skipped = True
                return True
            self._count(peer, size)
            lane.waiting.append(Waiting(data.epoch, data.sequence, data.content))
            if not lane.busy:
                lane.busy = True
                self._spawn(self._work(lane, self._host))
        elif verdict is Verdict.ACK:
            self._acknowledge(source, receiver.ack(data.lane))
        elif verdict is Verdict.AGAIN:
            self._acknowledge(source, receiver.ack(data.lane, AckFlag.AGAIN))
        return True

    def ended(self, node_id: NodeId, source: object) -> None:
        """Send no more acks to ``source``: its session has ended."""
        peer = self._peers.get(node_id)
        if peer is not None:
            for lane in peer.lanes.values():
                if lane.source is source:
                    lane.source = None

    def disconnected(self, node_id: NodeId) -> None:
        """Drop a peer's idle lanes and waiting messages from memory; running handlers go on."""
        peer = self._peers.get(node_id)
        if peer is not None:
            peer.gone = True
            for lane in list(peer.lanes.values()):
                lane.source = None
                self._drop_waiting(lane)
                if lane.is_idle:
                    del peer.lanes[lane.number]
            if not peer.lanes:
                del self._peers[node_id]

    def _drop_waiting(self, lane: Lane) -> None:
        """Drop the waiting messages of a lane whose peer has disconnected: if it comes back, it sends them again."""
        receiver, waiting = lane.receiver, lane.waiting
        receiver.taken -= sum(message.epoch == receiver.epoch for message in waiting)
        while waiting:
            self._count(lane.peer, -len(waiting.popleft().payload))

    def close(self) -> None:
        """Start no more handlers. Running ones go on; all other messages are sent again to the next process."""
        self._closed.set()

    def _reopen(self) -> None:
        if self._opening is None:
            self._opening = self._spawn(self._try_to_open())

    async def _try_to_open(self) -> None:
        try:
            await self._store.ready()
        except StoreError as error:
            logger.debug("reliable messages are not accepted: %s", error)
        finally:
            self._opening = None

    def _lane(self, node_id: NodeId, number: int) -> Lane | None:
        """Return a lane, loaded from disk if needed; None for one too many. Raises `sqlite3.Error`."""
        peer = self._peers.get(node_id)
        lane = None if peer is None else peer.lanes.get(number)
        if lane is not None:
            lane.peer.gone = False
            return lane
        assert self._database is not None  # noqa: S101 - narrows the type for checkers
        key = (bytes(node_id), number.to_bytes(8))
        unverified = not self._database.clean and key not in self._seen
        record = self._records.find(key)
        if peer is not None and not self._make_room(peer, strange=record is None):
            return None
        if record is None:
            record, receiver = LaneRecord(), Receiver(unverified=unverified)
        else:
            epoch, last, tries, refusals = record.epoch, record.last, record.tries, record.refusals
            receiver = Receiver(epoch=epoch, last=last, tries=tries, refusals=refusals, unverified=unverified)
        self._readable = True
        if peer is None:
            peer = self._peers[node_id] = InboxPeer(node_id)
        peer.gone = False  # it may have come back while an earlier message is being handled
        if unverified and record.kept:
            self._seen.add(key)
        lane = peer.lanes[number] = Lane(peer, number, receiver, record.kept)
        lane.seen, lane.refused = record.seen, len(record.refusals)
        if record.kept:
            self._gathered.dropped.pop(key, None)
            lane.written = key not in self._writing.dropped  # else it is being deleted: write it again as a whole
            if not lane.written:
                self._note(lane)
                self._store.touch()
            elif self._ages() - lane.seen >= _USED:
                self._note(lane)
                self._store.touch_later()
        return lane

    @staticmethod
    def _make_room(peer: InboxPeer, *, strange: bool) -> bool:
        """Drop an idle lane from memory if there are too many. Return False if none is idle.

        A lane that is not on disk is lost by that: its sender begins again.
        """
        strangers = [lane for lane in peer.lanes.values() if not lane.kept]
        for lanes, most in ((strangers, _STRANGE if strange else MAX_LANES), ([*peer.lanes.values()], MAX_LANES)):
            if len(lanes) >= most:
                lane = next((lane for lane in lanes if lane.is_idle), None)
                if lane is None:
                    return False
                peer.lanes.pop(lane.number, None)
        return True

    def _count(self, peer: InboxPeer, size: int) -> None:
        peer.held += size
        self._held += size

    # Handling ---------------------------------------------------------------------------------------

    async def _work(self, lane: Lane, host: InboxHost) -> None:
        """Handle the waiting messages of a lane, one after the other."""
        waiting, peer = lane.waiting, lane.peer
        try:
            while waiting and not self._closed.is_set():
                message = waiting.popleft()
                try:
                    await self._handle(lane, message, host)
                finally:
                    self._count(peer, -len(message.payload))
        finally:
            lane.busy = False
            lane.receiver.dropped()
            while waiting:
                self._count(peer, -len(waiting.popleft().payload))
            if peer.gone:
                self.disconnected(peer.node_id)

    async def _handle(self, lane: Lane, message: Waiting, host: InboxHost) -> None:
        receiver, node_id = lane.receiver, lane.peer.node_id
        epoch, sequence, payload = message
        try:
            while receiver.is_next(epoch, sequence) and not self._closed.is_set():
                await host.admit(node_id, payload)
                if not receiver.is_next(epoch, sequence) or self._closed.is_set():
                    break
                if receiver.tries >= ATTEMPTS:
                    self._refuse(lane, payload, host, Refusal(sequence, Code.INTERNAL, ""))
                    return
                counted = receiver.unverified > 0
                try:
                    extension, run = host.handler_of(node_id, payload)
                    if counted:
                        # The last process died. In case this message was the cause, count the attempt on disk first
                        receiver.tries += 1
                        self._note(lane)
                        await self._store.touch().durable()
                    async with self._store.unit(extension) as unit:
                        await self._run(run)
                        if not receiver.is_next(epoch, sequence):
                            raise _Superseded
                        unit.at_end(lambda: self._finish(lane, sequence))
                except Refuse as refusal:
                    if receiver.is_next(epoch, sequence):
                        self._refuse(lane, payload, host, Refusal(sequence, refusal.code, clip(refusal.text)))
                except NotNow:
                    if counted:
                        receiver.tries -= 1
                        self._note(lane)
                        self._store.touch()
                    raise
                except (StoreError, _Superseded):
                    raise
                except Exception as error:
                    if not counted:
                        receiver.tries += 1
                    self._note(lane)
                    self._store.touch()
                    host.attempt_failed(node_id, payload, error, receiver.tries)
                    if receiver.tries < ATTEMPTS:
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(self._pause * 2 ** (receiver.tries - 1)):
                                await self._closed.wait()
        except (StoreError, NotNow) as error:
            logger.warning("a reliable message from %s is not accepted, it will be sent again: %s", node_id, error)
            receiver.dropped()
        except _Superseded:
            pass

    async def _run(self, handler: Callable[[], Awaitable[object]]) -> None:
        """Await a handler in this task. Raises `RuntimeError` if the handler cancelled the task, or let itself be."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - narrows the type for checkers
        try:
            await handler()
        except asyncio.CancelledError as error:
            if not task.cancelling():
                raise RuntimeError("the handler awaited something that was cancelled") from error
            if self._closed.is_set():
                raise
        if task.cancelling() and not self._closed.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)  # the cancellation is raised here, if it was not yet
            while task.uncancel():
                pass
            raise RuntimeError("the handler cancelled its own task")

    def _finish(self, lane: Lane, sequence: int) -> None:
        lane.receiver.finished(sequence)
        self._note(lane)

    def _refuse(self, lane: Lane, payload: bytes, host: InboxHost, refusal: Refusal) -> None:
        self._gathered.refusals.setdefault(lane, []).append(refusal)
        lane.receiver.finished(refusal.sequence)
        self._note(lane, keep=lane.kept)
        self._store.touch()
        self.counters.declined[count_as(refusal.code)] += 1
        host.reliable_refused(lane.peer.node_id, payload, refusal)

    def _note(self, lane: Lane, keep: bool = True, share: InboxShare | None = None) -> None:
        receiver = lane.receiver
        lane.kept = keep
        (share or self._gathered).lanes[lane] = (receiver.epoch, receiver.handled, receiver.tries)

    # Removing lanes ---------------------------------------------------------------------------------

    def expire(self) -> int:
        """Remove lanes unused for ``lane_seconds`` with the next commit. Return how many: not all if there are many."""
        if self._database is None or self._closed.is_set():
            return 0
        share, used = self._gathered, self._ages() - self._limits.lane_seconds
        try:
            found = self._drop_lanes(share, self._records.oldest(used, _MOST), _MOST, "lane_seconds")
        except sqlite3.Error as error:
            logger.error("which lanes have not been used for long cannot be read: %s", explain(error, self._store.path))
            return 0
        if share.dropped or share.lanes:
            self._store.touch_later()
        if self._records.rows and self._ages.is_due(_MARKED):
            self._store.touch_later()  # to write a mark of the clocks
        return found

    def _drop_lanes(self, share: InboxShare, candidates: Iterable[tuple[Key, int]], most: int, limit: str) -> int:
        """Add up to ``most`` lanes to those a commit deletes; return how many. A lane in memory counts as used."""
        count = work = 0
        for key, refused in candidates:
            if count >= most or work >= _WORK:
                break
            peer = self._peers.get(NodeId(key[0]))
            lane = None if peer is None else peer.lanes.get(int.from_bytes(key[1]))
            if lane is not None:
                lane.seen = NEVER
                self._note(lane, share=share)
            elif key not in share.dropped and key not in self._writing.dropped:
                share.dropped[key] = refused
                count += 1
            work += 1 + refused
        if count:
            self.counters.dropped[limit] += count
        return count

    def _keep_to_limits(self, share: InboxShare) -> None:
        """Add lanes above the limits to those that a commit deletes; not all, if there are many."""
        records, count = self._records, 0
        new = [lane for lane in share.lanes if lane.kept and not lane.written]
        most = max(len(new), _MOST)
        for peer in {lane.peer: None for lane in new}:
            excess = records.lanes_of(peer.node_id) + sum(lane.peer is peer for lane in new) - MAX_LANES
            if excess > 0:
                count += self._drop_lanes(share, records.oldest_of(peer.node_id, 2 * MAX_LANES), excess, "lanes")
        excess = records.rows + len(new) - len(share.dropped) - self._limits.total_lanes
        if new and excess > 0:
            count += self._drop_lanes(share, records.oldest(_EVER, 2 * most), min(excess, most), "total_lanes")
        excess = records.refusals + sum(map(len, share.refusals.values())) - sum(share.dropped.values()) - _REFUSALS
        if share.refusals and excess > 0:
            count += self._drop_lanes(share, records.oldest_refused(_MOST), _MOST, "refusals")
        if count:
            text = "%d lanes of peers' reliable messages are dropped, as there are too many; see docs/limits.md"
            logger.warning(text, count)

    # As `oddwire.session.store.part.Part` -----------------------------------------------------------------------

    def load(self, database: Database) -> None:
        """Use the database from now on; lanes are read when they are needed."""
        self._records.load(database.reader)
        self._database = database

    def begin(self) -> None:
        """Make the gathered changes the share of the commit, and remove lanes above the limits."""
        self._writing, self._gathered = self._gathered, InboxShare()
        if self._database is not None and self._writing.lanes:
            try:
                self._keep_to_limits(self._writing)
            except sqlite3.Error as error:
                text = "which lanes have not been used for longest cannot be read: %s"
                logger.error(text, explain(error, self._store.path))

    def write(self, writer: sqlite3.Connection) -> None:
        """Write the share of the commit."""
        share, now = self._writing, self._ages()
        records = self._records
        if share.dropped:
            records.delete(writer, share.dropped)
        for lane, (epoch, last, tries) in share.lanes.items():
            if not lane.kept:
                continue
            receiver, refusals = lane.receiver, share.refusals.get(lane, [])
            refused = len(receiver.refusals) + sum(refusal.sequence >= receiver.base for refusal in refusals)
            whole = not lane.written or refused != lane.refused or now - lane.seen >= _SELDOM
            share.kept[lane] = (whole, refused)
            if whole:
                records.put(writer, lane.key, (epoch, last, tries, now, refused))
            else:
                records.change(writer, lane.key, (epoch, last, tries))
            if not lane.written:
                refusals = [*receiver.refusals.values(), *refusals]
            if refusals:
                records.refuse(writer, lane.key, epoch, refusals)
            if receiver.refusals_outdated:
                records.settle(writer, lane.key, receiver.epoch, receiver.base)
                receiver.refusals_outdated = False

    def end(self, error: StoreError | None) -> None:
        """Acknowledge the messages that are on disk now; after an error, reset their lanes to what is on disk."""
        share, self._writing = self._writing, InboxShare()
        if error is None:
            self._records.rows -= len(share.dropped)
            self._records.refusals -= sum(share.dropped.values())
        for lane, (epoch, last, _) in share.lanes.items():
            receiver = lane.receiver
            if error is not None:
                receiver.failed()
                continue
            if lane in share.kept:
                self._written(lane, *share.kept[lane])
            if receiver.stored(epoch, last, share.refusals.get(lane, ())):
                again = lane.skipped and not lane.waiting
                lane.skipped = lane.skipped and not again
                self._acknowledge(lane.source, receiver.ack(lane.number, AckFlag.AGAIN if again else 0))
            if lane.peer.gone:
                self.disconnected(lane.peer.node_id)

    def _written(self, lane: Lane, whole: bool, refused: int) -> None:
        self._records.rows += not lane.written
        self._records.refusals += refused - lane.refused if lane.written else refused
        lane.written, lane.refused = True, refused
        if whole:
            lane.seen = self._ages()


_EVER: Final = float("inf")
_MOST: Final = 256  # lanes removed at once
_WORK: Final = 4096  # rows of lanes and refusals removed at once
_REFUSALS: Final = 100_000  # refusals of all peers on disk
_MARKED: Final = 3600.0  # seconds between marks of the clocks if nothing else is committed
_SELDOM: Final = 600.0  # seconds between updates of a lane's time of last use
_USED: Final = 86_400.0  # the same, if nothing else of the lane is to be written
