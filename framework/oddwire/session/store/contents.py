"""The contents of a store, for people: read-only, and possible while a program uses it."""

# ruff: noqa: S608 - names in statements are ours, or quoted

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from oddwire.errors import StoreError
from oddwire.session.store.ages import Ages
from oddwire.session.store.clock_marks import read_mark
from oddwire.session.store.database import former_lane_of, recognise, unpacked
from oddwire.session.store.sql_guard import prefix_of
from oddwire.sqlite_files import explain, holders

__all__ = ["check_kind", "contents_of", "extensions_in", "missing", "owners_of", "tables_in"]


def extensions_in(reader: sqlite3.Connection) -> tuple[str, ...]:
    """Return the names of the extensions that have values or messages in a store, ascending. Raises `sqlite3.Error`."""
    query = (
        "SELECT extension FROM oddwire_values UNION SELECT extension FROM oddwire_routes WHERE extension IS NOT NULL "
        "UNION SELECT extension FROM oddwire_again ORDER BY extension"
    )
    return (*(name for (name,) in reader.execute(query)),)


def tables_in(reader: sqlite3.Connection) -> tuple[str, ...]:
    """Return the names of authors' tables and views, ascending. Raises `sqlite3.Error`."""
    query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"
    return (*(name for (name,) in reader.execute(query) if not name.lower().startswith(("oddwire_", "sqlite_"))),)


def owners_of(table: str, extensions: Collection[str]) -> list[str]:
    """Return those of ``extensions`` to which a table may belong, by its name."""
    return [name for name in extensions if table.lower().startswith(prefix_of(name))]


def contents_of(path: str | Path) -> dict[str, Any]:
    """Return a summary of a store, of JSON types. Raises `StoreError`, with reason ``missing`` if there is none.

    ``used_by`` are the processes that use it, as far as the system shows them. Numbers are hex, sizes bytes, ages
    seconds.
    """
    path = str(path)
    if not os.path.isfile(path):  # noqa: PTH113
        raise missing(path)
    try:
        with closing(_connected(path)) as reader:
            reader.execute("BEGIN")
            found = _read(reader, path)
        return {"path": os.path.abspath(path), "used_by": holders(f"{path}.lock"), **found}  # noqa: PTH100
    except sqlite3.Error as error:
        raise explain(error, path) from error


def missing(path: str) -> StoreError:
    """Return the error for a store that does not exist."""
    text = f"there is no store at {path}; a program or plugin whose extensions have never stored anything has none"
    return StoreError(text, path=path, reason="missing")


def check_kind(path: str) -> None:
    """Raise `StoreError` for a file that is not a store of this version or an earlier one. No file is created."""
    try:
        with closing(_connected(path)) as reader:
            recognise(reader, path)
    except sqlite3.Error as error:
        found = explain(error, path)
        if found.reason == "foreign":  # opening it will show any other error
            raise found from error


def _connected(path: str) -> sqlite3.Connection:
    uri = Path(path).absolute().as_uri()
    with suppress(sqlite3.OperationalError):  # read-write if permitted: a read-only connection leaves SQLite's files
        connection = sqlite3.connect(f"{uri}?mode=rw", uri=True, isolation_level=None)
        try:
            connection.execute("PRAGMA query_only = 1")
            connection.execute("SELECT count(*) FROM sqlite_master")
        except BaseException:
            connection.close()
            raise
        return connection
    return sqlite3.connect(f"{uri}?mode=ro", uri=True, isolation_level=None)


def _read(reader: sqlite3.Connection, path: str) -> dict[str, Any]:
    version = recognise(reader, path)
    if not version:
        empty: dict[str, list[Any]] = {"numbers": [], "waiting": [], "again": [], "tables": []}
        return {"version": 0, "extensions": {}, "received": {}, **empty}
    is_new = version >= 3
    numbers = reader.execute("SELECT number FROM oddwire_stores ORDER BY place").fetchall() if is_new else []
    unfinished = (
        reader.execute("SELECT target FROM oddwire_moves WHERE target IS NOT NULL").fetchall() if is_new else []
    )
    values = reader.execute(
        "SELECT extension, count(*), sum(length(key) + length(CAST(value AS BLOB))) FROM oddwire_values "
        "GROUP BY extension"
    )
    extensions: dict[str, dict[str, Any]] = {
        name: {"values": count, "value_bytes": size, "tables": {}, "messages": 0, "message_bytes": 0}
        for name, count, size in values
    }
    waiting = _waiting(reader, is_new, [*extensions])
    again = _again(reader) if version >= 4 else []
    for lane in [*waiting, *again]:
        found = extensions.setdefault(
            lane["extension"] or "",
            {"values": 0, "value_bytes": 0, "tables": {}, "messages": 0, "message_bytes": 0},
        )
        found["messages"] += lane["messages"]
        found["message_bytes"] += lane["bytes"]
    tables = []
    for table in tables_in(reader):
        owners = owners_of(table, [*filter(None, extensions)])
        (rows,) = reader.execute(f'SELECT count(*) FROM "{table.replace(chr(34), chr(34) * 2)}"').fetchone()
        if len(owners) == 1:
            extensions[owners[0]]["tables"][table] = rows
        else:
            tables.append(table)
    (clean,) = reader.execute("SELECT clean FROM oddwire_state").fetchone()
    found_ = reader.execute("SELECT count(*), count(DISTINCT peer) FROM oddwire_inbox").fetchone()
    (refusals,) = reader.execute("SELECT count(*) FROM oddwire_refusals").fetchone()
    return {
        "version": version,
        "clean": bool(clean),
        "numbers": [number.hex() for (number,) in numbers],
        "moving_to": [target for (target,) in unfinished],
        "extensions": extensions,
        "tables": tables,
        "waiting": waiting,
        "again": again,
        "received": {"lanes": found_[0], "peers": found_[1], "refusals": refusals},
    }


def _waiting(reader: sqlite3.Connection, is_new: bool, names: Collection[str]) -> list[dict[str, Any]]:
    """Return the lanes with messages, the one with the oldest message first."""
    columns = "extension, program, stores" if is_new else "NULL, NULL, NULL"
    ages = Ages()
    if is_new:
        ages.resume(*read_mark(reader))
    former = {former_lane_of(name): name for name in names}
    rows = reader.execute(
        f"SELECT peer, lane, {columns}, count(*), sum(length(payload)), min(made) FROM oddwire_outbox "
        "JOIN oddwire_routes ON oddwire_routes.id = oddwire_outbox.route GROUP BY route ORDER BY min(made)"
    )
    return [
        {
            "peer": peer.hex(),
            "lane": lane.hex(),
            "extension": extension or former.get(int.from_bytes(lane)),
            "messages": count,
            "bytes": size,
            "seconds": round(max(ages() - made, 0.0), 3),
            "program": None if program is None else program.hex(),
            "stores": [f"{number:016x}" for number in unpacked(stores or b"")],
        }
        for peer, lane, extension, program, stores, count, size, made in rows
    ]


def _again(reader: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return the messages that are sent again, by extension and peer, the one with the oldest message first."""
    ages = Ages()
    ages.resume(*read_mark(reader))
    rows = reader.execute(
        "SELECT extension, peer, count(*), sum(length(payload)), min(made) FROM oddwire_again "
        "GROUP BY extension, peer ORDER BY min(made)"
    )
    return [
        {
            "peer": peer.hex(),
            "extension": extension,
            "messages": count,
            "bytes": size,
            "seconds": round(max(ages() - made, 0.0), 3),
        }
        for extension, peer, count, size, made in rows
    ]
