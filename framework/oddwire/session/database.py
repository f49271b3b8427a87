"""The session layer's SQLite database: opened for one process, recognised, and brought up to date."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from pathlib import Path
from typing import Final

from oddwire.databases import Place, explain
from oddwire.errors import StoreError
from oddwire.files import FileLock, open_database
from oddwire.session.guard import SqlGuard

__all__ = ["MEMORY", "Database"]

MEMORY: Final = ":memory:"
"""The path of a database that lasts as long as the process."""

_APPLICATION_ID: Final = 0x0DD_C0DD
_VERSION: Final = 2
# `next` and `base` are numbers as in oddwire.session.reliable; lanes are 8 bytes, as SQLite has no unsigned integers
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
# What has changed since a version, by version; a new database goes the same way. In 1, messages bear the time of a wall
# clock that may have been set meanwhile: they count as a day older than the newest at most (see oddwire.session.ages)
_CHANGES: Final = {
    1: """
CREATE TABLE oddwire_clock (
    id INTEGER PRIMARY KEY CHECK (id = 1), seconds REAL NOT NULL, wall REAL NOT NULL, boot TEXT NOT NULL,
    uptime REAL NOT NULL
);
ALTER TABLE oddwire_values ADD COLUMN form INTEGER NOT NULL DEFAULT 0;
UPDATE oddwire_outbox SET made = max(made, (SELECT max(made) FROM oddwire_outbox) - 86400.0);
""",
}


class Database:
    """An open database. Raises `StoreError` saying what is wrong with it.

    ``writer`` changes it, ``reader`` sees what is committed, also while a commit is under way, ``guard`` runs what
    authors write. ``clean`` says whether the process that had it before closed it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
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
                self._prepare()
                self.reader = sqlite3.connect(
                    f"{place.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
                )
                self._place = Place(place.absolute())
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
        writer.execute("PRAGMA journal_size_limit = 16777216")  # what a rush has made of it is given back
        (application,) = writer.execute("PRAGMA application_id").fetchone()
        (version,) = writer.execute("PRAGMA user_version").fetchone()
        (tables,) = writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application != _APPLICATION_ID and (application or version or tables):
            raise StoreError(
                f"{path} is a database of another program; choose another file", path=path, reason="foreign"
            )
        if version > _VERSION:
            text = f"{path} is of version {version}, which a later oddwire wrote; this one reads up to {_VERSION}"
            raise StoreError(text, path=path, reason="newer")
        if version < _VERSION:
            made = "" if version else f"{_SCHEMA} PRAGMA application_id = {_APPLICATION_ID};"
            changes = "".join(_CHANGES[number] for number in range(version or 1, _VERSION))
            writer.executescript(f"BEGIN IMMEDIATE; {made} {changes} PRAGMA user_version = {_VERSION}; COMMIT;")
        (self.clean,) = writer.execute("SELECT clean FROM oddwire_state").fetchone()
        writer.execute("UPDATE oddwire_state SET clean = 0")
        writer.execute("PRAGMA busy_timeout = 0")  # who waits for others from now on does so on the loop
        self.guard = SqlGuard(writer)

    def check(self) -> None:
        """Raise `StoreError` if its file was moved, deleted or replaced."""
        if self._place is not None:
            self._place.check()

    def close(self) -> None:
        """Close it in good order; what is not committed is lost."""
        with contextlib.suppress(sqlite3.Error):  # a disk that is full: the next start is a careful one
            if self.writer.in_transaction:
                self.writer.execute("ROLLBACK")
            self.writer.execute("UPDATE oddwire_state SET clean = 1")
        self.abandon()

    def abandon(self) -> None:
        """Close it as it is."""
        self.reader.close()
        self.writer.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()
