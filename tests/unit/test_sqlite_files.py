"""What is told of a database that cannot be used: its file, who has it, what would be right."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from oddwire.errors import StoreError
from oddwire.sqlite_files import Place, explain, holders, is_busy

HOLDING = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
database.execute("ROLLBACK")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE t (x)")
    return tmp_path / "db"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the database, until its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        if process.stdin is not None:
            process.stdin.close()


def test_who_has_it_is_named(path: Path, holder: subprocess.Popen[str]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as database:
        with pytest.raises(sqlite3.OperationalError) as caught:
            database.execute("BEGIN IMMEDIATE")
        assert is_busy(caught.value)
        error = explain(caught.value, str(path))
    assert error.reason == "locked"
    name = f" ({Path(f'/proc/{holder.pid}/comm').read_text().strip()})" if Path("/proc/locks").exists() else ""
    who = f"process {holder.pid}{name}" if name else "another program that looks into it"
    assert str(error).startswith(f"{path} is locked by {who}; let it finish, or end it")


def test_lines_of_locks(path: Path, tmp_path: Path) -> None:
    inode = path.stat().st_ino
    locks = tmp_path / "locks"
    locks.write_text(
        f"1: POSIX  ADVISORY  WRITE 999999999 fe:01:{inode} 120 120\n"
        f"1: -> POSIX  ADVISORY  WRITE 999999998 fe:01:{inode} 120 120\n"
        f"2: POSIX  ADVISORY  READ 999999997 fe:01:{inode} 0 EOF\n"
        f"3: FLOCK  ADVISORY  WRITE 999999996 fe:01:{inode}0 0 EOF\n"
        f"4: POSIX  ADVISORY  WRITE {os.getpid()} fe:01:{inode} 120 120\n"
        "5: POSIX  ADVISORY  WRITE\n"
        "6: POSIX  ADVISORY  WRITE many where\n"
    )
    assert holders(str(path), locks) == ["process 999999999"]
    assert holders(str(path), tmp_path / "none") == []
    assert holders(str(tmp_path / "missing"), locks) == []


def test_where_it_was_is_where_it_should_be(path: Path) -> None:
    place = Place(path)
    place.check()
    away = path.rename(path.with_name("away"))
    for other in (None, b"", b"another"):
        if other is not None:
            path.write_bytes(other)
        with pytest.raises(StoreError, match="was moved, deleted or replaced while it was in use") as caught:
            place.check()
        assert (caught.value.reason, caught.value.path) == ("moved", str(path))
    away.rename(path)
    place.check()


def test_what_nobody_foresaw_is_told_as_it_is() -> None:
    error = explain(RuntimeError("surprise"), "place")
    assert (error.reason, str(error)) == ("io", "place cannot be used (surprise)")
