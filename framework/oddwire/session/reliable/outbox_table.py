"""The outbox's rows on disk: reading them, and writing the share of a commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.session.reliable.outbox_state import OutboxLane, OutboxShare
from oddwire.session.reliable.receivers import Known
from oddwire.session.store.database import packed, unpacked

__all__ = ["LaneRow", "OutboxTable"]

logger = get_logger("oddwire.session")


class LaneRow(NamedTuple):
    """A lane as on disk: ``numbers`` are epoch, start (the offset of sequences), base and next."""

    id: int
    node_id: NodeId
    lane: int
    extension: str
    numbers: tuple[int, int, int, int]
    known: Known | None
    used: float


class OutboxTable:
    """The outbox's rows. Without a database, queries return nothing."""

    def __init__(self) -> None:
        self._reader: sqlite3.Connection | None = None

    def load(self, reader: sqlite3.Connection) -> None:
        """Use ``reader`` for queries from now on."""
        self._reader = reader

    # These raise `sqlite3.Error` ------------------------------------------------------------------------

    def last_id(self) -> int:
        """Return the greatest id of a lane, 0 if there is none."""
        if self._reader is None:
            return 0
        (last,) = self._reader.execute("SELECT max(id) FROM oddwire_routes").fetchone()
        return last or 0

    def lanes(self) -> Iterator[LaneRow]:
        """Yield the lanes with messages, the oldest first."""
        if self._reader is not None:
            query = f"{_ROUTES} WHERE id IN (SELECT route FROM oddwire_outbox) ORDER BY id"  # noqa: S608 - ours
            yield from map(_row, self._reader.execute(query).fetchall())

    def newest_lane(self, node_id: NodeId, extension: str) -> LaneRow | None:
        """Return the newest lane of an extension to a peer, None if there is none."""
        if self._reader is None:
            return None
        query = f"{_ROUTES} WHERE peer = ? AND extension = ? ORDER BY id DESC LIMIT 1"
        found = self._reader.execute(query, (node_id, extension)).fetchone()
        return None if found is None else _row(found)

    def count(self) -> int:
        """Return the number of lanes."""
        if self._reader is None:
            return 0
        (count,) = self._reader.execute("SELECT count(*) FROM oddwire_routes").fetchone()
        return int(count)

    def oldest(self, used: float, count: int) -> list[tuple[int, NodeId, bool]]:
        """Return up to ``count`` lanes not used since ``used``, the oldest first: id, peer, whether it has messages.

        Return an empty list, and log it, if the database cannot be read.
        """
        if self._reader is None:
            return []
        query = (
            "SELECT id, peer, EXISTS (SELECT 1 FROM oddwire_outbox WHERE route = id) FROM oddwire_routes "
            "WHERE used < ? ORDER BY used LIMIT ?"
        )
        try:
            found = self._reader.execute(query, (used, count)).fetchall()
        except sqlite3.Error:
            logger.exception("the outbox cannot be read")
            return []
        return [(id_, NodeId(peer), bool(full)) for id_, peer, full in found]

    def sizes(self) -> Iterator[tuple[int, int]]:
        """Yield the lane's id and the payload's size in bytes of every message, each lane's in order."""
        if self._reader is not None:
            yield from self._reader.execute("SELECT route, length(payload) FROM oddwire_outbox ORDER BY route, number")

    # These log `sqlite3.Error`, and return what they do for no rows -------------------------------------

    def payloads(self, lane: OutboxLane, first: int, count: int) -> list[bytes]:
        """Return the payloads of up to ``count`` messages from ``first`` on, up to the first that is missing."""
        query = "SELECT number, payload FROM oddwire_outbox WHERE route = ? AND number >= ? ORDER BY number LIMIT ?"
        rows = self._fetch(lane, query, (lane.id, first, count))
        return [payload for place, (number, payload) in enumerate(rows, first) if number == place]

    def first_younger(self, lane: OutboxLane, first: int, stop: int, made: float) -> int:
        """Return the first number, from ``first`` up to ``stop``, of a message not accepted before ``made``."""
        query = "SELECT number, made FROM oddwire_outbox WHERE route = ? AND number >= ? AND number < ? ORDER BY number"
        rows = self._fetch(lane, query, (lane.id, first, stop))
        if not rows:
            return first  # the rows cannot be read, or are being written
        found: int = next((number for number, when in rows if when >= made), rows[-1][0] + 1)
        return found

    def kept(self, lane: OutboxLane, first: int, stop: int) -> dict[int, tuple[float, bytes]]:
        """Return when messages were accepted, and their payloads, by number."""
        query = "SELECT number, made, payload FROM oddwire_outbox WHERE route = ? AND number >= ? AND number < ?"
        rows = self._fetch(lane, query, (lane.id, first, stop))
        return {number: (made, payload) for number, made, payload in rows}

    def _fetch(self, lane: OutboxLane, query: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        if self._reader is None:
            return []
        try:
            return self._reader.execute(query, parameters).fetchall()
        except sqlite3.Error:
            logger.exception("the outbox for %s cannot be read", lane.peer.node_id)
            return []

    # A commit -----------------------------------------------------------------------------------------

    @staticmethod
    def write(writer: sqlite3.Connection, share: OutboxShare) -> None:
        """Write the share of a commit. Raises `sqlite3.Error`."""
        if share.renewed:  # lanes with messages are written below
            writer.execute("DELETE FROM oddwire_routes WHERE id NOT IN (SELECT route FROM oddwire_outbox)")
        if share.dropped:
            writer.executemany("DELETE FROM oddwire_routes WHERE id = ?", [(id_,) for id_ in share.dropped])
        changed, whole, done = [], [], []
        for lane in share.touched:
            sender = lane.sender
            epoch, start = share.renumbered.get(lane, (sender.epoch, sender.offset))
            base = share.settled[lane]
            if lane in share.whole:
                known = share.known.get(lane, lane.known)
                program, stores = (None, None) if known is None else (packed([known.program]), packed(known.stores))
                number = packed([share.lanes.get(lane, lane.lane)])
                name = lane.extension or None
                numbers = (epoch, start, base, lane.next)
                whole.append((lane.id, lane.peer.node_id, number, *numbers, name, program, stores, lane.used))
            else:
                changed.append((epoch, start, base, lane.next, lane.id))
            if base > sender.base:
                done.append((lane.id, base))
        if whole:
            writer.executemany(_WRITE, whole)
        if changed:
            writer.executemany(
                "UPDATE oddwire_routes SET epoch = ?, start = ?, base = ?, next = ? WHERE id = ?", changed
            )
        if done:  # first: the new rows can use the space of the deleted ones
            writer.executemany("DELETE FROM oddwire_outbox WHERE route = ? AND number < ?", done)
        if share.rows:
            rows = [(lane.id, number, made, payload) for lane, number, made, payload, _ in share.rows]
            writer.executemany("INSERT INTO oddwire_outbox VALUES (?, ?, ?, ?)", rows)


_ROUTES = "SELECT id, peer, lane, extension, epoch, start, base, next, program, stores, used FROM oddwire_routes"
_COLUMNS = ("lane", "epoch", "start", "base", "next", "extension", "program", "stores", "used")
_WRITE = (
    f"INSERT INTO oddwire_routes (id, peer, {', '.join(_COLUMNS)}) VALUES (?, ?{', ?' * len(_COLUMNS)}) "  # noqa: S608 - ours
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _COLUMNS)}"
)


def _row(row: tuple[Any, ...]) -> LaneRow:
    id_, peer, lane, extension, epoch, start, base, next_, program, stores, used = row
    known = None if program is None else Known(int.from_bytes(program), unpacked(stores or b""))
    numbers = (epoch, start, base, next_)
    return LaneRow(id_, NodeId(peer), int.from_bytes(lane), extension or "", numbers, known, used)
