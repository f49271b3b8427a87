"""The clocks' marks in the store: what ages are counted from when the next process begins."""

from __future__ import annotations

import sqlite3

from oddwire.errors import StoreError
from oddwire.session.store.ages import Ages, Mark
from oddwire.session.store.database import Database

__all__ = ["ClockMarks", "read_mark"]


class ClockMarks:
    """Has ``ages`` go on where an earlier process was, and writes down where they are, as a part of the store."""

    def __init__(self, ages: Ages) -> None:
        self._ages = ages
        self._writing: Mark | None = None

    # As `oddwire.session.store.group_commit.Part` ---------------------------------------------------------------

    def load(self, database: Database) -> None:
        """Go on from the last mark. To be called before what reads times."""
        self._ages.resume(*read_mark(database.reader))

    def begin(self) -> None:
        """Look at the clocks, now and then."""
        self._writing = self._ages.mark() if self._ages.is_due() else None

    def write(self, writer: sqlite3.Connection) -> None:
        """Write down what they said."""
        if self._writing is not None:
            writer.execute("INSERT OR REPLACE INTO oddwire_clock VALUES (1, ?, ?, ?, ?)", self._writing)

    def end(self, error: StoreError | None) -> None:
        """Look at them again after the next minute, whether that is on disk or not."""
        self._writing = None


def read_mark(reader: sqlite3.Connection) -> tuple[Mark | None, float]:
    """Return the last mark, and the latest of all times in the database, 0 for none. Raises `sqlite3.Error`."""
    row = reader.execute("SELECT seconds, wall, boot, uptime FROM oddwire_clock").fetchone()
    latest = 0.0
    for column, table in (("made", "oddwire_outbox"), ("used", "oddwire_routes"), ("seen", "oddwire_inbox")):
        (found,) = reader.execute(f"SELECT max({column}) FROM {table}").fetchone()  # noqa: S608 - names of ours
        latest = max(latest, found or 0.0)
    return None if row is None else Mark(*row), latest
