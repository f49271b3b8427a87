"""The folder that peers may fetch from: its list, and whose turn it is."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from oddwire import Refuse
from oddwire.app import Turns
from oddwire_extensions.courier.files import is_name
from oddwire_extensions.courier.messages import MAX_FILES, File, Listing

__all__ = ["Shelf"]

FETCHES: Final = 64
"""Files that are read at once, for all peers: each keeps one open, and a chunk of it in memory."""
FETCHES_OF_ONE: Final = 4
"""Files that are read at once for one peer."""
TURN: Final = 10.0
"""Seconds after which the one who reads slowest loses its place if others wait for one."""
PATIENCE: Final = 20.0
"""Seconds that a peer waits for a place."""
FRESH: Final = 1.0
"""Seconds for which a listing is that of the folder: to make one takes a call of the system for each file."""
IDLE: Final = 9
"""And so many times as long as it took: of a folder with very many files it takes a tenth of the time at most."""


class Shelf:
    """What peers fetch from, shared by all of them, and which parcels are being saved."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.turns = Turns(FETCHES, each=FETCHES_OF_ONE, seconds=TURN, patience=PATIENCE)
        self._listing: Listing | None = Listing(files=())
        self._until = 0.0
        self._lock = asyncio.Lock()
        self._saving: set[int] = set()

    async def listing(self) -> Listing:
        """Return the files of the folder, as they were when it was last listed. Raises `Refuse` if it cannot be."""
        async with self._lock:  # who asks meanwhile gets the same
            loop = asyncio.get_running_loop()
            began = loop.time()
            if self.path is not None and began >= self._until:
                try:
                    self._listing = Listing(files=tuple(await asyncio.to_thread(_files, self.path)))
                except OSError:
                    self._listing = None
                ended = loop.time()
                self._until = ended + max(FRESH, (ended - began) * IDLE)
            if self._listing is None:
                raise Refuse("the folder cannot be listed now")
            return self._listing

    @contextlib.contextmanager
    def saving(self, number: int) -> Iterator[None]:
        """Context manager: be the only one who saves or drops a parcel. Raises `ValueError`."""
        if number in self._saving:
            raise ValueError(f"parcel {number} is being saved, or dropped, already")
        self._saving.add(number)
        try:
            yield
        finally:
            self._saving.discard(number)


def _files(path: Path) -> list[File]:
    found: list[File] = []
    with os.scandir(path) as entries:
        named = sorted((entry.name, entry) for entry in entries if entry.is_file(follow_symlinks=False))
    for name, entry in named:
        if len(found) == MAX_FILES:
            break
        with contextlib.suppress(OSError):  # it has gone meanwhile
            if is_name(name):
                found.append(File(name=name, size=entry.stat(follow_symlinks=False).st_size))
    return found
