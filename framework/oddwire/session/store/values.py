"""Extensions' values by key, on disk and in the shares of commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import TypeAlias

from oddwire.errors import StoreError
from oddwire.session.store.database import Database
from oddwire.session.store.value_encoding import EncodedValue

__all__ = ["StoredValues"]

_Share: TypeAlias = dict[tuple[str, bytes], EncodedValue | None]


class StoredValues:
    """The values of all extensions; a part of the store. None stands for a deleted value."""

    _reader: sqlite3.Connection

    def __init__(self) -> None:
        self._gathered: _Share = {}
        self._writing: _Share = {}

    # As `oddwire.session.store.part.Part` -----------------------------------------------------------------------

    def load(self, database: Database) -> None:
        """Use the database from now on."""
        self._reader = database.reader

    def begin(self) -> None:
        """Make the gathered values the share of the commit."""
        self._writing, self._gathered = self._gathered, {}

    def write(self, writer: sqlite3.Connection) -> None:
        """Write the share of the commit."""
        if not self._writing:
            return
        kept = [(*place, *value) for place, value in self._writing.items() if value is not None]
        deleted = [place for place, value in self._writing.items() if value is None]
        if kept:
            writer.executemany(
                "INSERT OR REPLACE INTO oddwire_values (extension, key, form, value) VALUES (?, ?, ?, ?)", kept
            )
        if deleted:
            writer.executemany("DELETE FROM oddwire_values WHERE extension = ? AND key = ?", deleted)

    def end(self, error: StoreError | None) -> None:
        """Drop the share: it is on disk, or has failed."""
        self._writing = {}

    # For units --------------------------------------------------------------------------------------

    def gather(self, extension: str, values: Mapping[bytes, EncodedValue | None]) -> None:
        """Add values to those that the next commit writes."""
        self._gathered.update({(extension, key): value for key, value in values.items()})

    def get(self, extension: str, key: bytes, *, committed: bool = False) -> EncodedValue | None:
        """Return a value from the shares of commits or from disk; None if there is none. Raises `sqlite3.Error`.

        With ``committed`` only what is on disk counts.
        """
        place = (extension, key)
        for share in () if committed else (self._gathered, self._writing):
            if place in share:
                return share[place]
        rows = self._reader.execute(
            "SELECT form, value FROM oddwire_values WHERE extension = ? AND key = ?", place
        ).fetchall()
        return EncodedValue(*rows[0]) if rows else None

    def items(self, extension: str, prefix: bytes, *, committed: bool = False) -> dict[bytes, EncodedValue | None]:
        """Return all values whose keys begin with ``prefix``, None for deleted ones. Raises `sqlite3.Error`.

        ``committed`` is as for `get`.
        """
        # UTF-8 has no byte 0xff, so the bound is above all such keys
        rows = self._reader.execute(
            "SELECT key, form, value FROM oddwire_values WHERE extension = ? AND key >= ? AND key < ?",
            (extension, prefix, prefix + b"\xff"),
        )
        found: dict[bytes, EncodedValue | None] = {
            key: EncodedValue(form, value) for key, form, value in rows.fetchall()
        }
        for share in () if committed else (self._writing, self._gathered):
            found.update(
                {key: value for (owner, key), value in share.items() if owner == extension and key.startswith(prefix)}
            )
        return found
