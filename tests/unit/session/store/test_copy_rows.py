"""Copying what is to move from one store into another."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from oddwire.session.store.copy_rows import (
    What,
    drop_tables,
    quoted,
    take_again,
    take_lanes,
    take_records,
    take_tables,
    take_values,
)
from oddwire.session.store.database import Database, former_lane_of, packed

ALL = What((), (), True)
SHOP = What(("shop",), ("shop_orders",), False)
PEER = b"\x02" * 33
ROUTE = "INSERT INTO {}.oddwire_routes (id, peer, lane, epoch, start, base, next, extension, used) VALUES "
RECORD = "INSERT INTO {}.oddwire_inbox (peer, lane, epoch, last, tries, seen, refused) VALUES (?, ?, ?, ?, 0, ?, ?)"


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    Database(str(tmp_path / "source")).close()
    database = Database(str(tmp_path / "target"))
    database.writer.execute("ATTACH ? AS source", (str(tmp_path / "source"),))
    yield database.writer
    database.close()


def lane(
    writer: sqlite3.Connection, where: str, number: int, extension: str | None, *messages: bytes, id_: int = 1
) -> None:
    row = (id_, PEER, packed([number]), 7, 0, 3, 3 + len(messages), extension, 100.0)
    writer.execute(ROUTE.format(where) + f"({', '.join('?' * len(row))})", row)
    for place, payload in enumerate(messages, 3):
        writer.execute(f"INSERT INTO {where}.oddwire_outbox VALUES (?, ?, 100.0, ?)", (id_, place, payload))


def test_values_take_the_place_of_those_that_are_there(writer: sqlite3.Connection) -> None:
    for where, extension, key, value in (
        ("source", "shop", b"a", 1),
        ("source", "chat", b"b", 2),
        ("main", "shop", b"c", 3),
        ("main", "echo", b"d", 4),
    ):
        writer.execute(f"INSERT INTO {where}.oddwire_values VALUES (?, ?, ?, 0)", (extension, key, value))
    assert take_values(writer, SHOP) == 1
    kept = "SELECT extension, value FROM main.oddwire_values ORDER BY value"
    assert writer.execute(kept).fetchall() == [("shop", 1), ("echo", 4)]
    assert take_values(writer, ALL) == 2
    assert writer.execute(kept).fetchall() == [("shop", 1), ("chat", 2), ("echo", 4)]


def test_tables_come_with_all_that_is_made_of_them(writer: sqlite3.Connection) -> None:
    writer.executescript(
        """
        CREATE TABLE source.shop_orders (id INTEGER PRIMARY KEY AUTOINCREMENT, rowid TEXT, twice AS (id * 2));
        INSERT INTO source.shop_orders (id, rowid) VALUES (5, 'five'), (9, 'nine');
        DELETE FROM source.shop_orders WHERE id = 9;
        CREATE INDEX source.shop_by_text ON shop_orders (rowid);
        CREATE TRIGGER source.shop_no_more BEFORE DELETE ON shop_orders BEGIN SELECT raise(ABORT, 'no'); END;
        CREATE TABLE source.chat_lines (line);
        CREATE TABLE main.shop_orders (other);
        """
    )
    take_tables(writer, ["shop_orders"])
    assert writer.execute("SELECT * FROM main.shop_orders").fetchall() == [(5, "five", 10)]
    names = {name for (name,) in writer.execute("SELECT name FROM main.sqlite_master WHERE name NOT LIKE 'oddwire%'")}
    assert {"shop_orders", "shop_by_text", "shop_no_more"} <= names
    assert "chat_lines" not in names
    writer.execute("INSERT INTO main.shop_orders (rowid) VALUES ('next')")
    assert writer.execute("SELECT max(id) FROM main.shop_orders").fetchone() == (10,), "numbers are not used twice"


def test_rows_keep_their_numbers_if_they_have_any(writer: sqlite3.Connection) -> None:
    writer.executescript(
        """
        CREATE TABLE source.shop_a (x); INSERT INTO source.shop_a (rowid, x) VALUES (41, 'x');
        CREATE TABLE source.shop_b (x PRIMARY KEY) WITHOUT ROWID; INSERT INTO source.shop_b VALUES ('y');
        """
    )
    take_tables(writer, ["shop_a", "SHOP_B"])
    assert writer.execute("SELECT rowid, x FROM main.shop_a").fetchall() == [(41, "x")]
    assert writer.execute("SELECT x FROM main.shop_b").fetchall() == [("y",)]


def test_tables_and_views_are_dropped_as_far_as_they_are_there(writer: sqlite3.Connection) -> None:
    writer.executescript('CREATE TABLE main."a ""b" (x); CREATE VIEW main.Seen AS SELECT 1; CREATE TABLE main.kept (x)')
    drop_tables(writer, ['a "b', "seen", "nothing"])
    left = {name for (name,) in writer.execute("SELECT name FROM main.sqlite_master")}
    assert "kept" in left
    assert not left & {'a "b', "Seen"}


def test_lanes_come_with_their_messages_and_their_ages(writer: sqlite3.Connection) -> None:
    lane(writer, "main", 50, "echo", b"there", id_=8)
    lane(writer, "source", 100, "shop", b"one", b"two")
    lane(writer, "source", 200, "chat", b"three", id_=2)
    lane(writer, "source", former_lane_of("shop"), None, b"old", id_=3)
    assert take_lanes(writer, SHOP, 50.0) == (2, 3, 0)
    rows = writer.execute("SELECT id, lane, used FROM main.oddwire_routes ORDER BY id").fetchall()
    old = packed([former_lane_of("shop")])
    assert rows == [(8, packed([50]), 100.0), (9, packed([100]), 150.0), (10, old, 150.0)]
    messages = writer.execute("SELECT route, made, payload FROM main.oddwire_outbox ORDER BY route, number").fetchall()
    assert messages == [(8, 100.0, b"there"), (9, 150.0, b"one"), (9, 150.0, b"two"), (10, 150.0, b"old")]


@pytest.mark.parametrize(
    ("ours", "theirs", "taken", "left"),
    [
        ((), (), (0, 0, 0), {100: 0}),
        ((b"a",), (), (0, 0, 0), {100: 1}),
        ((), (b"b",), (1, 1, 0), {100: 1}),
        ((b"a",), (b"b", b"c"), (1, 2, 1), {100: 1, None: 2}),
    ],
)
def test_two_lanes_of_one_number_get_two_numbers_only_if_both_have_messages(
    writer: sqlite3.Connection,
    ours: tuple[bytes, ...],
    theirs: tuple[bytes, ...],
    taken: tuple[int, int, int],
    left: dict[int | None, int],
) -> None:
    lane(writer, "main", 100, "shop", *ours)
    lane(writer, "source", 100, "shop", *theirs)
    assert take_lanes(writer, ALL, 0.0) == taken
    found = writer.execute(
        "SELECT lane, (SELECT count(*) FROM main.oddwire_outbox WHERE route = id) FROM main.oddwire_routes"
    ).fetchall()
    assert {100 if number == packed([100]) else None: count for number, count in found} == left
    assert len(found) == len(left)


def again(writer: sqlite3.Connection, where: str, extension: str, key: bytes, made: float, payload: bytes) -> None:
    writer.execute(
        f"INSERT INTO {where}.oddwire_again VALUES (?, ?, ?, ?, 10.0, 60.0, 1, 0, ?, ?)",
        (extension, PEER, key, made, key, payload),
    )


def test_messages_sent_again_come_with_their_ages_and_of_two_the_newer_stays(writer: sqlite3.Connection) -> None:
    again(writer, "source", "shop", b"s1", 100.0, b"new")
    again(writer, "source", "shop", b"s2", 100.0, b"old")
    again(writer, "source", "shop", b"s3", 100.0, b"alone")
    again(writer, "source", "chat", b"s1", 100.0, b"chat")
    again(writer, "main", "shop", b"s1", 104.0, b"former")
    again(writer, "main", "shop", b"s2", 106.0, b"newer")
    assert take_again(writer, SHOP, 5.0) == 2
    rows = writer.execute("SELECT key, made, every, until, matched, payload FROM main.oddwire_again").fetchall()
    assert rows == [
        (b"s1", 105.0, 10.0, 60.0, b"s1", b"new"),
        (b"s2", 106.0, 10.0, 60.0, b"s2", b"newer"),
        (b"s3", 105.0, 10.0, 60.0, b"s3", b"alone"),
    ]
    assert take_again(writer, ALL, 0.0) == 1, "of all only chat's is new"


def test_records_come_where_they_are_further(writer: sqlite3.Connection) -> None:
    def record(where: str, number: int, epoch: int, last: int, seen: float, *refused: int) -> None:
        writer.execute(RECORD.format(where), (PEER, packed([number]), epoch, last, seen, len(refused)))
        for sequence in refused:
            row = (PEER, packed([number]), epoch, sequence, 4, where)
            writer.execute(f"INSERT INTO {where}.oddwire_refusals VALUES (?, ?, ?, ?, ?, ?)", row)

    record("source", 1, 7, 9, 10.0, 3)  # new
    record("source", 2, 7, 9, 10.0, 3, 4)  # further
    record("main", 2, 7, 8, 90.0, 3)
    record("source", 3, 7, 9, 10.0)  # behind
    record("main", 3, 7, 10, 20.0)
    record("source", 4, 8, 1, 10.0)  # a later epoch
    record("main", 4, 7, 50, 20.0, 6)
    assert take_records(writer, 5.0) == 3
    rows = writer.execute("SELECT epoch, last, seen, refused FROM main.oddwire_inbox ORDER BY lane").fetchall()
    assert rows == [(7, 9, 15.0, 1), (7, 9, 90.0, 2), (7, 10, 20.0, 0), (8, 1, 20.0, 0)]
    told = writer.execute("SELECT lane, sequence, text FROM main.oddwire_refusals ORDER BY lane, sequence").fetchall()
    assert told == [(packed([1]), 3, "source"), (packed([2]), 3, "main"), (packed([2]), 4, "source")]


def test_a_name_is_quoted_whatever_is_in_it(writer: sqlite3.Connection) -> None:
    name = 'x"; DROP TABLE oddwire_values; --'
    writer.execute(f"CREATE TABLE main.{quoted(name)} (y)")
    assert writer.execute("SELECT count(*) FROM main.sqlite_master WHERE name = ?", (name,)).fetchone() == (1,)
