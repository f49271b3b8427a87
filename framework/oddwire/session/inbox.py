"""Reliable messages on their way in: each handled once, in its lane's order, and acknowledged once that is on disk."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NamedTuple, Protocol

from oddwire.databases import explain
from oddwire.errors import Refuse, StoreError
from oddwire.logs import get_logger
from oddwire.proto.keys import NodeId
from oddwire.session.database import Database
from oddwire.session.frames import Ack, AckFlag, Code, Data, Refusal, clip
from oddwire.session.reliable import Receiver, Verdict
from oddwire.session.store import Store

__all__ = ["ATTEMPTS", "MAX_LANES", "Inbox", "InboxHost"]

logger = get_logger("oddwire.session")

ATTEMPTS: Final = 5
"""How often a message is handled in vain until it is refused for good."""
MAX_LANES: Final = 256
"""Lanes of one peer: an honest one has no more than extensions."""
_STRANGE: Final = 16  # lanes of one peer of which all was refused so far: they are kept in memory only
_HELD: Final = 8 << 20  # bytes of a peer's messages that wait for those before them; a single one may be larger
_HELD_ALL: Final = 256 << 20  # the same of all peers; one who has none waiting may have one


class InboxHost(Protocol):
    """What an inbox needs of the session. Everything is called on the loop."""

    async def admit(self, node_id: NodeId, payload: bytes) -> None:
        """Wait until a message may be handled: something else may have to end before it."""

    def handler_of(self, node_id: NodeId, payload: bytes) -> tuple[str, Callable[[], Awaitable[object]]]:
        """Give the extension that handles a message, and what to call to have it done, once for each attempt.

        Raises `Refuse` for one that nobody takes, is malformed, or may not come from this peer: refused for good.
        """
        raise NotImplementedError

    def acknowledge(self, node_id: NodeId, ack: Ack) -> None:
        """Send an ack, if the peer is connected."""

    def attempt_failed(self, node_id: NodeId, payload: bytes, error: Exception, attempt: int) -> None:
        """Learn that a handler raised what is no `Refuse`; after attempt `ATTEMPTS` the message is refused."""

    def refused(self, node_id: NodeId, payload: bytes, refusal: Refusal) -> None:
        """Learn that a message is refused for good."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task that ends with the application at the latest."""
        raise NotImplementedError


class _Waiting(NamedTuple):
    epoch: int
    sequence: int
    payload: bytes


class _Lane:
    """One lane from one peer: what waits for its handler."""

    __slots__ = ("busy", "kept", "number", "peer", "receiver", "skipped", "waiting", "written")

    def __init__(self, peer: _Peer, number: int, receiver: Receiver, kept: bool) -> None:
        self.peer = peer
        self.number = number
        self.receiver = receiver
        self.kept = kept  # on disk, as something was handled, not all refused: else a stranger costs no disk
        self.written = kept
        self.waiting: deque[_Waiting] = deque()
        self.busy = False
        self.skipped = False  # something was not taken, for want of room: ask for it again

    @property
    def is_idle(self) -> bool:
        """Whether all that was taken is done, and acknowledged."""
        return not self.busy and self.receiver.taken == self.receiver.last

    @property
    def key(self) -> tuple[bytes, bytes]:
        return bytes(self.peer.node_id), self.number.to_bytes(8)


class _Peer:
    """One peer: its lanes, and how many bytes wait in them."""

    __slots__ = ("gone", "held", "lanes", "node_id")

    def __init__(self, node_id: NodeId) -> None:
        self.node_id = node_id
        self.gone = False
        self.held = 0
        self.lanes: dict[int, _Lane] = {}


class _Share:
    """What one commit writes."""

    __slots__ = ("kept", "lanes", "refusals")

    def __init__(self) -> None:
        self.kept: set[_Lane] = set()  # those that were written
        self.lanes: dict[_Lane, tuple[int, int, int]] = {}  # epoch, last, tries
        self.refusals: dict[_Lane, list[Refusal]] = {}


class _Superseded(Exception):
    """What a handler did is not wanted any more; its message has come, or will come, again."""


class Inbox:
    """Every peer's reliable messages, as a part of the store.

    The session hands data frames to `receive`, and tells when a peer is gone with `disconnected`; the rest comes back
    through ``host``. Lanes do not wait for each other. A handler that fails is tried again after ``pause`` seconds,
    twice as long each time.
    """

    def __init__(self, store: Store, host: InboxHost, *, pause: float = 1.0) -> None:
        self._store = store
        self._host = host
        self._pause = pause
        self._peers: dict[NodeId, _Peer] = {}
        self._held = 0  # bytes of all peers' messages that wait, or are handled
        self._gathered = _Share()
        self._writing = _Share()
        self._database: Database | None = None
        self._opening: asyncio.Task[None] | None = None
        self._readable = True
        self._closed = asyncio.Event()
        self._seen: set[tuple[bytes, bytes]] = set()  # lanes that are careful for what happened before this process
        store.add(self)

    def receive(self, node_id: NodeId, data: Data, now: float) -> bool:
        """Take a data frame, whatever becomes of it; say whether it was one that could be expected."""
        if self._closed.is_set():
            return True
        if self._database is None:
            self._reopen()
            return True  # not acknowledged: it will come again
        try:
            lane = self._lane(node_id, data.lane)
        except sqlite3.Error as error:
            if self._readable:
                logger.error("no reliable messages are taken: %s", explain(error, self._store.path))
            self._readable = False
            return True
        if lane is None:
            return False
        receiver = lane.receiver
        verdict = receiver.receive(data.epoch, data.base, data.sequence, now)
        if verdict is Verdict.HANDLE:
            peer, size = lane.peer, len(data.content)
            if peer.held and (peer.held + size > _HELD or self._held + size > _HELD_ALL):
                receiver.taken -= 1
                lane.skipped = True
                return True
            self._count(peer, size)
            lane.waiting.append(_Waiting(data.epoch, data.sequence, data.content))
            if not lane.busy:
                lane.busy = True
                self._host.spawn(self._work(lane))
        elif verdict is Verdict.ACK:
            self._host.acknowledge(node_id, receiver.ack(data.lane))
        elif verdict is Verdict.AGAIN:
            self._host.acknowledge(node_id, receiver.ack(data.lane, AckFlag.AGAIN))
        return True

    def disconnected(self, node_id: NodeId) -> None:
        """Forget what the disk remembers better; what is being handled goes on."""
        peer = self._peers.get(node_id)
        if peer is not None:
            peer.gone = True
            for lane in list(peer.lanes.values()):
                if lane.is_idle:
                    del peer.lanes[lane.number]
            if not peer.lanes:
                del self._peers[node_id]

    def close(self) -> None:
        """Begin nothing more: what is being handled goes on, all else will come again to the next process."""
        self._closed.set()

    def _reopen(self) -> None:
        if self._opening is None:
            self._opening = self._host.spawn(self._try_to_open())

    async def _try_to_open(self) -> None:
        try:
            await self._store.ready()
        except StoreError as error:
            logger.debug("reliable messages are not taken: %s", error)
        finally:
            self._opening = None

    def _lane(self, node_id: NodeId, number: int) -> _Lane | None:
        """Give a lane, None for one too many. Raises `sqlite3.Error`."""
        peer = self._peers.get(node_id)
        lane = None if peer is None else peer.lanes.get(number)
        if lane is not None:
            lane.peer.gone = False
            return lane
        assert self._database is not None  # noqa: S101 - narrows the type for checkers
        key = (bytes(node_id), number.to_bytes(8))
        careful = not self._database.clean and key not in self._seen
        reader = self._database.reader
        query = "SELECT epoch, last, tries FROM oddwire_inbox WHERE peer = ? AND lane = ?"
        row = reader.execute(query, key).fetchone()
        if row is None:
            (lanes,) = reader.execute("SELECT count(*) FROM oddwire_inbox WHERE peer = ?", key[:1]).fetchone()
            if lanes >= MAX_LANES or (peer is not None and not self._make_room(peer)):
                return None
            receiver = Receiver(careful=careful)
        else:
            epoch, last, tries = row
            found = reader.execute(
                "SELECT sequence, code, text FROM oddwire_refusals WHERE peer = ? AND lane = ? AND epoch = ? "
                "ORDER BY sequence",
                (*key, epoch),
            )
            refusals = [Refusal(*refusal) for refusal in found.fetchall()]
            receiver = Receiver(epoch=epoch, last=last, tries=tries, refusals=refusals, careful=careful)
        self._readable = True
        if peer is None:
            peer = self._peers[node_id] = _Peer(node_id)
        if careful and row is not None:
            self._seen.add(key)
        lane = peer.lanes[number] = _Lane(peer, number, receiver, row is not None)
        return lane

    @staticmethod
    def _make_room(peer: _Peer) -> bool:
        """Forget the oldest of too many lanes that are in memory only: their sender may begin again."""
        strange = [lane for lane in peer.lanes.values() if not lane.kept]
        if len(strange) < _STRANGE:
            return True
        for lane in strange:
            if lane.is_idle:
                del peer.lanes[lane.number]
                return True
        return False

    def _count(self, peer: _Peer, size: int) -> None:
        peer.held += size
        self._held += size

    # Handling ---------------------------------------------------------------------------------------

    async def _work(self, lane: _Lane) -> None:
        """Handle what waits in a lane, one after the other."""
        waiting, peer = lane.waiting, lane.peer
        try:
            while waiting and not self._closed.is_set():
                message = waiting.popleft()
                try:
                    await self._handle(lane, message)
                finally:
                    self._count(peer, -len(message.payload))
        finally:
            lane.busy = False
            lane.receiver.dropped()
            while waiting:
                self._count(peer, -len(waiting.popleft().payload))
            if peer.gone:
                self.disconnected(peer.node_id)

    async def _handle(self, lane: _Lane, message: _Waiting) -> None:
        receiver, node_id = lane.receiver, lane.peer.node_id
        epoch, sequence, payload = message
        try:
            while receiver.is_next(epoch, sequence) and not self._closed.is_set():
                await self._host.admit(node_id, payload)
                if not receiver.is_next(epoch, sequence) or self._closed.is_set():
                    break
                if receiver.tries >= ATTEMPTS:
                    self._refuse(lane, payload, Refusal(sequence, Code.INTERNAL, ""))
                    return
                counted = receiver.careful > 0
                try:
                    extension, run = self._host.handler_of(node_id, payload)
                    if counted:
                        # The process ended badly. If that was this handler's work, it has to be known the next time
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
                        self._refuse(lane, payload, Refusal(sequence, refusal.code, clip(refusal.text)))
                except (StoreError, _Superseded):
                    raise
                except Exception as error:
                    if not counted:
                        receiver.tries += 1
                    self._note(lane)
                    self._store.touch()
                    self._host.attempt_failed(node_id, payload, error, receiver.tries)
                    if receiver.tries < ATTEMPTS:
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(self._pause * 2 ** (receiver.tries - 1)):
                                await self._closed.wait()
        except StoreError as error:
            logger.warning("a reliable message from %s is not taken, it will come again: %s", node_id, error)
            receiver.dropped()
        except _Superseded:
            pass

    async def _run(self, handler: Callable[[], Awaitable[object]]) -> None:
        """Await a handler; what it does to its own task, which is ours, is its failure."""
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
                await asyncio.sleep(0)  # where it comes, if it has not yet
            while task.uncancel():
                pass
            raise RuntimeError("the handler cancelled its own task")

    def _finish(self, lane: _Lane, sequence: int) -> None:
        lane.receiver.finished(sequence)
        self._note(lane)

    def _refuse(self, lane: _Lane, payload: bytes, refusal: Refusal) -> None:
        self._gathered.refusals.setdefault(lane, []).append(refusal)
        lane.receiver.finished(refusal.sequence)
        self._note(lane, keep=lane.kept)
        self._store.touch()
        self._host.refused(lane.peer.node_id, payload, refusal)

    def _note(self, lane: _Lane, keep: bool = True) -> None:
        receiver = lane.receiver
        lane.kept = keep
        self._gathered.lanes[lane] = (receiver.epoch, receiver.handled, receiver.tries)

    # As `oddwire.session.commit.Part` ---------------------------------------------------------------

    def load(self, database: Database) -> None:
        """Read from it, lane by lane as they are used."""
        self._database = database

    def begin(self) -> None:
        """Take what was gathered for the commit."""
        self._writing, self._gathered = self._gathered, _Share()

    def write(self, writer: sqlite3.Connection) -> None:
        """Write it."""
        share = self._writing
        lanes = [lane for lane in share.lanes if lane.kept]
        share.kept.update(lanes)
        if not lanes:
            return
        rows = [(*lane.key, *share.lanes[lane]) for lane in lanes]
        writer.executemany("INSERT OR REPLACE INTO oddwire_inbox VALUES (?, ?, ?, ?, ?)", rows)
        for lane in lanes:
            refusals = share.refusals.get(lane, [])
            if not lane.written:
                refusals = [*lane.receiver.refusals.values(), *refusals]
            if refusals:
                told = [(*lane.key, share.lanes[lane][0], *refusal) for refusal in refusals]
                writer.executemany("INSERT OR REPLACE INTO oddwire_refusals VALUES (?, ?, ?, ?, ?, ?)", told)
        known = [(*lane.key, lane.receiver.epoch, lane.receiver.base) for lane in lanes if lane.receiver.forgot]
        if known:
            query = "DELETE FROM oddwire_refusals WHERE peer = ? AND lane = ? AND (epoch <> ? OR sequence < ?)"
            writer.executemany(query, known)
            for lane in lanes:
                lane.receiver.forgot = False

    def end(self, error: StoreError | None) -> None:
        """Acknowledge what is on disk now; or take back what is not."""
        share, self._writing = self._writing, _Share()
        for lane, (epoch, last, _) in share.lanes.items():
            receiver = lane.receiver
            if error is not None:
                receiver.failed()
                continue
            lane.written = lane.written or lane in share.kept
            if receiver.stored(epoch, last, share.refusals.get(lane, ())):
                again = lane.skipped and not lane.waiting
                lane.skipped = lane.skipped and not again
                self._host.acknowledge(lane.peer.node_id, receiver.ack(lane.number, AckFlag.AGAIN if again else 0))
            if lane.peer.gone:
                self.disconnected(lane.peer.node_id)
