"""Snapshots: there, whole, and gone when a later one is there."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
from tests.support.partition_logs import GatedPlace, MemoryPlace

from oddwire.cluster.log.entries import Link
from oddwire.cluster.log.snapshots import Snapshot, remove_older, restore, snapshot_name, upload
from oddwire.cluster.log.subject import LogPlace
from oddwire.errors import StoreError

MADE = Snapshot("5-1", 9, Link(4, b"l" * 16), 5, 3, 2, 1 << 33, b"d" * 16)


@pytest.fixture
def handles(tmp_path: Path) -> Iterator[list[int]]:
    """Two open files: one of three pieces, and an empty one."""
    (tmp_path / "source").write_bytes(random.Random(1).randbytes(2_500_000))
    found = [os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in ("source", "target")]
    yield found
    for handle in found:
        os.close(handle)


def test_it_is_read_as_it_was_packed() -> None:
    assert Snapshot.unpack(MADE.pack()) == MADE


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1", msgpack.packb(7), msgpack.packb([1, 2]), MADE._replace(name="a.b").pack(), MADE.pack() + b"x"],
)
def test_what_is_none_is_said(body: bytes) -> None:
    with pytest.raises(ValueError, match="no snapshot"):
        Snapshot.unpack(body)


async def test_a_file_comes_back_as_it_was(place: LogPlace, handles: list[int], tmp_path: Path) -> None:
    pieces, size, digest = await upload(place, "5-1", handles[0])
    assert (pieces, size) == (3, 2_500_000)
    await restore(place, MADE._replace(pieces=pieces, size=size, digest=digest), handles[1])
    assert (tmp_path / "target").read_bytes() == (tmp_path / "source").read_bytes()


async def test_pieces_that_are_damaged_missing_or_others_are_named(handles: list[int]) -> None:
    place = MemoryPlace()
    pieces, size, digest = await upload(place, "5-1", handles[0])
    made = MADE._replace(pieces=pieces, size=size, digest=digest)
    messages = place.snapshot("5-1").messages
    whole = [*messages]

    async def said() -> str:
        with pytest.raises(StoreError) as caught:
            await restore(place, made, handles[1], patience=1)
        assert caught.value.reason == "corrupt"
        return str(caught.value)

    messages[1] = whole[1]._replace(data=whole[1].data[:-1])
    assert "message 2 of ow.snap.test.0.5-1: a piece of a snapshot is damaged" in await said()
    messages[:] = [whole[1], whole[0], whole[2]]
    assert "are not those that were written" in await said()
    messages[:] = whole[:2]
    made = made._replace(pieces=3)
    assert "3 pieces of a snapshot should be there, and some are missing" in await said()


async def test_a_file_that_is_written_to_meanwhile_is_no_snapshot(handles: list[int], tmp_path: Path) -> None:
    async def write(call: str, when: str) -> None:
        os.utime(tmp_path / "source", (1, 1))

    with pytest.raises(StoreError, match="another program has written to the file"):
        await upload(GatedPlace(MemoryPlace(), write), "5-1", handles[0])


async def test_a_piece_that_is_not_taken_is_said(handles: list[int]) -> None:
    place = MemoryPlace()
    await place.snapshot("5-1").append(b"", 0)
    with pytest.raises(StoreError, match="takes no piece: somebody else writes there"):
        await upload(place, "5-1", handles[0])
    place._pieces.max_message = 10
    with pytest.raises(StoreError, match="takes no piece: "):
        await upload(place, "5-2", handles[0])


async def test_older_ones_go_and_later_ones_stay(place: LogPlace) -> None:
    names = [snapshot_name(term, count) for term in (5, 40) for count in (1, 2, 10)]
    for name in names:
        await place.snapshot(name).append(b"piece", 0)
    await remove_older(place, "5-10")
    assert sorted(await place.snapshots()) == ["40-1", "40-10", "40-2", "5-10"]
    await remove_older(place, "40-10")
    assert await place.snapshots() == ["40-10"]
