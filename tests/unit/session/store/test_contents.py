"""What is in a store, read beside whatever program uses it; tests/unit/cli/test_store.py has what comes of it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from oddwire.errors import StoreError
from oddwire.session.store.contents import contents_of, owners_of
from oddwire.session.store.database import Database, former_lane_of

PEER = b"\x02" + b"p" * 32


@pytest.mark.parametrize("version", [1, 2])
def test_one_of_an_earlier_version_is_left_as_it_is(tmp_path: Path, former: Any, version: int) -> None:
    path = tmp_path / "store"
    with former(path, version) as old:
        form = ", 0" if version > 1 else ""
        old.execute(f"INSERT INTO oddwire_values VALUES ('shop', x'61', 'value'{form})")
        for id_, name in enumerate(("shop", "chat"), 1):
            row = (id_, PEER, former_lane_of(name).to_bytes(8))
            old.execute("INSERT INTO oddwire_routes VALUES (?, ?, ?, 5, 1, 2, 3)", row)
            old.execute("INSERT INTO oddwire_outbox VALUES (?, 2, 1000.0, x'8001')", (id_,))
    found = contents_of(path)
    assert (found["version"], found["numbers"], found["moving_to"]) == (version, [], [])
    assert found["extensions"]["shop"]["messages"] == found["extensions"][""]["messages"] == 1
    assert [lane["extension"] for lane in found["waiting"]] == ["shop", None]
    with closing(sqlite3.connect(path)) as old:
        assert old.execute("PRAGMA user_version").fetchone() == (version,)


def test_one_of_version_3_has_nothing_that_is_sent_again(tmp_path: Path, former: Any) -> None:
    path = tmp_path / "store"
    with former(path, 3) as old:
        old.execute("INSERT INTO oddwire_values VALUES ('shop', x'61', 'value', 0)")
    found = contents_of(path)
    assert (found["version"], found["again"]) == (3, [])
    assert found["extensions"]["shop"]["values"] == 1


def test_what_is_sent_again_is_told_by_peer_and_extension(tmp_path: Path) -> None:
    path = tmp_path / "store"
    Database(str(path)).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        for extension, key, age in (("shop", b"s1", 60), ("shop", b"s2", 90), ("chat", b"s1", 120)):
            database.execute(
                "INSERT INTO oddwire_again (extension, peer, key, made, on_connect, force, payload) "
                "VALUES (?, ?, ?, strftime('%s', 'now') - ?, 1, 0, x'8e0101')",
                (extension, PEER, key, age),
            )
    found = contents_of(path)
    rows = [(row["extension"], row["peer"], row["messages"], row["bytes"]) for row in found["again"]]
    assert rows == [("chat", PEER.hex(), 1, 3), ("shop", PEER.hex(), 2, 6)]
    assert [round(row["seconds"] / 30) for row in found["again"]] == [4, 3], "the oldest of each"
    assert {name: held["messages"] for name, held in found["extensions"].items()} == {"chat": 1, "shop": 2}


def test_nothing_is_left_behind_and_nothing_changed(tmp_path: Path) -> None:
    path = tmp_path / "store"
    Database(str(path)).close()
    (tmp_path / "store.lock").unlink()
    before = path.read_bytes()
    assert contents_of(path)["extensions"] == {}
    assert os.listdir(tmp_path) == ["store"]  # noqa: PTH208
    assert path.read_bytes() == before


def test_one_that_is_empty_or_none(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.touch()
    assert contents_of(path)["version"] == 0
    for content, reason in ((b"remember the milk" * 99, "foreign"), (None, "missing")):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        with pytest.raises(StoreError) as caught:
            contents_of(path)
        assert caught.value.reason == reason


def test_who_may_only_read_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, connect = tmp_path / "store", sqlite3.connect

    def refuse(where: str, **options: Any) -> sqlite3.Connection:
        if "mode=rw" in where:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(where, **options)

    database = Database(str(path))
    monkeypatch.setattr(sqlite3, "connect", refuse)
    assert contents_of(path)["version"] == 4
    database.close()


def test_whose_a_table_may_be() -> None:
    names = ["shop", "my-shop", "my"]
    assert [owners_of(table, names) for table in ("shop_a", "MY_SHOP_a", "my_b", "shopping", "b")] == [
        ["shop"],
        ["my-shop", "my"],
        ["my"],
        [],
        [],
    ]
