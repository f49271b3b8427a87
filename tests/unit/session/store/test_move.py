"""Moving what extensions keep from one store to another: all of it is in one of them, whatever happens on the way."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from oddwire.errors import StoreError
from oddwire.session.store.database import MEMORY, Database, former_lane_of, packed
from oddwire.session.store.move import Moved, move, undo_moves
from oddwire.session.store.unit import Store

ALICE, BOB = (b"\x02" + name * 32 for name in (b"a", b"b"))
NOW = 1_800_000_000.0


class Place:
    """A store's file, with what a test puts into it and reads of it."""

    def __init__(self, path: Path, number: int) -> None:
        self.path = path
        Database(str(path), number=number).close()

    def do(self, *statements: tuple[str, tuple[Any, ...]] | str) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            for statement in statements:
                sql, parameters = (statement, ()) if isinstance(statement, str) else statement
                database.execute(sql, parameters)

    def read(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as database:
            return database.execute(sql, parameters).fetchall()

    def value(self, extension: str, key: str, value: object) -> None:
        sql = "INSERT OR REPLACE INTO oddwire_values VALUES (?, ?, ?, 0)"
        self.do((sql, (extension, key.encode(), value)))

    def lane(
        self, extension: str | None, lane: int, *messages: bytes, peer: bytes = BOB, known: int | None = None
    ) -> None:
        """A lane of epoch 7, of which two messages are settled, and these wait."""
        (last,) = self.read("SELECT coalesce(max(id), 0) FROM oddwire_routes")[0]
        program, stores = (None, None) if known is None else (packed([known]), packed([known + 1, known + 2]))
        row = (last + 1, peer, packed([lane]), 7, 0, 3, 3 + len(messages), extension, program, stores, NOW)
        columns = "id, peer, lane, epoch, start, base, next, extension, program, stores, used"
        self.do((f"INSERT INTO oddwire_routes ({columns}) VALUES ({', '.join('?' * 11)})", row))
        for number, message in enumerate(messages, 3):
            self.do(("INSERT INTO oddwire_outbox VALUES (?, ?, ?, ?)", (last + 1, number, NOW, message)))

    def again(self, extension: str, key: str, *, made: float = NOW, peer: bytes = BOB) -> None:
        """A message that is sent again."""
        row = (extension, peer, key.encode(), made, 10.0, 1, 0, b"again " + key.encode())
        columns = "extension, peer, key, made, every, on_connect, force, payload"
        self.do((f"INSERT INTO oddwire_again ({columns}) VALUES ({', '.join('?' * 8)})", row))

    @property
    def kept(self) -> list[tuple[str, str]]:
        """The extensions and keys of what is sent again."""
        rows = self.read("SELECT extension, key FROM oddwire_again ORDER BY extension, key")
        return [(extension, key.decode()) for extension, key in rows]

    def record(self, lane: int, epoch: int, last: int, *refused: int, peer: bytes = BOB) -> None:
        """How far a peer's lane is, and what was refused on it."""
        row = (peer, packed([lane]), epoch, last, 0, NOW, len(refused))
        columns = "peer, lane, epoch, last, tries, seen, refused"
        self.do((f"INSERT INTO oddwire_inbox ({columns}) VALUES ({', '.join('?' * 7)})", row))
        for sequence in refused:
            row = (peer, packed([lane]), epoch, sequence, 4, f"no {sequence}")
            self.do(("INSERT INTO oddwire_refusals VALUES (?, ?, ?, ?, ?, ?)", row))

    @property
    def values(self) -> dict[tuple[str, str], Any]:
        rows = self.read("SELECT extension, key, value FROM oddwire_values")
        return {(extension, key.decode()): value for extension, key, value in rows}

    @property
    def lanes(self) -> list[tuple[Any, ...]]:
        """Extension, lane, epoch, the sequence of the first message that waits, and those messages."""
        found = []
        rows = self.read("SELECT id, extension, lane, epoch, start, base FROM oddwire_routes ORDER BY extension, id")
        for id_, extension, lane, epoch, start, base in rows:
            messages = self.read("SELECT payload FROM oddwire_outbox WHERE route = ? ORDER BY number", id_)
            number = int.from_bytes(lane)
            found.append((extension, number, epoch, base - start, b" ".join(payload for (payload,) in messages)))
        return found

    @property
    def records(self) -> dict[int, tuple[int, int, tuple[int, ...]]]:
        rows = self.read("SELECT lane, epoch, last, refused FROM oddwire_inbox")
        found = {}
        for lane, epoch, last, refused in rows:
            told = self.read("SELECT sequence FROM oddwire_refusals WHERE lane = ? ORDER BY sequence", lane)
            assert len(told) == refused
            found[int.from_bytes(lane)] = (epoch, last, tuple(sequence for (sequence,) in told))
        return found

    @property
    def numbers(self) -> list[int]:
        return [int.from_bytes(number) for (number,) in self.read("SELECT number FROM oddwire_stores ORDER BY place")]

    @property
    def tables(self) -> list[str]:
        rows = self.read("SELECT name FROM sqlite_master WHERE name NOT LIKE 'oddwire%' AND name NOT LIKE 'sqlite%'")
        return sorted(name for (name,) in rows)

    def content(self) -> tuple[Any, ...]:
        """All that a move changes but the numbers."""
        tables = {name: self.read(f'SELECT rowid, * FROM "{name}"') for name in self.tables if name.endswith("_t")}
        return self.values, [*self.lanes, *self.kept], self.records, tables


def use(path: Path) -> None:
    """Open a store and close it, as a program does."""

    async def main() -> None:
        store = Store(path)
        await store.open()
        await store.aclose()

    asyncio.run(main())


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Place, Place]:
    """One with something of shop and chat, and another, with something of chat."""
    one, two = Place(tmp_path / "one", 1), Place(tmp_path / "two", 2)
    one.value("shop", "a", "apples")
    one.value("shop", "b", 5)
    one.value("chat", "a", b"hello")
    one.lane("shop", 11, b"m1", b"m2", known=70)
    one.lane("shop", 12, peer=ALICE)
    one.lane("chat", 13, b"m3")
    one.again("shop", "k1")
    one.again("shop", "k2", peer=ALICE)
    one.again("chat", "k1")
    one.record(21, 5, 9, 8, 9)
    one.record(22, 5, 4)
    one.do(
        "CREATE TABLE shop_t (name TEXT, size INTEGER, double AS (size * 2) STORED, rowid TEXT DEFAULT 'x')",
        "INSERT INTO shop_t (_rowid_, name, size) VALUES (7, 'seven', 1), (9, 'nine', 2)",
        "CREATE TABLE shop_counted (id INTEGER PRIMARY KEY AUTOINCREMENT, x)",
        "INSERT INTO shop_counted VALUES (1, 1), (90, 2)",
        "DELETE FROM shop_counted WHERE id = 90",
        "CREATE TABLE shop_bare (a TEXT, b TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID",
        "INSERT INTO shop_bare VALUES ('a', 'b')",
        "CREATE INDEX shop_by_name ON shop_t (name) WHERE size > 1",
        "CREATE VIEW shop_view AS SELECT name FROM shop_t",
        "CREATE TRIGGER shop_trigger AFTER INSERT ON shop_t BEGIN INSERT INTO shop_bare VALUES (new.name, 't'); END",
        "CREATE TABLE chat_t (x)",
    )
    two.value("other", "a", 1)
    two.lane("other", 31, b"m4")
    two.record(41, 1, 1)
    return one, two


def test_one_extension_moves_with_all_that_is_its_and_the_records_are_copied(stores: tuple[Place, Place]) -> None:
    one, two = stores
    records = one.records
    moved = move(one.path, two.path, ["shop"])
    assert moved == Moved(("shop",), 2, ("shop_bare", "shop_counted", "shop_t", "shop_view"), 2, 2, 0, 2, again=2)
    assert (one.kept, two.kept) == ([("chat", "k1")], [("shop", "k1"), ("shop", "k2")])
    assert one.values == {("chat", "a"): b"hello"}
    assert two.values == {("shop", "a"): "apples", ("shop", "b"): 5, ("other", "a"): 1}
    assert one.lanes == [("chat", 13, 7, 3, b"m3")]
    assert two.lanes == [("other", 31, 7, 3, b"m4"), ("shop", 11, 7, 3, b"m1 m2"), ("shop", 12, 7, 3, b"")]
    known = two.read("SELECT program, stores FROM oddwire_routes WHERE program IS NOT NULL")
    assert known == [(packed([70]), packed([71, 72]))]
    assert one.records == records
    assert two.records == {**records, 41: (1, 1, ())}
    assert one.numbers == [1]
    assert two.numbers == [2, 1]
    assert one.tables == ["chat_t"]
    assert two.tables == [
        "shop_bare", "shop_by_name", "shop_counted", "shop_t", "shop_trigger", "shop_view"
    ]  # fmt: skip
    assert two.read("SELECT _rowid_, name, size, double, rowid FROM shop_t") == [
        (7, "seven", 1, 2, "x"),
        (9, "nine", 2, 4, "x"),
    ]
    assert two.read("SELECT * FROM shop_bare") == [("a", "b")], "no trigger has run"
    two.do("INSERT INTO shop_counted (x) VALUES (3)", "INSERT INTO shop_t (name) VALUES ('ten')")
    assert two.read("SELECT max(id) FROM shop_counted") == [(91,)], "no number comes twice"
    assert two.read("SELECT count(*) FROM shop_bare") == [(2,)]
    for place in stores:
        assert place.read("SELECT count(*) FROM oddwire_moves") == [(0,)]
        use(place.path)


def test_all_of_it_moves_and_leaves_an_empty_store_of_another_number(stores: tuple[Place, Place]) -> None:
    one, two = stores
    content = one.content()
    moved = move(one.path, two.path)
    assert (moved.extensions, moved.values, moved.lanes, moved.messages, moved.records) == (
        ("chat", "shop"),
        3,
        3,
        3,
        2,
    )
    assert one.content() == ({}, [], {}, {})
    [number] = one.numbers
    assert number not in (1, 2)
    assert two.numbers == [2, 1]
    move(two.path, one.path)
    assert one.numbers == [number, 2, 1]
    values, lanes, records, tables = one.content()
    assert values == {**content[0], ("other", "a"): 1}
    assert lanes == [content[1][0], ("other", 31, 7, 3, b"m4"), *content[1][1:]]
    assert lanes[-3:] == [("chat", "k1"), ("shop", "k1"), ("shop", "k2")]
    assert records == {**content[2], 41: (1, 1, ())}
    assert tables == content[3]


def test_there_and_back_it_is_as_it_was(stores: tuple[Place, Place]) -> None:
    one, two = stores
    content = one.content()
    move(one.path, two.path, ["shop", "chat"])
    two.do("UPDATE oddwire_inbox SET last = 20 WHERE lane = x'0000000000000016'")
    move(two.path, one.path, ["chat", "shop"])
    values, lanes, records, tables = one.content()
    assert (values, lanes, tables) == (content[0], content[1], content[3])
    assert records == {**content[2], 22: (5, 20, ()), 41: (1, 1, ())}
    assert one.numbers == [1, 2]
    assert two.values == {("other", "a"): 1}


def test_a_new_store_is_made(stores: tuple[Place, Place], tmp_path: Path) -> None:
    one, _ = stores
    content = one.content()
    move(one.path, tmp_path / "new")
    Place(tmp_path / "new", 0)
    new = Place(tmp_path / "new", 0)
    assert new.content() == content
    assert new.numbers[1:] == [1]


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        ((5, 9, 8, 9), (5, 4, 2), (5, 9, (2, 8, 9))),
        ((5, 4, 2), (5, 9, 8, 9), (5, 9, (8, 9))),
        ((6, 1), (5, 9, 8, 9), (6, 1, ())),
        ((4, 99, 98), (5, 9, 8), (5, 9, (8,))),
        ((5, 9, 8), (5, 9, 9), (5, 9, (8, 9))),
    ],
    ids=repr,
)
def test_of_two_records_that_which_is_further_stays(
    stores: tuple[Place, Place], here: tuple[int, ...], there: tuple[int, ...], expected: tuple[Any, ...]
) -> None:
    one, two = stores
    one.record(50, *here)
    two.record(50, *there)
    move(one.path, two.path, ["shop"])
    assert two.records[50] == expected


def test_lanes_of_one_number_in_both(stores: tuple[Place, Place]) -> None:
    """Of copies, or of version 2, where they had the hash of their extension."""
    one, two = stores
    for lane in (61, 62, 63):
        one.lane("shop", lane, *([b"from"] if lane != 62 else []))
        two.lane("shop", lane, *([b"to"] if lane != 61 else []))
    assert move(one.path, two.path, ["shop"]).renumbered == 1
    found = [lane for lane in two.lanes if lane[0] == "shop" and lane[1] not in (11, 12)]
    assert found[:3] == [("shop", 62, 7, 3, b"to"), ("shop", 63, 7, 3, b"to"), ("shop", 61, 7, 3, b"from")]
    [(_, number, _, sequence, messages)] = found[3:]
    assert number not in (61, 62, 63)
    assert (sequence, messages) == (1, b"from")


def test_lanes_of_before_that_do_not_say_whose_they_are(stores: tuple[Place, Place]) -> None:
    one, two = stores
    for name in ("shop", "chat"):
        one.lane(None, former_lane_of(name), name.encode())
    move(one.path, two.path, ["shop"])
    assert ("shop", former_lane_of("shop"), 7, 3, b"shop") in two.lanes
    assert [lane[1] for lane in one.lanes] == [former_lane_of("chat"), 13]
    move(one.path, two.path)
    assert (None, former_lane_of("chat"), 7, 3, b"chat") in two.lanes


def test_times_are_those_of_the_clock_there(stores: tuple[Place, Place]) -> None:
    one, two = stores
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for place, seconds in ((one, 1_000_000.0), (two, 9_000_000.0)):
        place.do(("INSERT INTO oddwire_clock VALUES (1, ?, 0, ?, 0)", (seconds, boot)))
        place.do(f"UPDATE oddwire_outbox SET made = {seconds - 50}", f"UPDATE oddwire_inbox SET seen = {seconds - 60}")
        place.do(f"UPDATE oddwire_routes SET used = {seconds - 70}", f"UPDATE oddwire_again SET made = {seconds - 40}")
    move(one.path, two.path)
    columns = (("outbox", "made", 50), ("inbox", "seen", 60), ("routes", "used", 70), ("again", "made", 40))
    for table, column, age in columns:
        times = [time for (time,) in two.read(f"SELECT {column} FROM oddwire_{table}")]
        assert times == [pytest.approx(9_000_000.0 - age, abs=1.0)] * len(times)


def test_what_was_not_closed_is_careful_there_too(stores: tuple[Place, Place]) -> None:
    one, two = stores
    one.do("UPDATE oddwire_state SET clean = 0")
    move(one.path, two.path, ["chat"])
    assert [place.read("SELECT clean FROM oddwire_state") for place in stores] == [[(0,)], [(0,)]]


# What is refused ---------------------------------------------------------------------------------------------------


def refused(match: str, *arguments: Any, **options: Any) -> str:
    with pytest.raises(StoreError, match=match) as caught:
        move(*arguments, **options)
    return caught.value.reason


def test_what_cannot_be_moved_is_left_alone(stores: tuple[Place, Place], tmp_path: Path) -> None:
    one, two = stores
    before = [place.content() for place in stores]
    assert refused("there is no store at .*nowhere", tmp_path / "nowhere", two.path) == "missing"
    assert refused("there is no store at", tmp_path, two.path) == "missing"
    assert refused("a store in memory is gone with its process", MEMORY, two.path) == "missing"
    (tmp_path / "link").symlink_to(one.path)
    for other in (one.path, tmp_path / "link", tmp_path / "." / "one"):
        assert refused("are the same store", one.path, other) == "same"
    assert (
        refused("has nothing of 'shopp'; it has something of 'chat', 'shop'", one.path, two.path, ["shopp"])
        == "unknown"
    )
    for place in stores:
        database = Database(str(place.path))
        assert refused(f"is in use by process {os.getpid()}", one.path, two.path) == "locked"
        database.close()
    (tmp_path / "text").write_text("remember the milk")
    assert refused("is no database; choose another file", one.path, tmp_path / "text") == "foreign"
    two.do("PRAGMA user_version = 99")
    assert refused("is of version 99, which a later oddwire wrote", one.path, two.path) == "newer"
    two.do("PRAGMA user_version = 3")
    assert refused("cannot be opened", one.path, tmp_path / "missing" / "two") == "io"
    assert [place.content() for place in stores] == before
    assert one.read("SELECT count(*) FROM oddwire_moves") == [(0,)]


def test_what_is_refused_makes_no_file(stores: tuple[Place, Place], tmp_path: Path) -> None:
    one = stores[0]
    (tmp_path / "text").write_text("remember the milk")
    before = {path.name for path in tmp_path.iterdir()}
    assert refused("has nothing of 'shopp'", one.path, tmp_path / "three", ["shopp"]) == "unknown"
    assert refused("extensions have never stored anything", tmp_path / "nowhere", tmp_path / "three") == "missing"
    assert refused("is no database", one.path, tmp_path / "text") == "foreign"
    assert refused("is no database", tmp_path / "text", tmp_path / "three") == "foreign"
    database = Database(str(one.path))
    during = {path.name for path in tmp_path.iterdir()}
    assert refused("is in use", one.path, tmp_path / "three") == "locked"
    assert {path.name for path in tmp_path.iterdir()} == during
    database.close()
    assert {path.name for path in tmp_path.iterdir()} == before
    assert move(one.path, tmp_path / "three", ["shop"]).made
    assert not move(one.path, stores[1].path, ["chat"]).made


def test_what_is_there_already_is_replaced_only_if_that_is_wanted(stores: tuple[Place, Place]) -> None:
    one, two = stores
    two.value("shop", "c", "cherries")
    two.do("CREATE TABLE SHOP_T (y)", "INSERT INTO shop_t VALUES (1)", "CREATE TABLE shop_bare (z)")
    text = (
        r"two has 1 values of 'shop', table SHOP_T already; --replace puts those of .*one in their place, and deletes"
    )
    assert refused(text, one.path, two.path, ["shop"]) == "taken"
    assert two.values[("shop", "c")] == "cherries"
    move(one.path, two.path, ["chat"])
    move(one.path, two.path, ["shop"], replace=True)
    assert {key for extension, key in two.values if extension == "shop"} == {"a", "b"}
    assert two.read("SELECT name FROM shop_t") == [("seven",), ("nine",)]


def test_tables_that_are_empty_are_in_nobodys_way(stores: tuple[Place, Place]) -> None:
    one, two = stores
    two.do("CREATE TABLE shop_t (name TEXT)")
    move(one.path, two.path, ["shop"])
    assert two.read("SELECT count(*) FROM shop_t") == [(2,)]


def test_a_table_that_may_be_of_two_moves_with_both(stores: tuple[Place, Place]) -> None:
    one, two = stores
    one.value("shop-counted", "a", 1)
    one.do("CREATE TABLE shop_counted_t (x)")
    text = "table shop_counted.* may be of '[a-z-]*' or of '[a-z-]*', by its name: both should be moved"
    for name in ("shop", "shop-counted"):
        assert refused(text, one.path, two.path, [name]) == "taken"
    move(one.path, two.path, ["shop", "shop-counted"])
    assert "shop_counted_t" in two.tables


def test_an_extension_with_nothing_but_tables(stores: tuple[Place, Place]) -> None:
    one, two = stores
    one.do("CREATE TABLE books_t (x)", "INSERT INTO books_t VALUES (1)")
    move(one.path, two.path, ["books"])
    assert two.read("SELECT * FROM books_t") == [(1,)]
    assert "books_t" not in one.tables


def test_a_full_disk_moves_nothing(stores: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = stores
    for number in range(100):
        one.value("shop", f"{number}", bytes(1000))
    before = [place.content() for place in stores]

    class Full(Database):
        def __init__(self, path: str, **options: Any) -> None:
            super().__init__(path, **options)
            if path.endswith("two"):
                (pages,) = self.writer.execute("PRAGMA page_count").fetchone()
                self.writer.execute(f"PRAGMA max_page_count = {pages}")

    monkeypatch.setattr("oddwire.session.store.move.Database", Full)
    assert refused("two has no room", one.path, two.path, ["shop"]) == "full"
    monkeypatch.undo()
    use(one.path)
    assert [place.content() for place in stores] == before
    move(one.path, two.path, ["shop"])


# Killed on the way -------------------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


def kill_at(step: int) -> Any:
    def check(done: int) -> None:
        if done == step:
            raise Killed

    return check


@pytest.mark.parametrize("extensions", [["shop"], ["chat", "shop"], None], ids=["one", "both", "all"])
@pytest.mark.parametrize("step", [1, 2, 3, 4])
@pytest.mark.parametrize("then", ["again", "source first", "target first", "elsewhere"])
def test_it_is_all_in_one_of_the_two_wherever_it_was_killed(
    stores: tuple[Place, Place], tmp_path: Path, step: int, extensions: list[str] | None, then: str
) -> None:
    one, two = stores
    content = [place.content() for place in stores]
    copies = [Place(tmp_path / name, 0) for name in ("three", "four")]
    for place, copy in zip(stores, copies, strict=True):
        copy.path.write_bytes(place.path.read_bytes())
    move(copies[0].path, copies[1].path, extensions)
    expected = [place.content() for place in copies]
    with pytest.raises(Killed):
        move(one.path, two.path, extensions, step=kill_at(step))
    if then == "again":
        moved = move(one.path, two.path, extensions)
        assert moved.finished == (step == 2 or (step > 2 and extensions is not None))
        assert [place.content() for place in stores] == expected
        return
    if then == "elsewhere":
        new = Place(tmp_path / "new", 3)
        if step == 1:
            move(one.path, new.path, extensions)
            assert new.values.items() >= {("shop", "a"): "apples"}.items()
        elif extensions is None:
            move(one.path, new.path)
            assert new.values == {}
        elif step == 2:
            assert move(one.path, new.path, extensions).finished
            assert new.values == {}
        else:
            assert refused("has nothing of", one.path, new.path, extensions) == "unknown"
        return
    for place in stores if then == "source first" else reversed(stores):
        use(place.path)
    assert [place.content() for place in stores] == (content if step == 1 else expected)
    assert one.read("SELECT count(*) FROM oddwire_moves") == [(0,)]
    assert two.numbers == ([2] if step == 1 else [2, 1])


def test_when_it_cannot_be_seen_whether_it_has_arrived_nothing_is_used(
    stores: tuple[Place, Place], tmp_path: Path
) -> None:
    one, two = stores
    before = one.content()
    for step in (1, 2):
        with pytest.raises(Killed):
            move(one.path, two.path, ["shop"], step=kill_at(step))
        two.path.rename(tmp_path / "away")
        with pytest.raises(
            StoreError, match=r"may be in either, and .*two cannot be read .*: oddwire store recover"
        ) as caught:
            use(one.path)
        assert caught.value.reason == "unfinished"
        assert one.content() == before
        (tmp_path / "away").rename(two.path)
        use(one.path)
        assert (one.content() == before) == (step == 1)
    move(two.path, one.path, ["shop"])
    with pytest.raises(Killed):
        move(one.path, two.path, ["shop"], step=kill_at(1))
    two.path.unlink()
    assert undo_moves(str(one.path))
    assert not undo_moves(str(one.path))
    use(one.path)
    assert one.content()[:2] == before[:2]


def test_moves_that_were_killed_in_a_row(stores: tuple[Place, Place]) -> None:
    one, two = stores
    values = {**one.values, **two.values}
    for step in (2, 1, 3, 2, 4, 2):
        for source, target in ((one, two), (two, one)):
            with pytest.raises(Killed):
                move(source.path, target.path, step=kill_at(step))
            for place in stores:
                use(place.path)
            assert {**one.values, **two.values} == values
            assert not one.values or not two.values
    assert len(one.lanes) + len(two.lanes) == 4


_PROGRAM = """
import os, signal, sys, threading, time
from oddwire.session.store.move import move

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

source, target, when = sys.argv[1:]
if when.startswith("step"):
    move(source, target, step=lambda done: kill() if done == int(when[4:]) else None)
else:
    threading.Timer(float(when), kill).start()
    move(source, target)
    time.sleep(10)
"""


@pytest.mark.parametrize("when", ["step1", "step2", "step3", "0.001", "0.01", "0.03"])
def test_a_process_that_is_killed_for_good(stores: tuple[Place, Place], when: str) -> None:
    one, two = stores
    for number in range(300):
        one.value("shop", f"{number}", bytes(300))
        one.lane("shop", 1000 + number, bytes(300))
    values, lanes = {**one.values, **two.values}, sorted([*one.lanes, *two.lanes], key=repr)
    process = subprocess.run([sys.executable, "-c", _PROGRAM, str(one.path), str(two.path), when], check=False)
    assert process.returncode == -signal.SIGKILL
    for place in stores:
        use(place.path)
    assert {**one.values, **two.values} == values
    assert sorted([*one.lanes, *two.lanes], key=repr) == lanes, "none is in both"
    assert not one.values or len(two.values) == 1
    move(one.path, two.path)
    assert one.values == {}
    assert two.values == values
