"""Files that are ours alone."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from oddwire.files import FileLock, open_database


def test_a_lock_names_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = FileLock(path)
    assert path.read_text() == f"{os.getpid()}\n"
    with pytest.raises(BlockingIOError) as caught:
        FileLock(path)
    assert caught.value.strerror == str(os.getpid())
    lock.release()
    lock.release()
    FileLock(path).release()


def test_a_new_database_is_private_and_writes_through(tmp_path: Path) -> None:
    path = tmp_path / "database"
    database = open_database(path)
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("PRAGMA synchronous").fetchone() == (2,)
    finally:
        database.close()


def test_another_kind_of_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("remember the milk" * 100)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        open_database(path)
    assert path.read_text() == "remember the milk" * 100


def test_where_no_file_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(NotADirectoryError):
        open_database(tmp_path / "folder" / "database")
