"""The numbers of a store, which our hello lists: its own, and those of stores that were moved into it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence

from oddwire.errors import StoreError
from oddwire.session.store.database import MEMORY, Database, write_numbers

__all__ = ["StoreNumbers", "new_number"]


def new_number() -> int:
    """Return a random u64 as the number of a new store."""
    return int.from_bytes(os.urandom(8), "big")


class StoreNumbers:
    """The numbers of the store on disk; a part of the store. ``on_change`` is called when they have changed."""

    def __init__(self, path: str, number: int) -> None:
        self._path = path
        self._number = number
        self._found: tuple[int, ...] | None = None
        self._gathered: tuple[int, ...] | None = None
        self._writing: tuple[int, ...] | None = None
        self.on_change: Callable[[], object] = lambda: None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers, the store's own first.

        Before the store is created, the number that it will get; empty while an existing one is not open.
        """
        if self._found is not None:
            return self._found
        return (self._number,) if self._path == MEMORY or not os.path.lexists(self._path) else ()

    def renew(self) -> None:
        """Replace all numbers by a new one with the next commit."""
        self._gathered = (new_number(),)

    # As `oddwire.session.store.part.Part` -----------------------------------------------------------------------

    def load(self, database: Database) -> None:
        """Read the numbers."""
        self._have(database.numbers)

    def begin(self) -> None:
        """Make the gathered numbers the share of the commit."""
        self._writing, self._gathered = self._gathered, None

    def write(self, writer: sqlite3.Connection) -> None:
        """Write the share of the commit."""
        if self._writing is not None:
            write_numbers(writer, self._writing)

    def end(self, error: StoreError | None) -> None:
        """Use the new numbers; after an error, write them with the next commit."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        if error is None:
            self._have(writing)
        elif self._gathered is None:
            self._gathered = writing

    def _have(self, numbers: Sequence[int]) -> None:
        if numbers != self._found:
            self._found = (*numbers,)
            self.on_change()
