"""The marks of `Ages` in the store, from which the next process continues."""

from __future__ import annotations

import sqlite3

from oddwire.errors import StoreError
from oddwire.session.store.ages import Ages, Mark
from oddwire.session.store.database import Database

__all__ = ["ClockMarks", "read_mark"]


class ClockMarks:
    """Makes ``ages`` continue from the mark of an earlier process, and writes new marks; a part of the store."""

    def __init__(self, ages: Ages) -> None:
        self._ages = ages
        self._writing: Mark | None = None

    # As `oddwire.session.store.part.Part` -----------------------------------------------------------------------

    def load(self, database: Database) -> None:
        """Continue from the last mark. It has to be called before the parts that read times."""
        self._ages.resume(*read_mark(database.reader))

    def begin(self) -> None:
        """Make a mark if one is due."""
        self._writing = self._ages.mark() if self._ages.is_due() else None

    def write(self, writer: sqlite3.Connection) -> None:
        """Write the mark."""
        if self._writing is not None:
            writer.execute("INSERT OR REPLACE INTO oddwire_clock VALUES (1, ?, ?, ?, ?)", self._writing)

    def end(self, error: StoreError | None) -> None:
        """Drop the mark, whether it was written or not: another is due in a minute."""
        self._writing = None


def read_mark(reader: sqlite3.Connection) -> tuple[Mark | None, float]:
    """Return the last mark, None for none, and the latest time in the database, 0 for none. Raises `sqlite3.Error`."""
    row = reader.execute("SELECT seconds, wall, boot, uptime FROM oddwire_clock").fetchone()
    latest = 0.0
    (version,) = reader.execute("PRAGMA user_version").fetchone()
    columns = [("made", "oddwire_outbox"), ("used", "oddwire_routes"), ("seen", "oddwire_inbox")]
    if version >= 4:  # an older one may be read by `contents_of`
        columns.append(("made", "oddwire_again"))
    for column, table in columns:
        (found,) = reader.execute(f"SELECT max({column}) FROM {table}").fetchone()  # noqa: S608 - names of ours
        latest = max(latest, found or 0.0)
    return None if row is None else Mark(*row), latest
