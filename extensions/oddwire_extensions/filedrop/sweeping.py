"""Parts of files that a crash has left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from oddwire import AppContext
from oddwire_extensions.filedrop.book import Book
from oddwire_extensions.filedrop.quarantine import parts_of, remove_part
from oddwire_extensions.filedrop.threads import in_thread

__all__ = ["Sweeper"]

APART: Final = 3600.0
"""Seconds between two looks that find the same old part, before it is removed."""


class Sweeper:
    """Finds parts that belong to nothing."""

    def __init__(self, context: AppContext, book: Book) -> None:
        self._context = context
        self._book = book
        self._found: dict[tuple[Path, str, float], float] = {}  # when it was first seen, by the store's clock

    async def sweep(self, folder: Path, seconds: float) -> None:
        """Remove the parts of files that are received no more, in a folder and all that files were accepted for.

        Those that we do not know may be another program's that uses the folder: they have to be unchanged for so long.
        The wall clock says so, and may be wrong; so they are removed if a second look, an hour later, finds the same.
        """
        drops = [drop for drop in await self._book.all() if drop.way == "in"]
        accepted = {drop.mark: Path(drop.path) for drop in drops if drop.state == "accepted"}
        ended = {drop.mark for drop in drops if not drop.is_open}
        now = await self._context.store.now()
        found: dict[tuple[Path, str, float], float] = {}
        known = await self._book.folders()
        for place in {folder, *known, *accepted.values()}:
            parts = await in_thread(parts_of, place)
            for name, (changed, age) in parts.items():
                first = self._found.get((place, name, changed), now)
                if name in ended or (name not in accepted and age >= seconds and now - first >= APART):
                    await self._remove(place, name)
                elif name not in accepted and age >= seconds:
                    found[place, name, changed] = first
            if place in known and not parts and place not in accepted.values():
                await self._book.leave_folder(place)
        self._found = found

    async def _remove(self, place: Path, name: str) -> None:
        try:
            await in_thread(remove_part, place, name)
        except OSError as error:
            self._context.logger.warning("a part stays in %s: %s", place, error)
