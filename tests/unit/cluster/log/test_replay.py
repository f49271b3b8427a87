"""Bringing caches up to logs, whole ones and others."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.partition_logs import Gate, GatedPlace, MemoryPlace

from oddwire.cluster.log.cache import Cache
from oddwire.cluster.log.entries import Kind, Link, encode, follow
from oddwire.cluster.log.replay import catch_up
from oddwire.cluster.log.replicated_store import ReplicatedStore
from oddwire.cluster.log.snapshots import Snapshot
from oddwire.cluster.log.subject import Message
from oddwire.cluster.log.writer import LogWriter
from oddwire.errors import StoreError
from oddwire.session.store.extension_store import ExtensionStore
from oddwire.session.store.unit import Store
from oddwire.transports.nats.errors import BrokerUnavailable


async def _open(call: str, when: str) -> None: ...


async def write(place: MemoryPlace, folder: Path, count: int, *, after: int = 1 << 30, gate: Gate = _open) -> None:
    """Write so many values as an owner, who then hands the log over."""
    log = ReplicatedStore(GatedPlace(place, gate), folder, snapshot_after=after)
    await log.take()
    await log.catch_up()
    store = Store(log.path, log=log)
    door = ExtensionStore(store, "test")
    for number in range(count):
        await door.set(f"{number % 50}", [number] * 100)
    if (snapshot := log._snapshots.task) is not None:
        await snapshot
    await store.aclose()
    await log.aclose()


async def values(place: MemoryPlace, folder: Path, *, most_kept: int = 1 << 20) -> int:
    """Bring a cache up, and return how many values it has."""
    end = (await LogWriter.take(place, "")).sequence
    cache = Cache(folder)
    cache.lock()
    try:
        position = await catch_up(place, cache, end, most_kept=most_kept, patience=1)
    finally:
        cache.release()
    assert position.sequence == end
    store = Store(cache.path)
    found = len(await ExtensionStore(store, "test").items())
    await store.aclose()
    return found


@pytest.fixture
async def place(tmp_path: Path) -> MemoryPlace:
    """A log of 30 commits and what opening and closing takes."""
    place = MemoryPlace()
    await write(place, tmp_path / "written", 30)
    return place


async def corrupt(place: MemoryPlace, folder: Path) -> str:
    with pytest.raises(StoreError) as caught:
        await values(place, folder)
    assert caught.value.reason == "corrupt"
    assert not (folder / "store").exists()
    return str(caught.value)


async def test_all_of_a_log_is_applied(place: MemoryPlace, tmp_path: Path) -> None:
    assert await values(place, tmp_path / "new") == 30


async def test_a_cache_takes_what_came_since(place: MemoryPlace, tmp_path: Path) -> None:
    await write(place, tmp_path / "other", 45)
    place.log.messages[:] = place.log.messages[20:]  # without the cache, it would be missed
    assert await values(place, tmp_path / "written") == 45
    assert "there is no snapshot" in await corrupt(place, tmp_path / "new")


@pytest.mark.parametrize("most_kept", [1 << 20, 0])
async def test_it_begins_with_the_newest_snapshot(tmp_path: Path, most_kept: int) -> None:
    place = MemoryPlace()
    await write(place, tmp_path / "written", 400, after=1000)
    assert follow(None, place.log.messages[0].data).number > 50
    assert await values(place, tmp_path / "new", most_kept=most_kept) == 50


async def test_a_cache_that_is_older_than_the_log_is_thrown_away(place: MemoryPlace, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "written", tmp_path / "old")
    await write(place, tmp_path / "written", 400, after=1000)
    assert follow(None, place.log.messages[0].data).number > 50
    assert await values(place, tmp_path / "old") == 50


async def test_a_cache_of_another_log_is_thrown_away(place: MemoryPlace, tmp_path: Path) -> None:
    other = MemoryPlace()
    await write(other, tmp_path / "other", 45)
    assert await values(place, tmp_path / "other") == 30
    shutil.rmtree(tmp_path / "other")
    await write(other, tmp_path / "other", 45)
    assert await values(MemoryPlace(), tmp_path / "other") == 0


Change = Callable[[list[Message]], object]


def rewrite(messages: list[Message]) -> None:
    """Put an entry in the place of another one, as a server with diverged replicas might."""
    before = follow(None, messages[9].data)
    data, _ = encode(Kind.COMMIT, before.term, before.link, b"other")
    messages[10] = messages[10]._replace(data=data)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda messages: messages.pop(10), "entry 12, where entry 11 should be"),
        (lambda messages: messages.pop(0), "the log begins with entry 2, and there is no snapshot"),
        (lambda messages: messages.__setitem__(10, messages[10]._replace(data=bytes(100))), "of version 0"),
        (lambda messages: messages.insert(10, messages[10]), "entry 11, where entry 12 should be"),
        (rewrite, "was written behind another entry"),
    ],
)
async def test_a_log_that_is_not_whole_is_not_believed(
    place: MemoryPlace, tmp_path: Path, change: Change, said: str
) -> None:
    change(place.log.messages)
    assert said in await corrupt(place, tmp_path / "new")


OTHER = Snapshot("1-1", 3, Link(3, b"o" * 16), 1, 2, 1, 4096, bytes(16))


async def append(place: MemoryPlace, kind: Kind, body: bytes) -> None:
    writer = await LogWriter.take(place, "")
    await writer.append(kind, body)


async def test_bodies_that_are_none_are_named(place: MemoryPlace, tmp_path: Path) -> None:
    whole = [*place.log.messages]
    for kind, body, said in (
        (Kind.COMMIT, b"junk", "no changes of a database"),
        (Kind.COMMIT, follow(None, whole[5].data).body, "where commit 33 should be"),
        (Kind.SNAPSHOT, b"junk", "no snapshot"),
        (Kind.SNAPSHOT, OTHER.pack(), "it is a snapshot as of entry 3, which is another one here"),
    ):
        place.log.messages[:] = whole
        await append(place, kind, body)
        assert said in await corrupt(place, tmp_path / "new"), said


async def test_a_snapshot_without_its_pieces_or_its_entry_is_not_believed(tmp_path: Path) -> None:
    place = MemoryPlace()
    await write(place, tmp_path / "written", 400, after=1000)
    [name] = await place.snapshots()
    pieces = [*place.snapshot(name).messages]
    await place.snapshot(name).purge()
    assert "some are missing" in await corrupt(place, tmp_path / "new")
    place.snapshot(name).messages[:] = pieces
    place.log.messages[:] = place.log.messages[1:]
    said = await corrupt(place, tmp_path / "new")
    assert "there is no snapshot" in said or "it is a snapshot as of entry" in said


async def test_an_end_that_does_not_come_is_named(place: MemoryPlace, tmp_path: Path) -> None:
    for folder in ("new", "written"):
        cache = Cache(tmp_path / folder)
        cache.lock()
        with pytest.raises(StoreError, match="what should follow is missing"):
            await catch_up(place, cache, place.log.messages[-1].sequence + 1, patience=1)
        cache.release()


class Purged:
    """The log of a place, which a former owner purges after three messages were read: the log has its snapshot."""

    def __init__(self, place: MemoryPlace) -> None:
        self.place = place
        self.name = place.log.name
        self.reads = 0
        self.following = place.log.following

    async def read(self, after: int) -> AsyncIterator[Message]:
        self.reads += 1
        count = 0
        async for message in self.place.log.read(after):
            yield message
            count += 1
            if self.reads == 1 and count == 3:
                entries = [follow(None, message.data) for message in self.place.log.messages]
                *_, made = [Snapshot.unpack(entry.body) for entry in entries if entry.kind is Kind.SNAPSHOT]
                await self.place.log.purge(made.sequence + 1)
                return


async def test_a_log_that_is_purged_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    async def refuse(call: str, when: str) -> None:
        if call == "purge log":
            raise BrokerUnavailable("no answer")

    place = MemoryPlace()
    await write(place, tmp_path / "written", 200, after=80_000, gate=refuse)
    assert follow(None, place.log.messages[0].data).number == 1
    end = (await LogWriter.take(place, "")).sequence
    log: Any = Purged(place)
    purged: Any = SimpleNamespace(log=log, snapshot=place.snapshot)
    cache = Cache(tmp_path / "new")
    cache.lock()
    position = await catch_up(purged, cache, end, patience=1)
    cache.release()
    assert log.reads > 2
    assert position.sequence == end
