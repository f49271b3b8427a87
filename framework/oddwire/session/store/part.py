"""What a component of the store takes part in commits by."""

from __future__ import annotations

import sqlite3
from typing import Protocol

from oddwire.errors import StoreError
from oddwire.session.store.database import Database

__all__ = ["Part"]


class Part(Protocol):
    """A component with data in the database. All methods are called on the event loop, and return without waiting."""

    def load(self, database: Database) -> None:
        """Read the part's data from a database that was opened. May raise `sqlite3.Error`: opening fails then."""

    def begin(self) -> None:
        """Make the gathered changes the share of a commit that begins; later changes belong to the next commit."""

    def write(self, writer: sqlite3.Connection) -> None:
        """Write the share. An exception fails the commit."""

    def end(self, error: StoreError | None) -> None:
        """Handle the end of the commit; with an error, nothing of the share was written."""
