"""Commits, read from SQLite's write-ahead log."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from oddwire.cluster.log.pages import apply, pack, unpack
from oddwire.cluster.log.write_ahead import WriteAheadLog


class Shipped:
    """A database, and a copy of it that is brought up to it by what is read."""

    def __init__(self, folder: Path) -> None:
        self.path, self.copy = folder / "database", folder / "copy"
        self.connection = sqlite3.connect(self.path, isolation_level=None)
        for pragma in ("page_size = 512", "journal_mode = WAL", "synchronous = OFF", "wal_autocheckpoint = 0"):
            self.connection.execute(f"PRAGMA {pragma}")
        self.main = os.open(self.path, os.O_RDONLY)
        self.target = os.open(self.copy, os.O_RDWR | os.O_CREAT)
        self.ahead = WriteAheadLog(self.path, self.main, 0)
        self.number = 0

    def ship(self, *, all_: bool = False) -> int:
        """Bring the copy up to the last commit, and return how many pages that took."""
        found = self.ahead.committed(all_=all_)
        self.number += 1
        data = pack(self.number, found.page_size, found.size, found.pages, self.ahead.before)
        self.ahead.settle(found.size)
        apply(self.target, [unpack(data)])
        return len(found.pages)

    def run(self, *statements: str) -> None:
        self.connection.execute("BEGIN")
        for statement in statements:
            self.connection.execute(statement)
        self.connection.execute("COMMIT")

    def check(self) -> None:
        """The copy is what the database is."""
        with closing(sqlite3.connect(f"file:{self.copy}?immutable=1", uri=True)) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert [*copy.iterdump()] == [*self.connection.iterdump()]
            for pragma in ("user_version", "page_count", "freelist_count"):
                assert (
                    copy.execute(f"PRAGMA {pragma}").fetchone()
                    == self.connection.execute(f"PRAGMA {pragma}").fetchone()
                )

    def close(self) -> None:
        self.connection.close()
        self.ahead.close()
        self.ahead.close()
        os.close(self.main)
        os.close(self.target)


@pytest.fixture
def shipped(tmp_path: Path) -> Iterator[Shipped]:
    made = Shipped(tmp_path)
    made.run("CREATE TABLE things (id INTEGER PRIMARY KEY, data BLOB)")
    made.ship()
    yield made
    made.close()


def test_commit_by_commit_a_copy_becomes_the_database(shipped: Shipped) -> None:
    chance = random.Random(1)
    for number in range(100):
        size = chance.randrange(3000)
        shipped.run(f"INSERT OR REPLACE INTO things VALUES ({chance.randrange(30)}, randomblob({size}))")
        if number % 7 == 0:
            shipped.connection.execute("PRAGMA user_version = 7")
            shipped.ship(all_=True)
        else:
            shipped.ship()
        shipped.check()


def test_several_commits_are_read_at_once(shipped: Shipped) -> None:
    for number in range(5):
        shipped.run(f"INSERT INTO things VALUES ({number}, zeroblob({number * 600}))")
    shipped.ship(all_=True)
    shipped.check()


def test_what_was_rolled_back_is_not_read(shipped: Shipped) -> None:
    shipped.connection.execute("PRAGMA cache_size = 1")  # pages are written before the commit
    shipped.run(*(f"INSERT INTO things VALUES ({number}, randomblob(2000))" for number in range(20)))
    shipped.ship()
    shipped.connection.execute("BEGIN")
    for _ in range(3):
        shipped.connection.execute("UPDATE things SET data = randomblob(2500)")
    shipped.connection.execute("ROLLBACK")
    shipped.run("DELETE FROM things WHERE id = 3")
    assert shipped.ship() < 20, "what is behind the commit is of the one that was rolled back"
    shipped.check()


def test_a_database_shrinks_and_grows(shipped: Shipped) -> None:
    shipped.run(*(f"INSERT INTO things VALUES ({number}, randomblob(2000))" for number in range(20)))
    shipped.ship()
    shipped.run("DELETE FROM things WHERE id > 2")
    shipped.ship()
    shipped.connection.execute("VACUUM")
    shipped.ship()
    shipped.check()
    shipped.run(*(f"INSERT INTO things VALUES ({number}, randomblob(2000))" for number in range(30, 50)))
    shipped.ship()
    shipped.check()


def test_it_goes_on_after_a_checkpoint(shipped: Shipped) -> None:
    for round_ in range(3):
        shipped.run(f"INSERT INTO things VALUES ({round_}, randomblob(3000))")
        shipped.ship()
        shipped.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shipped.ahead.cleared()
        shipped.run(f"UPDATE things SET data = randomblob(2000) WHERE id = {round_}")
        shipped.ship()
        shipped.check()


def test_a_commit_that_is_not_there_is_said(shipped: Shipped, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not have what was committed"):
        shipped.ahead.committed()
    (tmp_path / "empty-wal").touch()
    empty = WriteAheadLog(tmp_path / "empty", -1, 0)
    with pytest.raises(ValueError, match="empty after a commit"):
        empty.committed()
    empty.close()
