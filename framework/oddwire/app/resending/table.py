"""The rows of kept messages: reading them, and writing the share of a commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping

from oddwire.app.resending.entries import Entry, Ident
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId

__all__ = ["KeptTable"]

logger = get_logger("oddwire.app")


class KeptTable:
    """The table. Without a database, queries return nothing."""

    def __init__(self) -> None:
        self._reader: sqlite3.Connection | None = None

    def load(self, reader: sqlite3.Connection) -> Iterator[Entry]:
        """Use ``reader`` for queries from now on, and yield all rows, the oldest first. Raises `sqlite3.Error`."""
        self._reader = reader
        query = (
            "SELECT extension, peer, key, substr(payload, 1, 2), length(payload), made, every, until, on_connect, "
            "force, matched FROM oddwire_again ORDER BY made"
        )
        for extension, peer, key, type_id, size, made, every, life, on_connect, force, matched in reader.execute(query):
            entry = Entry(
                Ident(extension, NodeId(peer), key),
                int.from_bytes(type_id, "big"),
                size,
                made=made,
                every=every,
                life=life,
                on_connect=bool(on_connect),
                force=bool(force),
                matched=matched,
            )
            entry.stored = True
            yield entry

    def payload(self, ident: Ident) -> bytes | None:
        """Return a message's bytes; None if they cannot be read, which is logged."""
        if self._reader is None:
            return None
        query = "SELECT payload FROM oddwire_again WHERE extension = ? AND peer = ? AND key = ?"
        try:
            row = self._reader.execute(query, ident).fetchone()
        except sqlite3.Error:
            logger.exception("what is kept for %s cannot be read", ident.node_id)
            return None
        return None if row is None else bytes(row[0])

    @staticmethod
    def write(writer: sqlite3.Connection, changes: Mapping[Ident, Entry | None]) -> None:
        """Write what has changed: entries, and None for what is not kept any more. Raises `sqlite3.Error`."""
        gone = [ident for ident, entry in changes.items() if entry is None]
        kept = [
            (
                *ident,
                entry.made,
                entry.every,
                entry.life,
                entry.on_connect,
                entry.force,
                entry.matched,
                entry.payload,
            )
            for ident, entry in changes.items()
            if entry is not None
        ]
        if gone:
            writer.executemany("DELETE FROM oddwire_again WHERE extension = ? AND peer = ? AND key = ?", gone)
        if kept:
            writer.executemany(
                "INSERT OR REPLACE INTO oddwire_again (extension, peer, key, made, every, until, on_connect, force, "
                "matched, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                kept,
            )
