"""What a node remembers, in SQLite: its datastore, and where its peers were reached."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from oddwire.errors import DefinitionError
from oddwire.files import open_database
from oddwire.proto.addresses import NodeUri
from oddwire.proto.keys import NodeId

__all__ = ["Entry", "Store"]

_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE datastore (key BLOB PRIMARY KEY, data BLOB NOT NULL, generation INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE addresses (node_id BLOB PRIMARY KEY, host TEXT NOT NULL, port INTEGER NOT NULL) WITHOUT ROWID;
"""


class Entry(NamedTuple):
    """One entry of the datastore; ``generation`` counts its changes."""

    key: tuple[str, ...]
    data: bytes
    generation: int


class Store:
    """The database at ``path``, for one process at a time. Every change is on disk when its method returns.

    Raises `DefinitionError` for a file that is no database of ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._db = open_database(path)
        except sqlite3.DatabaseError as error:
            raise _not_ours(path, error) from error
        try:
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
            elif version != _VERSION:
                raise DefinitionError(f"{path} is of version {version}; this oddwire reads version {_VERSION}")
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise _not_ours(path, error) from error
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close it. Idempotent."""
        self._db.close()

    # The datastore: a key's parts are joined by NUL, so that a key sorts right before its children

    def get(self, key: tuple[str, ...]) -> Entry | None:
        """Give the entry with exactly this key."""
        row = self._db.execute("SELECT data, generation FROM datastore WHERE key = ?", (_join(key),)).fetchone()
        return None if row is None else Entry(key, *row)

    def under(self, key: tuple[str, ...] = ()) -> Iterator[Entry]:
        """Give the entry of this key and every one below it, in order; all of them for the empty key."""
        if not key:
            rows = self._db.execute("SELECT key, data, generation FROM datastore ORDER BY key")
        else:
            first = _join(key)
            rows = self._db.execute(
                "SELECT key, data, generation FROM datastore WHERE key = ? OR (key >= ? AND key < ?) ORDER BY key",
                (first, first + b"\0", first + b"\1"),
            )
        for joined, data, generation in rows:
            yield Entry(tuple(joined.decode().split("\0")), data, generation)

    def has_children(self, key: tuple[str, ...]) -> bool:
        """Say whether any entry lies below this key."""
        first = _join(key)
        query = "SELECT 1 FROM datastore WHERE key >= ? AND key < ? LIMIT 1"
        return self._db.execute(query, (first + b"\0", first + b"\1")).fetchone() is not None

    def put(self, entry: Entry) -> None:
        """Write an entry, new or in place of the one with its key."""
        self._db.execute(
            "INSERT OR REPLACE INTO datastore VALUES (?, ?, ?)", (_join(entry.key), entry.data, entry.generation)
        )

    def delete(self, key: tuple[str, ...]) -> None:
        """Remove the entry with exactly this key."""
        self._db.execute("DELETE FROM datastore WHERE key = ?", (_join(key),))

    # Addresses

    def remember(self, uri: NodeUri) -> None:
        """Note where a peer was reached."""
        if self.address(uri.node_id) != uri:
            self._db.execute(
                "INSERT OR REPLACE INTO addresses VALUES (?, ?, ?)", (bytes(uri.node_id), uri.host, uri.port)
            )

    def address(self, node_id: NodeId) -> NodeUri | None:
        """Give where this peer was reached last."""
        row = self._db.execute("SELECT host, port FROM addresses WHERE node_id = ?", (bytes(node_id),)).fetchone()
        return None if row is None else NodeUri(node_id, *row)


def _join(key: tuple[str, ...]) -> bytes:
    return "\0".join(key).encode()


def _not_ours(path: Path, error: sqlite3.DatabaseError) -> DefinitionError:
    return DefinitionError(f"{path} is not a database of this node: {error}")
