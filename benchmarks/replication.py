"""What a partition's log could carry for each commit of its SQLite: pages of the write-ahead log, or changesets.

Three candidates for a record: whole pages, as SQLite wrote them into its write-ahead log; the difference of each page
to what it was before; changesets of SQLite's session extension, which Python reaches by the package apsw alone. Each is
measured plain and compressed (zlib, level 1): bytes a commit, what making it adds to a commit, and how long applying a
thousand takes. Then it is shown what each cannot carry. Not a part of ``python -m benchmarks``, as it holds nothing
against a goal, and as apsw is no dependency::

    pip install apsw
    python -m benchmarks.replication
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import statistics
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COMMITS = 1000
EACH = 8  # messages' effects in one commit
PEERS, VALUES = 500, 20_000
SCHEMA = """
CREATE TABLE inbox (peer BLOB, lane BLOB, epoch INTEGER, last INTEGER, tries INTEGER, seen REAL,
                    PRIMARY KEY (peer, lane)) WITHOUT ROWID;
CREATE INDEX inbox_seen ON inbox (seen);
CREATE TABLE outbox (route INTEGER, number INTEGER, made REAL, payload BLOB, PRIMARY KEY (route, number)) WITHOUT ROWID;
CREATE TABLE entries (extension TEXT, key BLOB, value, PRIMARY KEY (extension, key)) WITHOUT ROWID;
CREATE TABLE orders (id INTEGER PRIMARY KEY, peer BLOB, amount INTEGER, state TEXT);
CREATE INDEX orders_peer ON orders (peer);
"""


class Load:
    """The same statements each time: a message handled, a value set, a message sent, a row of an author's table."""

    def __init__(self, connection: Any) -> None:
        self.execute = connection.execute
        self.random = random.Random(1)
        self.peers = [self.random.randbytes(33) for _ in range(PEERS)]
        self.number = 0

    def fill(self) -> None:
        self.execute("BEGIN")
        for peer in self.peers:
            self.execute("INSERT INTO inbox VALUES (?, ?, 0, 0, 0, 0.0)", (peer, peer[:8]))
        for number in range(VALUES):
            value = self.random.randbytes(60)
            self.execute("INSERT INTO entries VALUES ('quote', ?, ?)", (b"order/%d" % number, value))
        self.execute("COMMIT")

    def write(self) -> None:
        for _ in range(EACH):
            self.number += 1
            number, pick = self.number, self.random
            place = pick.randrange(PEERS)
            peer = self.peers[place]
            self.execute("UPDATE inbox SET last = ?, seen = ? WHERE peer = ?", (number, number / 10, peer))
            key = b"order/%d" % pick.randrange(VALUES)
            self.execute("INSERT OR REPLACE INTO entries VALUES ('quote', ?, ?)", (key, pick.randbytes(60)))
            self.execute("INSERT INTO outbox VALUES (?, ?, ?, ?)", (place, number, number / 10, pick.randbytes(100)))
            self.execute("DELETE FROM outbox WHERE number = ?", (number - 200,))
            self.execute("INSERT INTO orders (peer, amount, state) VALUES (?, ?, 'open')", (peer, number * 1000))


def frames(wal: Path, at: int) -> tuple[list[tuple[int, int, bytes]], int]:
    """Return (number, size, page) of what was committed since ``at``, and where it ends."""
    found = []
    with wal.open("rb") as file:
        head = file.read(32)
        file.seek(at := at or 32)
        data = file.read()
    step = 24 + int.from_bytes(head[8:12], "big")
    for start in range(0, len(data) - step + 1, step):
        number, size = struct.unpack_from(">II", data, start)
        found.append((number, size, data[start + 24 : start + step]))
    return found, at + len(data)


def difference(page: bytes, before: bytes) -> bytes:
    return (int.from_bytes(page, "little") ^ int.from_bytes(before, "little")).to_bytes(len(page), "little")


class Pages:
    """A database whose commits are taken from its write-ahead log."""

    def __init__(self, folder: Path, *, delta: bool) -> None:
        self.path, self.delta, self.at = folder / "store", delta, 0
        self.connection = sqlite3.connect(self.path, isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = OFF", "wal_autocheckpoint = 0"):
            self.connection.execute(f"PRAGMA {pragma}")
        self.connection.executescript(SCHEMA)
        self.load = Load(self.connection)
        self.load.fill()
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.start = folder / "start"
        shutil.copy(self.path, self.start)
        self.main = self.path.open("rb")
        self.places: dict[int, int] = {}

    def begin(self) -> None:
        self.connection.execute("BEGIN")

    def commit(self) -> None:
        self.connection.execute("COMMIT")

    def record(self) -> bytes:
        wal = self.path.with_name("store-wal")
        start = self.at or 32
        found, self.at = frames(wal, self.at)
        parts = [struct.pack(">II", len(found), found[-1][1])]
        with wal.open("rb") as file:
            for place, (number, _, page) in enumerate(found):
                if self.delta:
                    if number in self.places:
                        file.seek(self.places[number])
                        before = file.read(len(page))
                    else:
                        self.main.seek((number - 1) * len(page))
                        before = self.main.read(len(page))
                    self.places[number] = start + place * (24 + len(page)) + 24
                    page = difference(page, before.ljust(len(page), b"\0"))
                parts += (number.to_bytes(4, "big"), page)
        return b"".join(parts)

    def replay(self, records: list[bytes]) -> dict[str, int]:
        target = self.start.with_name("replayed")
        shutil.copy(self.start, target)
        with target.open("r+b") as file:
            for record in records:
                count, size = struct.unpack_from(">II", record)
                step = (len(record) - 8) // count
                for start in range(8, len(record), step):
                    place = (int.from_bytes(record[start : start + 4], "big") - 1) * (step - 4)
                    page = record[start + 4 : start + step]
                    if self.delta:
                        file.seek(place)
                        page = difference(page, file.read(step - 4).ljust(step - 4, b"\0"))
                    file.seek(place)
                    file.write(page)
                file.truncate(size * (step - 4))
        return contents(target)


class Changesets:
    """A database whose commits are recorded by the session extension."""

    def __init__(self, folder: Path) -> None:
        import apsw

        self.apsw = apsw
        self.path = folder / "store"
        self.connection = apsw.Connection(str(self.path))
        for pragma in ("journal_mode = WAL", "synchronous = OFF", "wal_autocheckpoint = 0"):
            self.connection.execute(f"PRAGMA {pragma}")
        self.connection.execute(SCHEMA)
        self.load = Load(self.connection)
        self.load.fill()
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.start = folder / "start"
        shutil.copy(self.path, self.start)

    def begin(self) -> None:
        self.session = self.apsw.Session(self.connection, "main")
        self.session.attach()
        self.connection.execute("BEGIN")

    def commit(self) -> None:
        self.connection.execute("COMMIT")

    def record(self) -> bytes:
        record: bytes = self.session.changeset()
        self.session.close()
        return record

    def replay(self, records: list[bytes]) -> dict[str, int]:
        target = self.start.with_name("replayed")
        shutil.copy(self.start, target)
        connection = self.apsw.Connection(str(target))
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        for record in records:
            self.apsw.Changeset.apply(record, connection)
        connection.execute("COMMIT")
        connection.close()
        return contents(target)


def contents(path: Path) -> dict[str, int]:
    """Return a checksum of each table and index as SQLite reads it, if it finds the database whole."""
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: zlib.crc32(repr([*connection.execute(f"SELECT * FROM {name}")]).encode()) for name in names}


def measure(kind: Any) -> Iterator[tuple[str, ...]]:
    records, times, making = [], [], []
    for _ in range(COMMITS):
        kind.begin()
        kind.load.write()
        began = time.perf_counter()
        kind.commit()
        middle = time.perf_counter()
        records.append(kind.record())
        making.append(time.perf_counter() - middle)
        times.append(middle - began)
    packed, packing = [], []
    for record in records:
        began = time.perf_counter()
        packed.append(zlib.compress(record, 1))
        packing.append(time.perf_counter() - began)
    began = time.perf_counter()
    replayed = kind.replay([zlib.decompress(record) for record in packed])
    took = time.perf_counter() - began
    assert replayed == contents(kind.path)
    yield f"{statistics.mean(map(len, records)):,.0f}", f"{statistics.mean(map(len, packed)):,.0f}"
    yield (
        *(f"{statistics.median(each) * 1e6:.0f}" for each in (times, making, packing)),
        f"{took * 1e3:.0f}",
    )


CASES = {
    "a new table": "CREATE TABLE later (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO later VALUES (1, 'a')",
    "rows of a table without primary key": "CREATE TABLE IF NOT EXISTS bare (text TEXT); INSERT INTO bare VALUES ('a')",
    "rows of a table WITHOUT ROWID": "INSERT INTO entries VALUES ('quote', x'00', 1)",
    "a column, an index, a trigger": "ALTER TABLE orders ADD COLUMN note TEXT; CREATE INDEX notes ON orders (note)",
    "PRAGMA user_version": "PRAGMA user_version = 7",
    "VACUUM": "DELETE FROM entries WHERE key > x'6f726465722f35'; VACUUM",
    "rows with NULL in the primary key": "INSERT INTO nullable VALUES (NULL, 'a')",
}


def carried(kind: Any, sql: str) -> str:
    """Say whether the record of these statements brings another database to the same state."""
    kind.connection.execute("CREATE TABLE nullable (key TEXT PRIMARY KEY, text TEXT)")
    kind.connection.execute("CREATE TABLE bare (text TEXT)")
    kind.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(kind.path, kind.start)
    kind.at = 0
    if isinstance(kind, Pages):
        kind.places.clear()
    else:
        kind.begin()
        kind.commit()
    for statement in sql.split(";"):
        kind.connection.execute(statement)
    record = kind.record()

    def state(path: Path) -> Any:
        with sqlite3.connect(path) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()
            return contents(path), version, connection.execute("SELECT sql FROM sqlite_master").fetchall()

    try:
        kind.replay([record])
    except Exception as error:
        return f"no: {type(error).__name__}"
    return "yes" if state(kind.start.with_name("replayed")) == state(kind.path) else "no"


def main() -> None:
    print(f"{COMMITS} commits of the effects of {EACH} messages; SQLite {sqlite3.sqlite_version}")
    print("record         bytes a commit / zlib 1   commit / making / zlib us   applying all, ms")
    kinds = {
        "pages": lambda folder: Pages(folder, delta=False),
        "differences": lambda folder: Pages(folder, delta=True),
        "changesets": Changesets,
    }
    for name, make in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            print(f"{name:<14} {'   '.join(' / '.join(part) for part in measure(make(Path(folder))))}")
    for case, sql in CASES.items():
        answers = []
        for name, make in kinds.items():
            with tempfile.TemporaryDirectory() as folder:
                answers.append(f"{name} {carried(make(Path(folder)), sql)}")
        print(f"{case}: {', '.join(answers)}")


if __name__ == "__main__":
    main()
