"""The session layer's SQLite database: locked for one process, checked, and migrated to the current version."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import sqlite3
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Final

from oddwire.errors import StoreError
from oddwire.files import FileLock, open_database
from oddwire.session.store.sql_guard import SqlGuard
from oddwire.session.wire.frame_types import MAX_STORES
from oddwire.sqlite_files import Place, explain

__all__ = ["MEMORY", "VERSION", "Database", "former_lane_of", "packed", "recognise", "unpacked", "write_numbers"]

MEMORY: Final = ":memory:"
"""The path of a database in memory, which is lost with the process."""

_APPLICATION_ID: Final = 0x0DD_C0DD
VERSION: Final = 4
"""The current version of databases."""
# `next` and `base` are numbers as in oddwire.session.reliable.lanes; lanes are 8 bytes: SQLite has no unsigned integers
_SCHEMA: Final = """
CREATE TABLE oddwire_state (clean INTEGER NOT NULL);
INSERT INTO oddwire_state VALUES (1);
CREATE TABLE oddwire_routes (
    id INTEGER PRIMARY KEY, peer BLOB NOT NULL, lane BLOB NOT NULL, epoch INTEGER NOT NULL, start INTEGER NOT NULL,
    base INTEGER NOT NULL, next INTEGER NOT NULL, UNIQUE (peer, lane)
);
CREATE TABLE oddwire_outbox (
    route INTEGER NOT NULL, number INTEGER NOT NULL, made REAL NOT NULL, payload BLOB NOT NULL,
    PRIMARY KEY (route, number)
) WITHOUT ROWID;
CREATE TABLE oddwire_inbox (
    peer BLOB NOT NULL, lane BLOB NOT NULL, epoch INTEGER NOT NULL, last INTEGER NOT NULL, tries INTEGER NOT NULL,
    PRIMARY KEY (peer, lane)
) WITHOUT ROWID;
CREATE TABLE oddwire_refusals (
    peer BLOB NOT NULL, lane BLOB NOT NULL, epoch INTEGER NOT NULL, sequence INTEGER NOT NULL,
    code INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (peer, lane, epoch, sequence)
) WITHOUT ROWID;
CREATE TABLE oddwire_values (
    extension TEXT NOT NULL, key BLOB NOT NULL, value NOT NULL, PRIMARY KEY (extension, key)
) WITHOUT ROWID;
"""
_NOW: Final = (
    "coalesce((SELECT seconds FROM oddwire_clock), (SELECT max(made) FROM oddwire_outbox), "
    "CAST(strftime('%s', 'now') AS REAL))"
)
# Migrations, by the version that they start from; a new database goes through all of them. In version 1, messages have
# times of a wall clock that may have been set meanwhile: they count as at most a day older than the newest one
# (oddwire.session.store.ages)
_CHANGES: Final = {
    1: """
CREATE TABLE oddwire_clock (
    id INTEGER PRIMARY KEY CHECK (id = 1), seconds REAL NOT NULL, wall REAL NOT NULL, boot TEXT NOT NULL,
    uptime REAL NOT NULL
);
ALTER TABLE oddwire_values ADD COLUMN form INTEGER NOT NULL DEFAULT 0;
UPDATE oddwire_outbox SET made = max(made, (SELECT max(made) FROM oddwire_outbox) - 86400.0);
""",
    # When existing lanes were last used is unknown: now. `_name_lanes` sets their extensions
    2: f"""
CREATE TABLE oddwire_stores (place INTEGER PRIMARY KEY, number BLOB NOT NULL UNIQUE);
CREATE TABLE oddwire_moves (id BLOB PRIMARY KEY, target TEXT, what TEXT NOT NULL) WITHOUT ROWID;
ALTER TABLE oddwire_routes ADD COLUMN extension TEXT;
ALTER TABLE oddwire_routes ADD COLUMN program BLOB;
ALTER TABLE oddwire_routes ADD COLUMN stores BLOB;
ALTER TABLE oddwire_routes ADD COLUMN used REAL NOT NULL DEFAULT 0;
ALTER TABLE oddwire_inbox ADD COLUMN seen REAL NOT NULL DEFAULT 0;
ALTER TABLE oddwire_inbox ADD COLUMN refused INTEGER NOT NULL DEFAULT 0;
CREATE INDEX oddwire_routes_used ON oddwire_routes (used);
CREATE INDEX oddwire_inbox_seen ON oddwire_inbox (seen);
CREATE INDEX oddwire_inbox_refused ON oddwire_inbox (seen) WHERE refused > 0;
UPDATE oddwire_routes SET used = {_NOW};
UPDATE oddwire_inbox SET seen = {_NOW}, refused = (
    SELECT count(*) FROM oddwire_refusals AS refusal
    WHERE refusal.peer = oddwire_inbox.peer AND refusal.lane = oddwire_inbox.lane
);
""",  # noqa: S608 - ours
    # Messages that are sent again until they are settled (oddwire.app.resending); `until` is a duration
    3: """
CREATE TABLE oddwire_again (
    extension TEXT NOT NULL, peer BLOB NOT NULL, key BLOB NOT NULL, made REAL NOT NULL, every REAL, until REAL,
    on_connect INTEGER NOT NULL, force INTEGER NOT NULL, matched BLOB, payload BLOB NOT NULL,
    PRIMARY KEY (extension, peer, key)
) WITHOUT ROWID;
""",
}


def packed(numbers: Collection[int]) -> bytes:
    """Return u64 numbers as the database stores them: as bytes, since SQLite has no unsigned integers."""
    return struct.pack(f">{len(numbers)}Q", *numbers)


def unpacked(raw: bytes) -> tuple[int, ...]:
    """Return the numbers encoded by `packed`."""
    return struct.unpack(f">{len(raw) // 8}Q", raw)


@functools.lru_cache(256)
def former_lane_of(extension: str) -> int:
    """Return the lane that an extension's messages to every peer had in databases of version 2 and before."""
    return int.from_bytes(hashlib.sha256(extension.encode()).digest()[:8], "big")


def write_numbers(writer: sqlite3.Connection, numbers: Collection[int]) -> None:
    """Replace the numbers of a store, its own first; of more than a hello may list, the latest are kept."""
    own, *others = numbers
    rows = [(place, packed([number])) for place, number in enumerate((own, *others[1 - MAX_STORES :]))]
    writer.execute("DELETE FROM oddwire_stores")
    writer.executemany("INSERT INTO oddwire_stores VALUES (?, ?)", rows)


def recognise(connection: sqlite3.Connection, path: str) -> int:
    """Return the version of the database at ``path``, 0 for an empty one.

    Raises `StoreError` with reason ``foreign`` for one of another program, ``newer`` for a later version.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != _APPLICATION_ID and (application or version or tables):
        raise StoreError(f"{path} is a database of another program; choose another file", path=path, reason="foreign")
    if version > VERSION:
        text = f"{path} is of version {version}, which a later oddwire wrote; this one reads up to {VERSION}"
        raise StoreError(text, path=path, reason="newer")
    return int(version)


class Database:
    """An open database, created if there is none. Raises `StoreError` with a reason.

    ``number`` is the store's number if it is created; by default a random one. ``extensions`` are the names of those
    loaded: a database of version 2 or before does not say whose its lanes are. ``cached``: the file is a cache of what
    is kept elsewhere, so the disk is not waited for, and nothing is moved from its write-ahead log into it.

    ``writer`` is the connection for changes; ``reader`` sees what is committed, even while a commit is under way;
    ``guard`` runs authors' SQL. ``clean`` says whether the last process closed the database, ``is_new`` whether it was
    created.
    """

    def __init__(
        self, path: str, *, number: int | None = None, extensions: Collection[str] = (), cached: bool = False
    ) -> None:
        self.path = path
        self._number = int.from_bytes(os.urandom(8), "big") if number is None else number
        self._extensions = extensions
        self._lock: FileLock | None = None
        self._place: Place | None = None
        try:
            if path == MEMORY:
                self.writer = self.reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
                self._prepare()
                return
            place = Path(path)
            if not place.name or "\0" in path:
                raise OSError(errno.EINVAL, "should be the path of a file", path)
            self._lock = FileLock(place.with_name(place.name + ".lock"))
            self.writer = open_database(place)
            try:
                if cached:
                    self.writer.execute("PRAGMA synchronous = OFF")
                    self.writer.execute("PRAGMA wal_autocheckpoint = 0")
                self._prepare()
                self._place = Place(place.absolute())
                self.reader = sqlite3.connect(
                    f"{place.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
                )
            except BaseException:
                self.writer.close()
                raise
        except (sqlite3.Error, OSError) as error:
            self._unlock()
            raise explain(error, path) from error
        except BaseException:
            self._unlock()
            raise

    def _prepare(self) -> None:
        writer, path = self.writer, self.path
        writer.execute("PRAGMA journal_size_limit = 16777216")  # frees the space of a large write-ahead log
        version = recognise(writer, path)
        self.is_new = not version
        if version < VERSION:
            made = "" if version else f"{_SCHEMA} PRAGMA application_id = {_APPLICATION_ID};"
            changes = "".join(_CHANGES[number] for number in range(version or 1, VERSION))
            if version <= 2:
                own = packed([self._number]).hex()
                changes += f"INSERT INTO oddwire_stores VALUES (0, x'{own}');"  # noqa: S608 - hex digits
            writer.executescript(f"BEGIN IMMEDIATE; {made} {changes} PRAGMA user_version = {VERSION}; COMMIT;")
        self._name_lanes()
        (self.clean,) = writer.execute("SELECT clean FROM oddwire_state").fetchone()
        writer.execute("UPDATE oddwire_state SET clean = 0")
        writer.execute("PRAGMA busy_timeout = 0")  # from now on, waiting for other processes is done on the event loop
        self.guard = SqlGuard(writer)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of the store, its own first. Raises `sqlite3.Error`."""
        rows = self.writer.execute("SELECT number FROM oddwire_stores ORDER BY place").fetchall()
        return (*(int.from_bytes(number) for (number,) in rows),)

    @property
    def is_moving(self) -> bool:
        """Whether a move out of it is unfinished; see `move.settle`. Raises `sqlite3.Error`."""
        return self.writer.execute("SELECT 1 FROM oddwire_moves WHERE target IS NOT NULL").fetchone() is not None

    def _name_lanes(self) -> None:
        """Set the extensions of lanes of version 2 and before, by the names of those loaded."""
        writer = self.writer
        if self._extensions and writer.execute("SELECT 1 FROM oddwire_routes WHERE extension IS NULL").fetchone():
            rows = [(name, packed([former_lane_of(name)])) for name in self._extensions]
            writer.execute("BEGIN IMMEDIATE")
            writer.executemany("UPDATE oddwire_routes SET extension = ? WHERE extension IS NULL AND lane = ?", rows)
            writer.execute("COMMIT")

    def check(self) -> None:
        """Raise `StoreError` if its file was moved, deleted or replaced."""
        if self._place is not None:
            self._place.check()

    def close(self, *, clean: bool = True) -> None:
        """Roll back what is not committed, and close; ``clean`` records that the process closed the database."""
        with contextlib.suppress(sqlite3.Error):  # if the disk is full, say, the next process finds it not clean
            if self.writer.in_transaction:
                self.writer.execute("ROLLBACK")
            if clean:
                self.writer.execute("UPDATE oddwire_state SET clean = 1")
        self.abandon()

    def abandon(self) -> None:
        """Close the connections and release the lock, without writing anything."""
        self.reader.close()
        self.writer.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()
