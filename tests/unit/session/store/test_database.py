"""Opening the database: what is not ours, or cannot be had, is told apart."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from oddwire.errors import StoreError
from oddwire.node.node_database import NodeDatabase as NodeStore
from oddwire.session.store.database import MEMORY, Database, former_lane_of, write_numbers


def reason(path: Path, match: str) -> str:
    with pytest.raises(StoreError, match=match) as caught:
        Database(str(path))
    assert caught.value.path == str(path)
    assert str(path) in str(caught.value)
    return caught.value.reason


def test_it_is_clean_if_it_was_closed(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    for clean in (1, 1):
        database = Database(path)
        assert database.clean == clean
        database.close()
    Database(path).abandon()  # as a crash leaves it
    database = Database(path)
    assert not database.clean
    database.close()


def test_what_was_not_committed_is_not_there(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "store"))
    database.writer.execute("BEGIN")
    database.writer.execute("INSERT INTO oddwire_values VALUES ('a', x'00', 1, 0)")
    assert database.reader.execute("SELECT count(*) FROM oddwire_values").fetchone() == (0,)
    database.close()
    database = Database(str(tmp_path / "store"))
    assert database.reader.execute("SELECT count(*) FROM oddwire_values").fetchone() == (0,)
    database.close()


def test_in_memory() -> None:
    database = Database(MEMORY)
    assert database.clean
    database.close()


def test_another_process_has_it(tmp_path: Path) -> None:
    path = tmp_path / "store"
    first = Database(str(path))
    assert reason(path, f"is in use by process {os.getpid()}; stop it, or choose another file") == "locked"
    first.close()
    Database(str(path)).close()


def test_a_text_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.write_text("remember the milk" * 1000)
    assert reason(path, "is no database; choose another file") == "foreign"
    assert path.read_text() == "remember the milk" * 1000


def test_a_database_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE notes (x)")
    path.chmod(0o600)
    assert reason(path, "is a database of another program; choose another file") == "foreign"
    NodeStore(tmp_path / "node").close()
    assert reason(tmp_path / "node", "is a database of another program") == "foreign"


def test_an_empty_database_becomes_ours(tmp_path: Path) -> None:
    (tmp_path / "store").touch(0o600)
    for is_new in (True, False):
        database = Database(str(tmp_path / "store"), number=7)
        assert (database.is_new, database.numbers) == (is_new, (7,))
        database.close()


def test_a_later_version(tmp_path: Path) -> None:
    path = tmp_path / "store"
    Database(str(path)).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 5")
    assert reason(path, "is of version 5, which a later oddwire wrote; this one reads up to 4") == "newer"


def test_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "store"
    Database(str(path)).close()
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + os.urandom(len(whole) - 100))
    assert reason(path, "is damaged; move it away, or restore it from a backup") == "corrupt"
    path.write_bytes(whole)
    Database(str(path)).close()


@pytest.mark.parametrize("place", ["missing/store", "file/store", "folder"])
def test_where_no_file_can_be(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    assert reason(tmp_path / place, "cannot be (opened|used)") == "io"


@pytest.mark.parametrize("path", ["/", ".", "a\0b"])
def test_what_is_no_path_of_a_file(path: str) -> None:
    with pytest.raises(StoreError, match="cannot be opened: should be the path of a file"):
        Database(path)


def test_a_failure_lets_others_have_it(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.write_text("remember the milk" * 1000)
    reason(path, "is no database")
    path.unlink()
    Database(str(path)).close()


# Versions before ---------------------------------------------------------------------------------------------------

ALICE = b"\x02" + b"a" * 32


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        return [*database.iterdump()]


@pytest.mark.parametrize("version", [1, 2])
def test_one_of_before_becomes_one_of_now_and_loses_nothing(tmp_path: Path, former: Any, version: int) -> None:
    path = tmp_path / "store"
    lanes = [former_lane_of(name).to_bytes(8) for name in ("shop", "chat")]
    with former(path, version) as old:
        for id_, lane in enumerate(lanes, 1):
            old.execute("INSERT INTO oddwire_routes VALUES (?, ?, ?, 5, 1, 2, 4)", (id_, ALICE, lane))
            old.execute("INSERT INTO oddwire_inbox VALUES (?, ?, 7, 8, 1)", (ALICE, lane))
            old.executemany("INSERT INTO oddwire_outbox VALUES (?, ?, 1000.0, x'8001')", [(id_, 2), (id_, 3)])
        old.execute("INSERT INTO oddwire_refusals VALUES (?, ?, 7, 8, 4, 'no')", (ALICE, lanes[0]))
        form = ", 0" if version > 1 else ""
        old.execute(f"INSERT INTO oddwire_values VALUES ('shop', x'61', 'value'{form})")
    database = Database(str(path), number=77, extensions=["shop", "other"])
    reader = database.reader
    assert database.numbers == (77,)
    assert reader.execute("SELECT id, lane, extension, epoch, start, base, next FROM oddwire_routes").fetchall() == [
        (1, lanes[0], "shop", 5, 1, 2, 4),
        (2, lanes[1], None, 5, 1, 2, 4),
    ]
    assert reader.execute("SELECT count(*), min(made) FROM oddwire_outbox").fetchone() == (4, 1000.0)
    found = reader.execute("SELECT lane, epoch, last, tries, refused FROM oddwire_inbox ORDER BY refused").fetchall()
    assert found == [(lanes[1], 7, 8, 1, 0), (lanes[0], 7, 8, 1, 1)]
    assert reader.execute("SELECT min(seen) >= 1000.0 FROM oddwire_inbox").fetchone() == (1,), "not long ago"
    assert reader.execute("SELECT extension, key, value, form FROM oddwire_values").fetchall() == [
        ("shop", b"a", "value", 0)
    ]
    database.close()
    database = Database(str(path), number=88, extensions=["chat"])  # which was not loaded before
    assert database.numbers == (77,)
    names = database.reader.execute("SELECT extension FROM oddwire_routes ORDER BY id").fetchall()
    assert names == [("shop",), ("chat",)]
    database.close()


def test_one_of_before_and_a_new_one_have_the_same_tables(tmp_path: Path, former: Any) -> None:
    for version in (1, 2, 3):
        with former(tmp_path / f"{version}", version):
            pass
    dumps = []
    for name in ("1", "2", "3", "new"):
        Database(str(tmp_path / name), number=1).close()
        dumps.append(dump(tmp_path / name))
    assert dumps[0] == dumps[1] == dumps[2] == dumps[3]


def test_one_of_version_3_keeps_its_number_and_its_lanes(tmp_path: Path, former: Any) -> None:
    path = tmp_path / "store"
    with former(path, 3) as old:
        columns = "id, peer, lane, epoch, start, base, next, extension, used"
        old.execute(
            f"INSERT INTO oddwire_routes ({columns}) VALUES (1, ?, x'0000000000000005', 5, 1, 2, 3, 'shop', 9.0)",
            (ALICE,),
        )
    database = Database(str(path), number=77)
    assert database.numbers == (1,)
    assert database.reader.execute("SELECT extension, used FROM oddwire_routes").fetchall() == [("shop", 9.0)]
    assert database.reader.execute("SELECT count(*) FROM oddwire_again").fetchone() == (0,)
    database.close()


def test_lanes_had_the_hash_of_their_extension() -> None:
    """As in databases that are out there."""
    assert former_lane_of("chat") == 0x31E06F7D89FEB99A


# Numbers -----------------------------------------------------------------------------------------------------------


def test_a_store_has_a_number_for_good(tmp_path: Path) -> None:
    for path, number in (("one", None), ("two", 2**64 - 1), ("three", 0)):
        database = Database(str(tmp_path / path), number=number)
        (found,) = numbers = database.numbers
        assert number in (None, found)
        database.close()
        database = Database(str(tmp_path / path), number=5)
        assert database.numbers == numbers
        database.abandon()
    for number, numbers in ((9, (9,)), (0, (0,))):
        with closing(Database(MEMORY, number=number)) as database:
            assert database.numbers == numbers
    with closing(Database(MEMORY)) as one, closing(Database(MEMORY)) as other:
        assert one.numbers != other.numbers


def test_of_the_numbers_of_others_the_latest_are_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    database = Database(path)
    write_numbers(database.writer, range(100, 200))
    database.close()
    database = Database(path)
    assert database.numbers == (100, *range(169, 200))
    database.close()
