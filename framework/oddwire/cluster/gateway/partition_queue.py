"""What waits to be put into the stream for one partition, in order. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final

from oddwire.proto.keys import NodeId
from oddwire.transports.nats.packing import Entry

__all__ = ["OVERHEAD", "PartitionQueue", "Taken", "Waiting"]

OVERHEAD: Final = 128
"""Bytes that an entry counts besides what it carries."""


class Waiting:
    """One entry that waits, or is being published."""

    __slots__ = ("conn", "entry", "peer", "size", "stored")

    def __init__(
        self, entry: Entry, conn: int | None, peer: NodeId | None, size: int, stored: Callable[[int], object] | None
    ) -> None:
        self.entry = entry
        self.conn = conn
        self.peer = peer
        self.size = size
        self.stored = stored


class Taken:
    """The entries of one stream message, and the peers of the conns that they mention."""

    __slots__ = ("entries", "table", "waiting")

    def __init__(self, waiting: list[Waiting]) -> None:
        self.waiting = waiting
        self.entries = [each.entry for each in waiting]
        self.table = {each.conn: each.peer for each in waiting if each.conn is not None and each.peer is not None}


class PartitionQueue:
    """Entries in order; they count as waiting, by their sizes, until the stream has them.

    ``released`` is called with a peer and a number of bytes of its that wait no more.
    """

    def __init__(self, released: Callable[[NodeId, int], object]) -> None:
        self.size = 0
        """Bytes that wait, or are being published."""
        self._entries: dict[int, Waiting] = {}
        self._next = 0
        self._marker = 0
        self._released = released

    def __len__(self) -> int:
        return len(self._entries)

    def add(
        self,
        entry: Entry,
        conn: int | None = None,
        peer: NodeId | None = None,
        carried: int = 0,
        stored: Callable[[int], object] | None = None,
    ) -> int:
        """Append an entry of ``conn`` with ``carried`` bytes, and return its place.

        ``stored`` is called with the sequence of the stream message once that is stored.
        """
        size = carried + OVERHEAD
        self._next += 1
        self._entries[self._next] = Waiting(entry, conn, peer, size, stored)
        self.size += size
        return self._next

    def add_marker(self, entry: Entry, stored: Callable[[int], object]) -> None:
        """Append a marker: what is before it was told to an owner, and is not withdrawn any more."""
        self._marker = self.add(entry, stored=stored)

    def withdraw(self, place: int) -> bool:
        """Remove an entry that nobody was told of, and return whether it could be."""
        if place <= self._marker:
            return False
        found = self._entries.pop(place, None)
        if found is None:
            return False
        self._release(found)
        return True

    def take(self, limit: int) -> Taken:
        """Return entries for one message of at most ``limit`` bytes as they count, at least one if any waits.

        They are gone from the queue, and count until `settle`.
        """
        size = 0
        taken: list[Waiting] = []
        for waiting in self._entries.values():
            if taken and size + waiting.size > limit:
                break
            size += waiting.size
            taken.append(waiting)
        if len(taken) == len(self._entries):
            self._entries.clear()
        else:
            for place in list(islice(self._entries, len(taken))):
                del self._entries[place]
        return Taken(taken)

    def settle(self, taken: Taken, sequence: int) -> None:
        """Note that the stream has these, as its message ``sequence``."""
        for waiting in taken.waiting:
            self._release(waiting)
            if waiting.stored is not None:
                waiting.stored(sequence)

    def clear(self) -> None:
        """Drop all, also what is being published. Sizes of peers are the caller's to reset."""
        self._entries.clear()
        self.size = 0
        self._marker = self._next

    def _release(self, waiting: Waiting) -> None:
        self.size -= waiting.size
        if waiting.peer is not None:
            self._released(waiting.peer, waiting.size)
