"""Opening the database: what is not ours, or cannot be had, is told apart."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from oddwire.errors import StoreError
from oddwire.node.store import Store as NodeStore
from oddwire.session.database import MEMORY, Database


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
    Database(str(tmp_path / "store")).close()
    Database(str(tmp_path / "store")).close()


def test_a_later_version(tmp_path: Path) -> None:
    path = tmp_path / "store"
    Database(str(path)).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 4")
    assert reason(path, "is of version 4, which a later oddwire wrote; this one reads up to 3") == "newer"


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
