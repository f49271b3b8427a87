"""Stores that a plugin file has left behind are told of, whatever else lies beside a new one."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from oddwire.app.programs.orphaned_stores import Orphan, find_orphans, warn_of_orphans
from oddwire.session.store.database import Database, former_lane_of, packed

MESSAGE = "INSERT INTO oddwire_outbox VALUES (1, ?, 0.0, x'8d01')"
ROUTE = (
    "INSERT INTO oddwire_routes (id, peer, lane, epoch, start, base, next, extension) "
    "VALUES (1, zeroblob(33), ?, 7, 0, 0, 2, ?)"
)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Make a store: ``make("market", values=3, messages=2)``."""

    def make(name: str, extension: str = "ledger", values: int = 0, messages: int = 0, named: bool = True) -> Path:
        path = tmp_path / f"oddwire-{name}.sqlite3"
        Database(str(path)).close()
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            for number in range(values):
                database.execute("INSERT INTO oddwire_values VALUES (?, ?, 1, 0)", (extension, b"%d" % number))
            if messages:
                database.execute(ROUTE, (packed([former_lane_of(extension)]), extension if named else None))
            for number in range(messages):
                database.execute(MESSAGE, (number,))
        return path

    return make


@pytest.mark.parametrize("named", [True, False])
def test_values_and_messages_of_our_extensions_are_found(
    make: Callable[..., Path], tmp_path: Path, named: bool
) -> None:
    path = make("market", values=3, messages=2, named=named)
    make("other", "quotes", values=1)
    make("empty")
    before = {found.name: found.read_bytes() for found in tmp_path.iterdir()}
    found = find_orphans(tmp_path / "oddwire-shop.sqlite3", ["ledger", "chat"])
    assert found == [Orphan(path, "ledger", 3, 2)]
    assert {found.name: found.read_bytes() for found in tmp_path.iterdir()} == before


def test_what_is_sent_again_is_found_and_may_be_all(make: Callable[..., Path], tmp_path: Path) -> None:
    path = make("market")
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(
            "INSERT INTO oddwire_again (extension, peer, key, made, on_connect, force, payload) "
            "VALUES ('ledger', zeroblob(33), x'73', 0.0, 1, 0, x'8d01')"
        )
    assert find_orphans(tmp_path / "oddwire-shop.sqlite3", ["ledger"]) == [Orphan(path, "ledger", 0, 1)]


def test_what_is_still_in_the_log_of_a_store_that_was_not_closed_is_found(
    make: Callable[..., Path], tmp_path: Path
) -> None:
    path = make("market")
    killed = f"""
import os
from oddwire.session.store.database import Database
database = Database({str(path)!r})
database.writer.execute("INSERT INTO oddwire_values VALUES ('ledger', x'00', 1, 0)")
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", killed], check=True)
    assert Path(f"{path}-wal").stat().st_size
    assert find_orphans(tmp_path / "oddwire-shop.sqlite3", ["ledger"]) == [Orphan(path, "ledger", 1, 0)]


def test_what_a_program_uses_is_none(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make("market", values=3)
    monkeypatch.setattr(
        "oddwire.app.programs.orphaned_stores.holders", lambda lock: ["process 1"] * (lock == f"{path}.lock")
    )
    assert not find_orphans(tmp_path / "oddwire-shop.sqlite3", ["ledger"])


def test_what_cannot_be_read_is_left_aside(make: Callable[..., Path], tmp_path: Path) -> None:
    path = make("market", values=1)
    for name, content in (("noise", b"x" * 5000), ("nothing", b"")):
        (tmp_path / f"oddwire-{name}.sqlite3").write_bytes(content)
    (tmp_path / "oddwire-folder.sqlite3").mkdir()
    os.mkfifo(tmp_path / "oddwire-pipe.sqlite3")
    (tmp_path / "oddwire-link.sqlite3").symlink_to(path)
    with closing(sqlite3.connect(tmp_path / "oddwire-foreign.sqlite3")) as database:
        database.execute("CREATE TABLE oddwire_values (extension)")
    make("torn", values=1)
    with closing(sqlite3.connect(tmp_path / "oddwire-torn.sqlite3")) as database:
        database.execute("DROP TABLE oddwire_outbox")
    assert find_orphans(tmp_path / "oddwire-shop.sqlite3", ["ledger"]) == [Orphan(path, "ledger", 1, 0)]
    assert not find_orphans(tmp_path / "gone" / "oddwire-shop.sqlite3", ["ledger"])


def test_one_warning_says_what_is_where_and_how_it_is_moved(
    make: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = make("old", values=2), make("market", values=1, messages=2)
    os.utime(old, (1, 1))
    shop = tmp_path / "oddwire-shop.sqlite3"
    warn_of_orphans(shop, ["ledger"])
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"the store {shop} is new and empty, while {new}, which no program uses, has 1 value and 2 waiting messages of "
        f"'ledger' (there are more in {old}); if it should be here, stop this plugin and run: oddwire store move {new} "
        f"{shop} --extension ledger"
    )
