"""The inbox's rows on disk: for each peer and lane the last handled sequence, refusals, and time of last use."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from oddwire.session.wire.frame_types import Refusal

__all__ = ["Key", "LaneRecord", "LaneRecords"]

Key: TypeAlias = tuple[bytes, bytes]
"""A peer's node id and a lane's number, as in the database."""


class LaneRecord(NamedTuple):
    """One lane. ``kept`` says whether it is on disk, ``seen`` is the time of last use by the clock of `Ages`."""

    kept: bool = False
    epoch: int = 0
    last: int = 0
    tries: int = 0
    seen: float = float("-inf")
    refusals: Sequence[Refusal] = ()


class LaneRecords:
    """The inbox's rows, and their number. All methods raise `sqlite3.Error`."""

    def __init__(self) -> None:
        self._reader: sqlite3.Connection
        self.rows = 0
        """Lanes on disk; the inbox updates it after each commit."""
        self.refusals = 0
        """Refusals on disk; the inbox updates it after each commit."""

    def load(self, reader: sqlite3.Connection) -> None:
        """Use ``reader`` from now on, and count the rows."""
        self._reader = reader
        (self.rows,) = reader.execute("SELECT count(*) FROM oddwire_inbox").fetchone()
        (self.refusals,) = reader.execute("SELECT count(*) FROM oddwire_refusals").fetchone()

    def find(self, key: Key) -> LaneRecord | None:
        """Return a lane's record, None if it is not on disk.

        One statement reads the lane and its refusals: between two, a commit may delete the lane.
        """
        rows = self._reader.execute(_FIND, key).fetchall()
        if not rows:
            return None
        epoch, last, tries, seen = rows[0][:4]
        refusals = [Refusal(*row[4:]) for row in rows if row[4] is not None]
        return LaneRecord(True, epoch, last, tries, seen, refusals)

    def lanes_of(self, node_id: bytes) -> int:
        """Return the number of a peer's lanes on disk."""
        (count,) = self._reader.execute("SELECT count(*) FROM oddwire_inbox WHERE peer = ?", (node_id,)).fetchone()
        return int(count)

    def oldest(self, seen: float, count: int) -> Iterator[tuple[Key, int]]:
        """Yield up to ``count`` lanes not used since ``seen``, the oldest first, each with its number of refusals."""
        return self._keys("WHERE seen < ? ORDER BY seen LIMIT ?", (seen, count))

    def oldest_of(self, node_id: bytes, count: int) -> Iterator[tuple[Key, int]]:
        """Yield up to ``count`` lanes of a peer in the same way."""
        return self._keys("WHERE peer = ? ORDER BY seen LIMIT ?", (node_id, count))

    def oldest_refused(self, count: int) -> Iterator[tuple[Key, int]]:
        """Yield up to ``count`` lanes with refusals in the same way."""
        return self._keys("WHERE refused > 0 ORDER BY seen LIMIT ?", (count,))

    def _keys(self, which: str, parameters: tuple[object, ...]) -> Iterator[tuple[Key, int]]:
        query = f"SELECT peer, lane, refused FROM oddwire_inbox {which}"  # noqa: S608 - ours
        for peer, lane, refused in self._reader.execute(query, parameters).fetchall():
            yield (peer, lane), refused

    # A commit -----------------------------------------------------------------------------------------

    @staticmethod
    def put(writer: sqlite3.Connection, key: Key, row: tuple[int, int, int, float, int]) -> None:
        """Insert or replace a lane: ``row`` is epoch, last, tries, time of last use, number of refusals."""
        writer.execute(_PUT, (*key, *row))

    @staticmethod
    def change(writer: sqlite3.Connection, key: Key, row: tuple[int, int, int]) -> None:
        """Update a lane on disk: ``row`` is epoch, last, tries."""
        query = "UPDATE oddwire_inbox SET epoch = ?, last = ?, tries = ? WHERE peer = ? AND lane = ?"
        writer.execute(query, (*row, *key))

    @staticmethod
    def refuse(writer: sqlite3.Connection, key: Key, epoch: int, refusals: Collection[Refusal]) -> None:
        """Write refusals of a lane."""
        rows = [(*key, epoch, *refusal) for refusal in refusals]
        writer.executemany("INSERT OR REPLACE INTO oddwire_refusals VALUES (?, ?, ?, ?, ?, ?)", rows)

    @staticmethod
    def settle(writer: sqlite3.Connection, key: Key, epoch: int, base: int) -> None:
        """Delete the refusals that the sender knows: those of another epoch, and those below ``base``."""
        query = "DELETE FROM oddwire_refusals WHERE peer = ? AND lane = ? AND (epoch <> ? OR sequence < ?)"
        writer.execute(query, (*key, epoch, base))

    @staticmethod
    def delete(writer: sqlite3.Connection, keys: Collection[Key]) -> None:
        """Delete lanes with their refusals."""
        writer.executemany("DELETE FROM oddwire_inbox WHERE peer = ? AND lane = ?", keys)
        writer.executemany("DELETE FROM oddwire_refusals WHERE peer = ? AND lane = ?", keys)


_PUT = (
    "INSERT INTO oddwire_inbox (peer, lane, epoch, last, tries, seen, refused) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (peer, lane) DO UPDATE SET epoch = excluded.epoch, last = excluded.last, tries = excluded.tries, "
    "seen = excluded.seen, refused = excluded.refused"
)
_FIND = (
    "SELECT lane.epoch, lane.last, lane.tries, lane.seen, refusal.sequence, refusal.code, refusal.text "
    "FROM oddwire_inbox AS lane LEFT JOIN oddwire_refusals AS refusal "
    "ON refusal.peer = lane.peer AND refusal.lane = lane.lane AND refusal.epoch = lane.epoch "
    "WHERE lane.peer = ? AND lane.lane = ? ORDER BY refusal.sequence"
)
