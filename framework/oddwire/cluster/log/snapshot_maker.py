"""Making the snapshots of one owner, while commits go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from oddwire.cluster.log.entries import Link
from oddwire.cluster.log.position import Position
from oddwire.cluster.log.snapshots import Snapshot, remove_older, snapshot_name, upload
from oddwire.cluster.log.subject import LogPlace
from oddwire.errors import StoreError
from oddwire.log_limits import get_logger
from oddwire.transports.nats.errors import BrokerFailure

__all__ = ["SnapshotMaker", "SnapshotOwner"]

logger = get_logger("oddwire.cluster.log")


class SnapshotOwner(Protocol):
    """Whose snapshots they are. Methods are called on the event loop."""

    def snapshot_uploaded(self, size: int, digest: bytes) -> None:
        """Take notice of what the database's file is, which nobody has changed since the snapshot was begun."""

    def snapshot_appended(self, sequence: int, link: Link) -> None:
        """Take notice of the snapshot's entry."""

    def snapshot_refused(self, error: StoreError) -> None:
        """Take notice that the log has another owner."""


class SnapshotMaker:
    """Makes snapshots of a file, one at a time. ``append`` appends an entry to the log; see `LogWriter.append`."""

    def __init__(
        self, place: LogPlace, owner: SnapshotOwner, append: Callable[[bytes], Awaitable[tuple[int, Link]]]
    ) -> None:
        self.task: asyncio.Task[None] | None = None
        """The one that is made, None if none is."""
        self._place = place
        self._owner = owner
        self._append = append
        self._count = 0
        self._upload: asyncio.Task[tuple[int, int, bytes]] | None = None

    def begin(self, at: Position, term: int, handle: int) -> None:
        """Make a snapshot of the open file as of a position, for the owner of a term. The file should not change."""
        self._count += 1
        self.task = asyncio.create_task(self._make(at, snapshot_name(term, self._count), handle))

    def cancel(self) -> None:
        """Stop uploading; what is being appended is left alone."""
        if self._upload is not None:
            self._upload.cancel()

    async def stop(self) -> None:
        """Stop, and return when nothing is under way: an entry that is being appended is waited for."""
        self.cancel()
        if self.task is not None:
            await asyncio.wait([self.task])

    async def _make(self, at: Position, name: str, handle: int) -> None:
        place, owner = self._place, self._owner
        try:
            self._upload = asyncio.create_task(upload(place, name, handle))
            try:
                pieces, size, digest = await self._upload
            finally:
                self._upload = None
            owner.snapshot_uploaded(size, digest)
            made = Snapshot(name, at.sequence, at.link, at.term, at.commit, pieces, size, digest)
            owner.snapshot_appended(*await self._append(made.pack()))
            # Should this owner be fenced by now, it does no harm: the log has the snapshot, and its entries stay
            await place.log.purge(at.sequence + 1)
            await remove_older(place, name)
            logger.debug("%s: snapshot %s as of entry %d", place.log.name, name, at.link.number)
        except StoreError as error:
            if error.reason == "fenced":
                owner.snapshot_refused(error)
            elif error.reason != "closed":
                logger.warning("no snapshot: %s", error)
        except (BrokerFailure, OSError) as error:
            logger.warning("%s: what is before a snapshot stays until the next one: %s", place.log.name, error)
        except asyncio.CancelledError:
            logger.debug("%s: no snapshot, as the store is closed", place.log.name)
        finally:
            self.task = None
