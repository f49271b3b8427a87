"""Copying rows from one store into another, which `oddwire.session.store.move` does in one transaction.

The source is attached to the target's connection under the name ``source``.
"""

# ruff: noqa: S608 - names in statements are ours, or quoted

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from typing import NamedTuple

from oddwire.session.reliable.outbox_state import new_lane
from oddwire.session.store.database import former_lane_of, packed

__all__ = [
    "What",
    "drop_tables",
    "quoted",
    "take_again",
    "take_lanes",
    "take_records",
    "take_tables",
    "take_values",
]


class What(NamedTuple):
    """What to move: names of extensions, and of their tables; ``whole`` for everything in the store."""

    extensions: tuple[str, ...]
    tables: tuple[str, ...]
    whole: bool

    def lanes(self) -> tuple[str, list[object]]:
        """Return the SQL condition for the lanes to move, and its parameters."""
        if self.whole:
            return "1", []
        names = [*self.extensions]
        former = [packed([former_lane_of(name)]) for name in names]
        marks = ", ".join("?" * len(names))
        return f"(extension IN ({marks}) OR (extension IS NULL AND lane IN ({marks})))", [*names, *former]

    def values(self) -> tuple[str, list[object]]:
        """Return the SQL condition for the values, and messages sent again, to move, and its parameters."""
        return (
            ("1", []) if self.whole else (f"extension IN ({', '.join('?' * len(self.extensions))})", [*self.extensions])
        )


def take_values(writer: sqlite3.Connection, what: What) -> int:
    """Copy values, replacing those of the same extensions. Return how many."""
    condition, names = what.values()
    coming = f"SELECT extension FROM source.oddwire_values WHERE {condition}"
    writer.execute(f"DELETE FROM main.oddwire_values WHERE extension IN ({coming})", names)
    return writer.execute(
        "INSERT INTO main.oddwire_values (extension, key, form, value) "
        f"SELECT extension, key, form, value FROM source.oddwire_values WHERE {condition}",
        names,
    ).rowcount


def take_tables(writer: sqlite3.Connection, tables: Collection[str]) -> None:
    """Copy authors' tables and views, with their indices and triggers, replacing those of the same name."""
    rows = writer.execute(
        "SELECT type, name, tbl_name, sql FROM source.sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"
    ).fetchall()
    wanted = {table.lower() for table in tables}
    made = [row for row in rows if row[2].lower() in wanted]
    drop_tables(writer, tables)
    for kind in ("table", "index", "view", "trigger"):
        for type_, name, _, sql in made:
            if type_ == kind:
                writer.execute(sql)
                if kind == "table":
                    _copy_rows(writer, name)


def _copy_rows(writer: sqlite3.Connection, table: str) -> None:
    columns = writer.execute(f"PRAGMA main.table_xinfo({quoted(table)})").fetchall()
    names = [name for _, name, *_, hidden in columns if not hidden]  # hidden columns are generated
    taken = {name.lower() for name in names}
    rowid = next((alias for alias in ("rowid", "_rowid_", "oid") if alias not in taken), None)
    listed = ", ".join(map(quoted, names))
    if rowid is not None and _has_rowid(writer, table, rowid):
        listed = f"{rowid}, {listed}"
    writer.execute(f"INSERT INTO main.{quoted(table)} ({listed}) SELECT {listed} FROM source.{quoted(table)}")
    if writer.execute("SELECT 1 FROM source.sqlite_master WHERE name = 'sqlite_sequence'").fetchone():
        row = writer.execute("SELECT seq FROM source.sqlite_sequence WHERE name = ?", (table,)).fetchone()
        if row is not None:
            writer.execute("DELETE FROM main.sqlite_sequence WHERE name = ?", (table,))
            writer.execute("INSERT INTO main.sqlite_sequence VALUES (?, ?)", (table, *row))


def _has_rowid(writer: sqlite3.Connection, table: str, alias: str) -> bool:
    try:
        writer.execute(f"SELECT {alias} FROM source.{quoted(table)} LIMIT 0")
    except sqlite3.OperationalError:
        return False
    return True


def drop_tables(writer: sqlite3.Connection, tables: Collection[str]) -> None:
    """Drop those of the tables and views that exist."""
    rows = writer.execute("SELECT type, name FROM main.sqlite_master WHERE type IN ('table', 'view')").fetchall()
    wanted = {table.lower() for table in tables}
    for kind in ("view", "table"):
        for type_, name in rows:
            if type_ == kind and name.lower() in wanted:
                writer.execute(f"DROP {kind} main.{quoted(name)}")


def take_lanes(writer: sqlite3.Connection, what: What, shift: float) -> tuple[int, int, int]:
    """Copy lanes and messages, with ``shift`` seconds added to their times.

    Return the number of lanes, of messages, and of lanes that got new numbers.
    """
    condition, parameters = what.lanes()
    rows = writer.execute(
        "SELECT id, peer, lane, epoch, start, base, next, extension, program, stores, used, "
        "EXISTS (SELECT 1 FROM source.oddwire_outbox WHERE route = id) "
        f"FROM source.oddwire_routes WHERE {condition} ORDER BY id",
        parameters,
    ).fetchall()
    (last,) = writer.execute("SELECT coalesce(max(id), 0) FROM main.oddwire_routes").fetchone()
    lanes = messages = renumbered = 0
    for id_, peer, lane, epoch, start, base, next_, extension, program, stores, used, full in rows:
        there = writer.execute(
            "SELECT id, EXISTS (SELECT 1 FROM main.oddwire_outbox WHERE route = id) "
            "FROM main.oddwire_routes WHERE peer = ? AND lane = ?",
            (peer, lane),
        ).fetchone()
        if there is not None:  # of version 2, whose numbers are hashes of names; or one store is a copy of the other
            if not full:
                continue
            if not there[1]:
                writer.execute("DELETE FROM main.oddwire_routes WHERE id = ?", there[:1])
            else:
                lane, start = packed([new_lane(())]), base - 1
                renumbered += 1
        last += 1
        row = (last, peer, lane, epoch, start, base, next_, extension, program, stores, used + shift)
        writer.execute(
            "INSERT INTO main.oddwire_routes "
            "(id, peer, lane, epoch, start, base, next, extension, program, stores, used) "
            f"VALUES ({', '.join('?' * len(row))})",
            row,
        )
        lanes += 1
        messages += writer.execute(
            "INSERT INTO main.oddwire_outbox (route, number, made, payload) "
            "SELECT ?, number, made + ?, payload FROM source.oddwire_outbox WHERE route = ?",
            (last, shift, id_),
        ).rowcount
    return lanes, messages, renumbered


def take_again(writer: sqlite3.Connection, what: What, shift: float) -> int:
    """Copy messages that are sent again, with ``shift`` seconds added to their times. Return how many.

    Of two with the same extension, peer and key, the newer one stays.
    """
    condition, names = what.values()
    return writer.execute(
        f"INSERT INTO main.oddwire_again ({_AGAIN}) SELECT {_AGAIN.replace('made', 'made + ?')} "
        f"FROM source.oddwire_again WHERE {condition} "
        "ON CONFLICT (extension, peer, key) DO UPDATE SET made = excluded.made, every = excluded.every, "
        "until = excluded.until, on_connect = excluded.on_connect, force = excluded.force, "
        "matched = excluded.matched, payload = excluded.payload WHERE excluded.made > made",
        [shift, *names],
    ).rowcount


_AGAIN = "extension, peer, key, made, every, until, on_connect, force, matched, payload"


def take_records(writer: sqlite3.Connection, shift: float) -> int:
    """Copy the records of peers' lanes that are ahead of the target's. Return how many.

    ``shift`` seconds are added to their times.
    """
    writer.execute("DROP TABLE IF EXISTS temp.further")
    writer.execute(
        "CREATE TEMP TABLE further AS SELECT theirs.peer, theirs.lane, theirs.epoch "
        "FROM source.oddwire_inbox AS theirs "
        "LEFT JOIN main.oddwire_inbox AS ours USING (peer, lane) "
        "WHERE ours.peer IS NULL OR (theirs.epoch, theirs.last) >= (ours.epoch, ours.last)"
    )
    writer.execute(
        "DELETE FROM main.oddwire_refusals AS refusal WHERE EXISTS (SELECT 1 FROM further "
        "WHERE further.peer = refusal.peer AND further.lane = refusal.lane AND further.epoch <> refusal.epoch)"
    )
    writer.execute(
        "INSERT OR IGNORE INTO main.oddwire_refusals SELECT refusal.* FROM source.oddwire_refusals AS refusal "
        "JOIN further USING (peer, lane, epoch)"
    )
    count = writer.execute(
        "INSERT INTO main.oddwire_inbox (peer, lane, epoch, last, tries, seen, refused) "
        "SELECT theirs.peer, theirs.lane, theirs.epoch, theirs.last, theirs.tries, theirs.seen + ?, "
        "(SELECT count(*) FROM main.oddwire_refusals AS refusal "
        "WHERE refusal.peer = theirs.peer AND refusal.lane = theirs.lane) "
        "FROM source.oddwire_inbox AS theirs JOIN further USING (peer, lane) WHERE true "
        "ON CONFLICT (peer, lane) DO UPDATE SET epoch = excluded.epoch, last = excluded.last, tries = excluded.tries, "
        "seen = max(seen, excluded.seen), refused = excluded.refused",
        (shift,),
    ).rowcount
    writer.execute("DROP TABLE temp.further")
    return count


def quoted(name: str) -> str:
    """Return a name quoted as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
