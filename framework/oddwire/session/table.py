"""What the outbox has on disk: its rows read, and a commit's share of them written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

from oddwire.logs import get_logger
from oddwire.proto.keys import NodeId
from oddwire.session.ages import Mark
from oddwire.session.routes import Route, Share

__all__ = ["OutboxTable"]

logger = get_logger("oddwire.session")


class OutboxTable:
    """The outbox's rows. Without a database, and where it cannot be read, which is logged, there are none."""

    def __init__(self) -> None:
        self._reader: sqlite3.Connection | None = None

    def load(self, reader: sqlite3.Connection) -> None:
        """Read from it from now on."""
        self._reader = reader

    # As the database is opened: these raise `sqlite3.Error` --------------------------------------------

    def mark(self) -> tuple[Mark | None, float]:
        """Return what the clocks said when an earlier process wrote it down, and when the newest message was made."""
        if self._reader is None:
            return None, 0.0
        row = self._reader.execute("SELECT seconds, wall, boot, uptime FROM oddwire_clock").fetchone()
        (newest,) = self._reader.execute("SELECT max(made) FROM oddwire_outbox").fetchone()
        return None if row is None else Mark(*row), newest or 0.0

    def routes(self) -> Iterator[tuple[int, NodeId, int, tuple[int, ...]]]:
        """Iterate over lanes: id, peer, lane, and the numbers epoch, start, base and next."""
        if self._reader is None:
            return
        query = "SELECT id, peer, lane, epoch, start, base, next FROM oddwire_routes"
        for id_, node_id, lane, *numbers in self._reader.execute(query).fetchall():
            yield id_, NodeId(node_id), int.from_bytes(lane), tuple(numbers)

    def sizes(self) -> Iterator[tuple[int, int]]:
        """Iterate over the lanes' ids and payloads' sizes of all messages, each lane's in order."""
        if self._reader is not None:
            yield from self._reader.execute("SELECT route, length(payload) FROM oddwire_outbox ORDER BY route, number")

    # Later ---------------------------------------------------------------------------------------------

    def payloads(self, route: Route, first: int, count: int) -> list[bytes]:
        """Return the payloads of up to ``count`` messages from ``first`` on, up to the first that is not there."""
        query = "SELECT number, payload FROM oddwire_outbox WHERE route = ? AND number >= ? ORDER BY number LIMIT ?"
        rows = self._fetch(route, query, (route.id, first, count))
        return [payload for place, (number, payload) in enumerate(rows, first) if number == place]

    def first_younger(self, route: Route, first: int, stop: int, made: float) -> int:
        """Return the first number of those from ``first`` up to ``stop`` that was not made before ``made``."""
        query = "SELECT number, made FROM oddwire_outbox WHERE route = ? AND number >= ? AND number < ? ORDER BY number"
        rows = self._fetch(route, query, (route.id, first, stop))
        if not rows:
            return first  # it cannot be read, or what is there is being written
        found: int = next((number for number, when in rows if when >= made), rows[-1][0] + 1)
        return found

    def kept(self, route: Route, first: int, stop: int) -> dict[int, tuple[float, bytes]]:
        """Return when messages were made, and their payloads, by number."""
        query = "SELECT number, made, payload FROM oddwire_outbox WHERE route = ? AND number >= ? AND number < ?"
        rows = self._fetch(route, query, (route.id, first, stop))
        return {number: (made, payload) for number, made, payload in rows}

    def _fetch(self, route: Route, query: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        if self._reader is None:
            return []
        try:
            return self._reader.execute(query, parameters).fetchall()
        except sqlite3.Error:
            logger.exception("the outbox for %s cannot be read", route.peer.node_id)
            return []

    # A commit -----------------------------------------------------------------------------------------

    @staticmethod
    def write(writer: sqlite3.Connection, share: Share) -> None:
        """Write a commit's share."""
        routes, done = [], []
        for route in share.touched:
            sender = route.sender
            epoch, start = share.renumbered.get(route, (sender.epoch, sender.offset))
            base = share.settled[route]
            lane = route.lane.to_bytes(8)
            routes.append((route.id, route.peer.node_id, lane, epoch, start, base, route.next))
            if base > sender.base:
                done.append((route.id, base))
        if routes:
            writer.executemany(
                "INSERT INTO oddwire_routes VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE "
                "SET epoch = excluded.epoch, start = excluded.start, base = excluded.base, next = excluded.next",
                routes,
            )
        if done:  # first: what they leave is room for the others
            writer.executemany("DELETE FROM oddwire_outbox WHERE route = ? AND number < ?", done)
        if share.rows:
            rows = [(route.id, number, made, payload) for route, number, made, payload, _ in share.rows]
            writer.executemany("INSERT INTO oddwire_outbox VALUES (?, ?, ?, ?)", rows)
        if share.mark is not None:
            writer.execute("INSERT OR REPLACE INTO oddwire_clock VALUES (1, ?, ?, ?, ?)", share.mark)
