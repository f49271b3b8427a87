"""The node's SQLite database: its datastore, and the last known addresses of peers."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from oddwire.errors import DefinitionError, StoreError
from oddwire.files import open_database
from oddwire.log_limits import get_logger
from oddwire.proto.addresses import NodeUri, split_scheme
from oddwire.proto.keys import NodeId
from oddwire.sqlite_files import Place, explain

__all__ = ["DatastoreEntry", "NodeDatabase"]

logger = get_logger("oddwire.node")

_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE datastore (key BLOB PRIMARY KEY, data BLOB NOT NULL, generation INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE addresses (node_id BLOB PRIMARY KEY, host TEXT NOT NULL, port INTEGER NOT NULL) WITHOUT ROWID;
"""


class DatastoreEntry(NamedTuple):
    """One entry of the datastore; ``generation`` is the number of its changes."""

    key: tuple[str, ...]
    data: bytes
    generation: int


class NodeDatabase:
    """The database at ``path``, for one process at a time. Every change is on disk when its method returns.

    Raises `DefinitionError` for a file that is not such a database, or cannot be opened or written. Every method raises
    `StoreError` for errors of the disk, and if another process holds the database (reason ``locked``): methods do not
    wait, as that would block the event loop.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._unwritten: dict[NodeId, NodeUri] = {}  # addresses that could not be written yet
        try:
            self._db = open_database(path)
        except (sqlite3.DatabaseError, OSError) as error:
            raise _not_ours(path, error) from error
        try:
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
            elif version != _VERSION:
                raise DefinitionError(f"{path} is of version {version}; this oddwire reads version {_VERSION}")
            # A file that cannot be written raises here, and not when a plugin first stores something
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
            self._db.execute("COMMIT")
            self._db.execute("PRAGMA busy_timeout = 0")
            self._place = Place(path)
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise _not_ours(path, error) from error
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Write the addresses that were not written yet, and close the database. Idempotent."""
        if self._unwritten:
            with contextlib.suppress(StoreError, sqlite3.Error):
                self._write_addresses()
        self._db.close()

    def _read(self, query: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise explain(error, str(self.path)) from error

    def _write(self, query: str, parameters: tuple[Any, ...]) -> None:
        self._place.check()
        try:
            self._db.execute(query, parameters)
        except sqlite3.Error as error:
            raise explain(error, str(self.path)) from error

    # The datastore: a key's parts are joined by NUL, so that a key sorts right before its children

    def get(self, key: tuple[str, ...]) -> DatastoreEntry | None:
        """Return the entry with exactly this key, None if there is none."""
        rows = self._read("SELECT data, generation FROM datastore WHERE key = ?", (_join(key),))
        return DatastoreEntry(key, *rows[0]) if rows else None

    def under(self, key: tuple[str, ...] = ()) -> Iterator[DatastoreEntry]:
        """Yield the entry of this key and all below it, by key ascending; all entries for the empty key."""
        if not key:
            rows = self._read("SELECT key, data, generation FROM datastore ORDER BY key")
        else:
            first = _join(key)
            rows = self._read(
                "SELECT key, data, generation FROM datastore WHERE key = ? OR (key >= ? AND key < ?) ORDER BY key",
                (first, first + b"\0", first + b"\1"),
            )
        for joined, data, generation in rows:
            yield DatastoreEntry(tuple(joined.decode().split("\0")), data, generation)

    def has_children(self, key: tuple[str, ...]) -> bool:
        """Return whether there is an entry below this key."""
        first = _join(key)
        query = "SELECT 1 FROM datastore WHERE key >= ? AND key < ? LIMIT 1"
        return bool(self._read(query, (first + b"\0", first + b"\1")))

    def put(self, entry: DatastoreEntry) -> None:
        """Insert an entry, or replace the one with its key."""
        self._write(
            "INSERT OR REPLACE INTO datastore VALUES (?, ?, ?)", (_join(entry.key), entry.data, entry.generation)
        )

    def delete(self, key: tuple[str, ...]) -> None:
        """Delete the entry with exactly this key, if there is one."""
        self._write("DELETE FROM datastore WHERE key = ?", (_join(key),))

    # Addresses

    def remember(self, uri: NodeUri) -> None:
        """Store the address of a peer. If it cannot be written, that is logged, and tried again with the next one."""
        try:
            if self.address(uri.node_id) != uri:
                self._unwritten[uri.node_id] = uri
            if self._unwritten:
                self._write_addresses()
        except StoreError as error:
            logger.warning("the address of %s is not stored for now: %s", uri.node_id, error)

    def _write_addresses(self) -> None:
        for node_id, uri in list(self._unwritten.items()):
            host = f"{uri.scheme}://{uri.host}" if uri.scheme else uri.host
            self._write("INSERT OR REPLACE INTO addresses VALUES (?, ?, ?)", (bytes(node_id), host, uri.port))
            del self._unwritten[node_id]

    def address(self, node_id: NodeId) -> NodeUri | None:
        """Return the last known address of a node, None if there is none."""
        if node_id in self._unwritten:
            return self._unwritten[node_id]
        rows = self._read("SELECT host, port FROM addresses WHERE node_id = ?", (bytes(node_id),))
        if not rows:
            return None
        scheme, host = split_scheme(rows[0][0])
        return NodeUri(node_id, host, rows[0][1], scheme)


def _join(key: tuple[str, ...]) -> bytes:
    return "\0".join(key).encode()


def _not_ours(path: Path, error: sqlite3.DatabaseError | OSError) -> DefinitionError:
    found = explain(error, str(path))
    if found.reason == "foreign":
        return DefinitionError(f"{path} is not a database of this node: {error}")
    return DefinitionError(str(found))
