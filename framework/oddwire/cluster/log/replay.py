"""Bringing a cache up to its log: what came since, or all of it from the newest snapshot on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Final

from oddwire.cluster.log.cache import Cache
from oddwire.cluster.log.entries import START, Kind
from oddwire.cluster.log.pages import Changes, unpack
from oddwire.cluster.log.position import Position
from oddwire.cluster.log.reading import Done, LogReader, damaged
from oddwire.cluster.log.snapshots import Snapshot, restore
from oddwire.cluster.log.subject import BEHIND, EndedEarly, LogPlace, Message, read_to, when_there
from oddwire.errors import StoreError
from oddwire.log_limits import get_logger

__all__ = ["catch_up"]

logger = get_logger("oddwire.cluster.log")

_AT_ONCE: Final = 1 << 20  # bytes of commits applied at once
_KEPT: Final = 64 << 20  # bytes of commits kept in memory while it is not known yet whether a snapshot follows


async def catch_up(
    place: LogPlace, cache: Cache, end: int, *, most_kept: int = _KEPT, patience: int = BEHIND
) -> Position:
    """Bring a locked cache up to the entry with the sequence ``end``, the owner's fence, and return its position.

    A cache that is damaged, or is not of this log, is thrown away. Waits for a broker. Raises `StoreError`, ``corrupt``
    if the log itself is damaged.
    """
    replay = _Replay(place, cache, end, most_kept, patience)
    position = await asyncio.to_thread(cache.consolidate)
    if position is not None:
        try:
            return await replay.go_on(position)
        except (_Foreign, StoreError) as error:
            logger.info("the cache %s is thrown away: %s", cache.path, error)
            await asyncio.to_thread(cache.clear)
    while True:
        first = await when_there(lambda: place.log.following(0))
        try:
            return await replay.restore()
        except StoreError as error:
            await asyncio.to_thread(cache.clear)
            if error.reason != "corrupt" or await when_there(lambda: place.log.following(0)) == first:
                raise
        logger.info("%s was purged while it was read, and is read again", place.log.name)


class _Foreign(Exception):
    """The log does not go on where a cache is."""


class _Replay:
    def __init__(self, place: LogPlace, cache: Cache, end: int, most_kept: int, patience: int) -> None:
        self._patience = patience
        self._place = place
        self._most_kept = most_kept
        self._cache = cache
        self._end = end
        self._waiting: list[Done] = []
        self._size = 0
        self._position = Position(0, START, 0, 0)

    def _read(self, after: int) -> AsyncIterator[Message]:
        end = self._end
        return read_to(self._place.log, after, lambda found: found.sequence >= end, patience=self._patience)

    async def go_on(self, position: Position) -> Position:
        """Apply what is behind a position. Raises `_Foreign` if the log does not go on there."""
        self._position = position
        self._waiting.clear()
        log = self._place.log
        reader = LogReader(log.name, position.link, term=position.term)
        try:
            async for message in self._read(position.sequence):
                try:
                    done = reader.take(message)
                except StoreError as error:
                    if reader.first is None:
                        raise _Foreign(str(error)) from error
                    raise
                if done is not None:
                    await self._have(done)
        except EndedEarly as error:
            if reader.first is None:
                raise _Foreign("nothing follows in the log") from error
            raise damaged(log.name, error.after, "what should follow is missing") from error
        return await self._finish()

    async def restore(self) -> Position:
        """Apply everything, from the newest snapshot on, to a cache that is empty."""
        self._waiting.clear()
        log = self._place.log
        reader, snapshot, size = LogReader(log.name), None, 0
        links = dict[int, bytes]()
        kept: list[Done] | None = []
        try:
            async for message in self._read(0):
                done = reader.take(message)
                if done is None:
                    continue
                links[done.link.number] = done.link.digest
                if done.kind is Kind.SNAPSHOT:
                    snapshot = self._snapshot(done, links, reader)
                    if kept is not None:
                        kept = [each for each in kept if each.link.number > snapshot.link.number]
                        size = sum(len(each.body) for each in kept)
                if kept is not None:
                    kept.append(done)
                    size += len(done.body)
                    if size > self._most_kept:
                        kept = None  # they are read again
        except EndedEarly as error:
            raise damaged(log.name, error.after, "what should follow is missing") from error
        if snapshot is None and reader.first != START:
            number = 1 if reader.first is None else reader.first.number + 1
            raise damaged(log.name, self._end, f"the log begins with entry {number}, and there is no snapshot")
        base = Position(0, START, 0, 0)
        if snapshot is not None:
            base = Position(snapshot.sequence, snapshot.link, snapshot.term, snapshot.commit)
            handle = await asyncio.to_thread(self._cache.open)
            await restore(self._place, snapshot, handle, patience=self._patience)
        if kept is None:
            return await self.go_on(base)
        self._position = base
        for done in kept:
            await self._have(done)
        return await self._finish()

    def _snapshot(self, done: Done, links: dict[int, bytes], reader: LogReader) -> Snapshot:
        log = self._place.log
        try:
            snapshot = Snapshot.unpack(done.body)
        except ValueError as error:
            raise damaged(log.name, done.sequence, str(error)) from error
        if links.get(snapshot.link.number) != snapshot.link.digest and reader.first != snapshot.link:
            what = f"it is a snapshot as of entry {snapshot.link.number}, which is another one here"
            raise damaged(log.name, done.sequence, what)
        return snapshot

    async def _have(self, done: Done) -> None:
        self._waiting.append(done)
        self._size += len(done.body)
        if self._size >= _AT_ONCE:
            await asyncio.to_thread(self._apply)

    def _apply(self) -> None:
        self._cache.apply(self._commits())
        self._size = 0

    def _commits(self) -> Iterator[Changes]:
        """Return what waits, as it is applied."""
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            if done.kind is Kind.COMMIT:
                changes = self._changes(done)
                yield changes
                self._position = self._position._replace(commit=changes.commit)
            grown = 0 if done.kind is Kind.SNAPSHOT else self._position.grown + len(done.body)
            self._position = self._position._replace(
                sequence=done.sequence, link=done.link, term=done.term, grown=grown
            )

    def _changes(self, done: Done) -> Changes:
        name, expected = self._place.log.name, self._position.commit + 1
        try:
            changes = unpack(done.body)
        except ValueError as error:
            raise damaged(name, done.sequence, str(error)) from error
        if changes.commit != expected:
            raise damaged(name, done.sequence, f"it is commit {changes.commit}, where commit {expected} should be")
        return changes

    async def _finish(self) -> Position:
        await asyncio.to_thread(self._apply)
        if self._position.commit:
            await asyncio.to_thread(self._cache.check, self._position.commit)
        return self._position
