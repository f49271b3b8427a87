"""The cache: used if it is whole, thrown away if anything is wrong with it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.failovers import freeze

from oddwire.cluster.log.cache import MARK, Cache, mark_of
from oddwire.cluster.log.entries import Link
from oddwire.cluster.log.pages import Changes
from oddwire.cluster.log.position import Position, digest_of
from oddwire.errors import StoreError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache as the end of a process leaves it: commit 2 in the write-ahead log, and 3, which does not count."""
    origin = Cache(tmp_path / "origin")
    origin.lock()
    origin.path.touch(mode=0o600)
    with closing(sqlite3.connect(origin.path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.execute(MARK)
        database.execute("INSERT INTO oddwire_log VALUES (1, 5, 1)")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        handle = origin.open()
        size, digest = digest_of(handle)
        database.execute("UPDATE oddwire_log SET number = 2")
        ahead = origin.path.with_name("store-wal").stat().st_size
        origin.position.write(Position(9, Link(7, bytes(16)), 5, 2, ahead, size, digest))
        database.execute("UPDATE oddwire_log SET number = 3")
        freeze(origin.folder, tmp_path / "left")
    origin.release()
    origin.release()
    return tmp_path / "left"


def number(cache: Cache) -> int:
    with closing(sqlite3.connect(cache.path)) as database:
        return mark_of(database)[1]


def test_it_is_brought_to_its_position(folder: Path) -> None:
    cache = Cache(folder)
    position = cache.consolidate()
    assert position is not None
    assert position.commit == 2
    assert number(cache) == 2, "the third commit is not in the log"
    cache.check(2)
    with pytest.raises(StoreError, match="should be as of commit 3, and says that it is of 2") as caught:
        cache.check(3)
    assert caught.value.reason == "corrupt"


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: flip(folder / "store", 3000),
        lambda folder: flip(folder / "store-wal", 32 + 24 + 4000),
        lambda folder: flip(folder / "store-wal", 20),
        lambda folder: flip(folder / "position", 20),
        lambda folder: (folder / "store").unlink(),
        lambda folder: (folder / "store-wal").unlink(),
        lambda folder: (folder / "position").unlink(),
        lambda folder: os.truncate(folder / "store-wal", 100),
        lambda folder: os.truncate(folder / "store", 4096),
    ],
)
def test_what_is_not_whole_is_thrown_away(folder: Path, spoil: Callable[[Path], object]) -> None:
    spoil(folder)
    cache = Cache(folder)
    assert cache.consolidate() is None
    assert [*folder.iterdir()] == []


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert Cache(tmp_path / "none").consolidate() is None


def test_a_database_without_a_mark_is_of_no_commit() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        assert mark_of(database) == (0, 0)
        database.execute(MARK)
        assert mark_of(database) == (0, 0)


def test_one_process_has_it(tmp_path: Path) -> None:
    first, second = Cache(tmp_path / "cache"), Cache(tmp_path / "cache")
    first.lock()
    with pytest.raises(StoreError) as caught:
        second.lock()
    assert caught.value.reason == "locked"
    first.release()
    second.lock()
    second.release()


def test_what_the_disk_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        Cache(tmp_path / "file").lock()
    with pytest.raises(StoreError):
        Cache(tmp_path / "none").open()
    with pytest.raises(StoreError):
        Cache(tmp_path / "none").check(1)
    cache = Cache(tmp_path)
    os.close(cache.open())
    with pytest.raises(StoreError):
        cache.apply([Changes(1, 512, 1, {1: bytes(512)})])
    cache.main = -1
