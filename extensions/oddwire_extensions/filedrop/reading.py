"""Files that are read for peers to whom they were offered; these take turns."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from oddwire import AppContext, NodeId, OddwireError, Refuse, StoreError
from oddwire.app import Turns
from oddwire_extensions.filedrop.book import Book, Drop
from oddwire_extensions.filedrop.files import Source
from oddwire_extensions.filedrop.messages import BUSY, CHUNK, FINAL, Chunk, Fetch
from oddwire_extensions.filedrop.threads import in_thread

__all__ = ["CHANGED", "Reader"]

TURN: Final = 15.0
"""Seconds after which the peer that reads slowest loses its place if others wait for one."""
PATIENCE: Final = 20.0
"""Seconds that a peer waits for a place: less than the `SILENCE` after which it would try again."""
CHANGED: Final = "the file was changed after it was offered"


class Reader:
    """Reads for so many peers at once; ``done`` gets the bytes so far, by number, of ``active`` ones."""

    def __init__(self, context: AppContext, book: Book, done: dict[int, int]) -> None:
        self.active: set[int] = set()
        self._book = book
        self._done = done
        self._turns = Turns(
            lambda: int(context.options["filedrop-transfers"]),
            seconds=TURN,
            patience=PATIENCE,
            busy=functools.partial(Refuse, code=BUSY),
        )

    async def read(self, peer: NodeId, request: Fetch) -> AsyncGenerator[Chunk, None]:
        """Yield the bytes of a file that we have offered to a peer, from an offset on. Raises `Refuse`."""
        try:
            await self._offered(peer, request)  # to whom nothing is offered takes no place, and waits for none
            async with self._turns.take(peer) as turn, contextlib.aclosing(self._read(peer, request)) as chunks:
                async for chunk in chunks:
                    yield chunk
                    turn.done += len(chunk.data)
                    if turn.over:
                        raise Refuse("others wait for their turn", code=BUSY)
        except StoreError as error:  # on a full disk, say
            raise Refuse("the file cannot be read now", code=BUSY) from error

    async def _read(self, peer: NodeId, request: Fetch) -> AsyncGenerator[Chunk, None]:
        drop = await self._offered(peer, request)
        if drop.number in self.active:
            raise Refuse("this file is being read already", code=BUSY)
        self.active.add(drop.number)
        source = Source(Path(drop.path))
        try:
            await in_thread(source.open)
            if drop.state == "offered":
                await self._book.change(drop, "accepted")
            at = request.offset
            while at < drop.size:
                self._done[drop.number] = at
                data, mark = await in_thread(source.read_marked, at, CHUNK)
                if mark != drop.mark:
                    await self._book.change(drop, "failed", CHANGED)
                    raise Refuse(CHANGED, code=FINAL)
                yield Chunk(offset=at, data=data)
                at += len(data)
            self._done[drop.number] = drop.size
        except (OSError, ValueError) as error:
            with contextlib.suppress(OddwireError):
                await self._book.note(drop, f"it cannot be read: {error}")
            raise Refuse("the file cannot be read now", code=BUSY) from error
        finally:
            source.close()
            self.active.discard(drop.number)
            sent = self._done.pop(drop.number, request.offset)
            with contextlib.suppress(OddwireError):
                await self._book.save(drop, sent)

    async def _offered(self, peer: NodeId, request: Fetch) -> Drop:
        drop = await self._book.find("out", peer, request.key) if self._book.has_offered(peer) else None
        if drop is None or not drop.is_open:
            raise Refuse("this file is not offered to you", code=FINAL)
        if request.offset > drop.size:
            raise Refuse(f"this file has {drop.size} bytes", code=FINAL)
        return drop
