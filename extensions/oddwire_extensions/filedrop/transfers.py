"""Transfers under way: accepted files are fetched from their peers, a turn each."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from oddwire import AppContext, NodeId, OddwireError, Peer, RemoteFailure
from oddwire_extensions.filedrop.book import Book, Drop
from oddwire_extensions.filedrop.files import Hashed, Part
from oddwire_extensions.filedrop.messages import CHUNK, FINAL, Chunk, Fetch, Outcome
from oddwire_extensions.filedrop.names import safe_name
from oddwire_extensions.filedrop.quarantine import free_bytes, remove_part
from oddwire_extensions.filedrop.reading import Reader
from oddwire_extensions.filedrop.sweeping import Sweeper
from oddwire_extensions.filedrop.threads import in_thread

__all__ = ["Desk"]

SYNC: Final = 16 << 20
"""Bytes after which the disk is waited for: what is at most fetched again after a crash."""
AHEAD: Final = 8
"""Chunks that a peer may send ahead of the one that is written."""
SILENCE: Final = 60.0
"""Seconds to wait for a chunk."""
TURN: Final = 30.0
"""Seconds after which the slowest transfer goes to the end of the line, if another file waits for its place."""
GOING: Final = 4
"""Chunks that come at once show that a transfer goes on: the next pause is a short one again."""
LOOK: Final = 60.0
"""Seconds after which accepted files are looked for in any case."""
PAUSE: Final = 5.0
LONGEST_PAUSE: Final = 600.0
"""Seconds until a transfer that failed is tried again: the first time, and, each twice as long as the last, at most."""
RESERVE: Final = 1 << 30
"""Bytes of a disk that stay free: nothing is accepted that would take them."""


class _Broken(Exception):
    """The peer has sent what it should not have: it is not asked again."""


class _TurnOver(Exception):
    """Others wait, and this transfer has had its turn."""


@dataclass(slots=True)
class _Transfer:
    """One that is under way, since a time by the loop's clock, with the bytes that came. ``limit`` ends its turn."""

    number: int
    since: float
    job: asyncio.Task[None] | None = None
    got: int = 0
    limit: asyncio.Timeout | None = None
    over: bool = False


class _Pause(NamedTuple):
    """A transfer that is tried again when it is ``due``, by the loop's clock, after a pause of so many seconds."""

    peer: NodeId
    due: float
    seconds: float


class Desk:
    """The transfers of one application. ``done`` has the bytes of those under way, by number."""

    def __init__(self, context: AppContext) -> None:
        self.book = Book(context.store)
        self.done: dict[int, int] = {}
        self._context = context
        self._woken = asyncio.Event()
        self._fetching: dict[NodeId, _Transfer] = {}  # one of each peer at a time
        self._turned: dict[int, float] = {}  # when their last turns ended, by number
        self._pauses: dict[int, _Pause] = {}  # by number, of what was tried and has failed
        self._hashed: dict[int, Hashed] = {}  # the same: a part is not read again after each cut
        self._awaited: set[NodeId] = set()  # peers from whom something was accepted
        self.reader = Reader(context, self.book, self.done)
        self.sweep = Sweeper(context, self.book).sweep

    def wake(self) -> None:
        """Look for files that can be fetched: one was accepted, or a peer has connected."""
        self._woken.set()

    def connected(self, peer: NodeId) -> None:
        """Try what has failed with this peer again at once."""
        if peer not in self._awaited:
            return  # most peers, and as many strangers as like
        for number, pause in self._pauses.items():
            if pause.peer == peer:
                self._pauses[number] = pause._replace(due=0.0)
        self.wake()

    def progress(self, drop: Drop) -> int:
        """Return the bytes of a file that have been transferred."""
        if drop.state == "received":
            return drop.size
        return min(self.done.get(drop.number, drop.safe), drop.size)

    def is_active(self, drop: Drop) -> bool:
        """Return whether a file is on its way at this moment."""
        fetching = any(transfer.number == drop.number for transfer in self._fetching.values())
        return fetching or drop.number in self.reader.active

    # What is accepted -----------------------------------------------------------------------------------

    async def accept(self, drop: Drop, folder: Path) -> None:
        """Accept what a peer offers for a folder that exists; it is fetched when its turn comes.

        Raises `ValueError` if there is no room for it, or it has ended.
        """
        free = await in_thread(free_bytes, folder) - RESERVE
        self._awaited.add(drop.node_id)
        try:
            # A unit of work: no two acceptances find the same room
            async with self._context.store.transaction():
                await self._accept(drop, folder, free)
        finally:
            self.wake()  # also if our caller is cancelled while that is written

    async def _accept(self, drop: Drop, folder: Path, free: int) -> None:
        current = await self.book.get(drop.number)
        if current is None or not current.is_open:
            raise ValueError("it has ended meanwhile")
        if current.state != "offered":
            raise ValueError(f"it was accepted before, for {current.path}")
        accepted = await self.book.incoming("accepted")
        quarantine = self._context.options["filedrop-quarantine"]
        left = quarantine - sum(other.size for other in accepted)
        if drop.size > left:
            raise ValueError(f"it has {drop.size} bytes, and --filedrop-quarantine={quarantine} leaves room for {left}")
        free -= sum(other.size - self.progress(other) for other in accepted)
        if drop.size > free:
            raise ValueError(f"it has {drop.size} bytes, and the disk of {folder} has {max(free, 0)} to spare")
        await self.book.change(drop, "accepted", path=folder)
        await self.book.use_folder(folder)
        await self.book.know(drop.node_id)

    async def end(self, drop: Drop, state: str, reason: str = "", *, tell: Outcome | None = None) -> bool:
        """End one in a state, and remove its part, if it has any; return False if it has ended before."""
        async with self._context.store.transaction():
            if not await self.book.change(drop, state, reason):
                return False
            if tell is not None:
                await self._context.app.peer(drop.node_id).deliver(tell)
        self._forget(drop)
        transfer = self._fetching.get(drop.node_id)
        job = None if transfer is None or transfer.number != drop.number else transfer.job
        if job is not None and job is not asyncio.current_task():
            job.cancel()
        await self.remove(drop)
        return True

    async def remove(self, drop: Drop) -> None:
        """Remove the part of a file that is received no more."""
        if drop.way == "in" and drop.state == "accepted":
            try:
                await in_thread(remove_part, Path(drop.path), drop.mark)
            except OSError as error:
                self._context.logger.warning("the part of file %d stays in %s: %s", drop.number, drop.path, error)

    # Fetching -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Fetch what is accepted until cancelled: what has waited for its turn for longest first."""
        while True:
            self._woken.clear()
            wait = await self._start_due()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK if wait is None else min(wait, LOOK)):
                    await self._woken.wait()

    async def _start_due(self) -> float | None:
        """Start what can be; return the seconds until the next is due, None if something else has to happen first."""
        accepted = await self.book.incoming("accepted")
        self._awaited = {drop.node_id for drop in accepted}
        numbers = {drop.number for drop in accepted}
        self._turned = {number: ended for number, ended in self._turned.items() if number in numbers}
        now, soonest = asyncio.get_running_loop().time(), None
        for drop in sorted(accepted, key=lambda drop: (self._turned.get(drop.number, 0.0), drop.number)):
            peer = self._context.app.peer(drop.node_id)
            if not peer.connected or peer.node_id in self._fetching:
                continue
            pause = self._pauses.get(drop.number)
            due = 0.0 if pause is None else pause.due
            if due <= now and len(self._fetching) >= self._context.options["filedrop-transfers"]:
                ends = self._end_a_turn(now)
                if ends is None:
                    break  # the end of each of them wakes us
                due = ends
            if due > now:
                soonest = due - now if soonest is None else min(soonest, due - now)
                continue
            transfer = self._fetching[peer.node_id] = _Transfer(drop.number, now)
            transfer.job = self._context.spawn(self._fetch(peer, drop), name=f"filedrop fetch {drop.number}")
            transfer.job.add_done_callback(functools.partial(self._ended, drop))
        return soonest

    def _end_a_turn(self, now: float) -> float | None:
        """End the turn of the slowest that has had one; return when the next has, None if one is ending."""
        if any(transfer.over for transfer in self._fetching.values()):
            return None
        ready = [transfer for transfer in self._fetching.values() if now - transfer.since >= TURN]
        if not ready:
            return min(transfer.since for transfer in self._fetching.values()) + TURN
        slowest = min(ready, key=lambda transfer: transfer.got / (now - transfer.since + 1e-3))
        slowest.over = True
        if slowest.limit is not None:
            slowest.limit.reschedule(now)
        return None

    def _ended(self, drop: Drop, job: asyncio.Task[None]) -> None:
        self._fetching.pop(drop.node_id, None)
        self._turned[drop.number] = job.get_loop().time()
        self.done.pop(drop.number, None)
        if not job.cancelled() and job.exception() is not None:  # it is logged, and would come again at once
            self._pauses[drop.number] = _Pause(drop.node_id, job.get_loop().time() + LONGEST_PAUSE, LONGEST_PAUSE)
        self.wake()

    async def _fetch(self, peer: Peer, drop: Drop) -> None:
        """Fetch one file, from what is on the disk to its end; what goes wrong ends it, or is tried again later."""
        logger = self._context.logger
        try:
            path = await self._received(peer, drop)
        except (_Broken, RemoteFailure) as error:
            if isinstance(error, RemoteFailure) and error.code != FINAL:
                await self._pause(drop, str(error))
                return
            tell = Outcome(key=drop.key, outcome="failed", reason=str(error)[:500]) if type(error) is _Broken else None
            try:
                await self.end(drop, "failed", str(error), tell=tell)
            except OddwireError as failure:
                await self._pause(drop, str(failure))
                return
            logger.warning("%.8s: file %d, %s, has failed: %s", peer, drop.number, safe_name(drop.name), error)
        except _TurnOver:
            logger.debug("%.8s: file %d waits for its next turn", peer, drop.number)
        except (OddwireError, ValueError, OSError) as error:
            full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            await self._pause(drop, "the disk is full" if full else str(error))
        else:
            self._forget(drop)
            if path is not None:
                logger.info("%.8s: file %d has arrived: %s", peer, drop.number, path)

    def _forget(self, drop: Drop) -> None:
        self._pauses.pop(drop.number, None)
        self._hashed.pop(drop.number, None)

    async def _pause(self, drop: Drop, reason: str) -> None:
        before = self._pauses.get(drop.number)
        pause = PAUSE if before is None else min(before.seconds * 2, LONGEST_PAUSE)
        self._pauses[drop.number] = _Pause(drop.node_id, asyncio.get_running_loop().time() + pause, pause)
        self._context.logger.info("%.8s: file %d waits for %g s: %s", drop.peer, drop.number, pause, reason)
        with contextlib.suppress(OddwireError):  # a full disk may not take this either
            await self.book.note(drop, reason)

    async def _received(self, peer: Peer, drop: Drop) -> Path | None:
        folder = Path(drop.path)
        # Read anew: what the list said may be as old as the transfer before
        current = await self.book.get(drop.number)
        if current is None or current.state != "accepted":
            return None
        part = Part(folder, drop.mark)
        try:
            await in_thread(part.open, current.safe, self._hashed.pop(drop.number, None))
            while not part.is_hashed:
                await in_thread(part.catch_up)
            if part.size < drop.size:
                await self._receive(peer, drop, part)
            await in_thread(part.sync)
            if part.digest() != drop.digest:
                raise _Broken("what has arrived has another SHA-256 than what was offered")
            await self.book.save(drop, drop.size)  # placed, it is never written to again, whatever happens next
            return await self._placed(peer, drop, part)
        except (OddwireError, ValueError, OSError, _TurnOver):
            if (hashed := part.hashed()) is not None:
                self._hashed[drop.number] = hashed
            raise
        finally:
            part.close()

    async def _placed(self, peer: Peer, drop: Drop, part: Part) -> Path | None:
        """Give a whole file its name, and write down that it has arrived; None if it has ended in this very moment."""
        name, received = safe_name(drop.name), False
        placing = asyncio.ensure_future(in_thread(part.place, name))
        try:
            path = await asyncio.shield(placing)
            async with self._context.store.transaction():
                received = await self.book.change(drop, "received", path=path)
                if received:
                    await peer.deliver(Outcome(key=drop.key, outcome="received"))
        except asyncio.CancelledError:  # it was refused or withdrawn, or the application stops: then it stays for now
            await self._displace(drop, part, placing)
            raise
        if not received:
            await self._displace(drop, part, placing)
        await in_thread(remove_part, part.folder, drop.mark)
        return path if received else None

    async def _displace(self, drop: Drop, part: Part, placing: asyncio.Future[Path]) -> None:
        """Take back the name that a file has got, if it was refused or withdrawn meanwhile."""
        await asyncio.wait([placing])
        if placing.cancelled() or placing.exception() is not None:
            return
        with contextlib.suppress(OddwireError, OSError):
            current = await self.book.get(drop.number)
            if current is None or current.state not in ("accepted", "received"):
                await in_thread(part.displace, placing.result())

    async def _receive(self, peer: Peer, drop: Drop, part: Part) -> None:
        transfer = self._fetching[drop.node_id]
        saved = self.done[drop.number] = part.size
        stream = peer.stream(Fetch(key=drop.key, offset=part.size), Chunk, timeout=SILENCE, credit=AHEAD)
        try:
            async with asyncio.timeout(0.0 if transfer.over else None) as transfer.limit, contextlib.aclosing(stream):
                async for chunk in stream:
                    size = min(CHUNK, drop.size - part.size)
                    if chunk.offset != part.size or len(chunk.data) != size:
                        got = f"{len(chunk.data)} bytes from {chunk.offset} on"
                        raise _Broken(f"{got} were sent in place of {size} from {part.size} on")
                    await in_thread(part.write, chunk.data)
                    self.done[drop.number] = part.size
                    transfer.got += size
                    if transfer.got >= GOING * CHUNK:
                        self._pauses.pop(drop.number, None)
                    if part.size == drop.size:
                        return
                    if part.size - saved >= SYNC:
                        await in_thread(part.sync)
                        await self.book.save(drop, part.size)
                        saved = part.size
        except (OddwireError, TimeoutError) as error:
            if part.size > saved:
                await in_thread(part.sync)
                await self.book.save(drop, part.size)
            if transfer.over and not isinstance(error, OddwireError):
                raise _TurnOver from None
            raise
        finally:
            transfer.limit = None
        raise ValueError(f"the stream has ended after {part.size} of {drop.size} bytes")
