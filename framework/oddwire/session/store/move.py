"""Moving extensions' data from one store to another, so that it is in exactly one of them whenever the process dies.

SQLite's transactions over two files are not atomic if the files have write-ahead logs. So a move has steps, each a
transaction of one file:

1. The source records what is to move, and where to. From now on it is used only after that record was settled.
2. The target copies everything, and records that it has.
3. The source deletes what has moved, and its record.
4. The target deletes its record.

A process that opens a source with a record looks into the target (`settle`): either everything is there, and step 3
follows, or nothing is, and the record is deleted. Both stores are locked during the whole move, which begins by opening
them.
"""

# ruff: noqa: S608 - names in statements are ours, or quoted

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from oddwire.errors import StoreError
from oddwire.log_limits import get_logger
from oddwire.session.store.ages import Ages
from oddwire.session.store.clock_marks import read_mark
from oddwire.session.store.contents import check_kind, extensions_in, missing, owners_of, tables_in
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
from oddwire.session.store.database import MEMORY, Database, write_numbers
from oddwire.sqlite_files import explain

__all__ = ["Moved", "move", "settle", "undo_moves"]

logger = get_logger("oddwire.session")


class Moved(NamedTuple):
    """What was moved.

    ``renumbered`` is the number of lanes that were in both stores with messages: those that were sent and not
    acknowledged may be handled twice. ``records`` are those of peers' lanes, of all extensions. ``finished`` says that
    everything had moved before, and only the end of that move was done, if anything; ``made`` that the target was
    created. ``again`` is the number of messages that are sent again until they are settled.
    """

    extensions: tuple[str, ...]
    values: int = 0
    tables: tuple[str, ...] = ()
    lanes: int = 0
    messages: int = 0
    renumbered: int = 0
    records: int = 0
    finished: bool = False
    made: bool = False
    again: int = 0


def move(
    source: str | Path,
    target: str | Path,
    extensions: Collection[str] | None = None,
    *,
    replace: bool = False,
    step: Callable[[int], object] = lambda _: None,
) -> Moved:
    """Move the data and reliable messages of ``extensions`` from one store to another; None for all of them.

    Their values, tables, lanes and messages are moved. The records of peers' lanes are copied, since they do not say
    to which extension they belong, or moved if everything is. The move is refused if the target has values or
    rows in tables of these extensions; with ``replace``, they are deleted. ``step`` is called with the number of each
    step after it was done.

    Raises `StoreError` with reason ``locked`` for a store that a program uses, ``missing``, ``same``, ``unknown`` for
    an extension of which the source has nothing, ``taken`` for one of which the target has something; and the errors of
    `Database`.
    """
    source, target = str(source), str(target)
    _check_paths(source, target)
    wanted = None if extensions is None else (*sorted(set(extensions)),)
    begun: list[str] = []
    is_new = not os.path.exists(target)  # noqa: PTH110
    with _opened(source, wanted or (), begun) as from_:
        if is_new:  # checked before the target is created, so that a refused move leaves no file behind
            left = None if wanted is None else (*(name for name in wanted if name not in begun),)
            if begun and not (extensions_in(from_.writer) if left is None else left):
                return Moved((*sorted(set(begun)),), finished=True)
            _plan(from_, left)
        with _opened(target, wanted or (), []) as to:
            if wanted is not None:
                begun += [name for name in wanted if _is_there(name, from_, to)]
                wanted = (*(name for name in wanted if name not in begun),)
            if begun and not (extensions_in(from_.writer) if wanted is None else wanted):
                return Moved((*sorted(set(begun)),), finished=True)
            what = _plan(from_, wanted)
            _check_room(from_, to, what, replace)
            id_ = os.urandom(8)
            with _transaction(from_):
                row = (id_, os.path.abspath(target), json.dumps(what._asdict()))  # noqa: PTH100
                from_.writer.execute("INSERT INTO oddwire_moves VALUES (?, ?, ?)", row)
            step(1)
            moved = _take(from_, to, what, id_)
            step(2)
            _delete_moved(from_, what, id_)
            step(3)
            with _transaction(to):
                to.writer.execute("DELETE FROM oddwire_moves WHERE id = ?", (id_,))
            step(4)
            return moved._replace(made=is_new)


def _check_paths(source: str, target: str) -> None:
    if MEMORY in (source, target):
        raise StoreError(
            "a store in memory is gone with its process: there is nothing to move", path=MEMORY, reason="missing"
        )
    if not os.path.isfile(source):  # noqa: PTH113
        raise missing(source)
    if os.path.exists(target):  # noqa: PTH110
        if os.path.samefile(source, target):  # noqa: PTH121
            raise StoreError(f"{source} and {target} are the same store", path=target, reason="same")
        check_kind(target)
    check_kind(source)


@contextmanager
def _opened(path: str, extensions: Collection[str], begun: list[str]) -> Iterator[Database]:
    """Context manager: an open store, with unfinished moves settled; it is closed as clean, or not, as it was."""
    database = Database(path, extensions=extensions)
    try:
        begun += settle(database)
        yield database
    except BaseException:
        database.close(clean=database.clean)
        raise
    database.close(clean=database.clean)


@contextmanager
def _transaction(database: Database) -> Iterator[None]:
    """Context manager: one transaction. Raises `StoreError` for `sqlite3.Error`."""
    writer = database.writer
    try:
        writer.execute("BEGIN IMMEDIATE")
        yield
        writer.execute("COMMIT")
    except BaseException as error:
        if writer.in_transaction:
            writer.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise explain(error, database.path) from error
        raise


# What is to move --------------------------------------------------------------------------------------


def _plan(source: Database, wanted: Collection[str] | None) -> What:
    there, tables = extensions_in(source.writer), tables_in(source.writer)
    if wanted is None:
        return What(there, tables, True)
    theirs = _tables_of(source.path, tables, wanted, there)
    for name in wanted:
        if not _has(source, name):
            known = ", ".join(map(repr, there)) or "no extension"
            text = f"{source.path} has nothing of {name!r}; it has something of {known}"
            raise StoreError(text, path=source.path, reason="unknown")
    return What((*sorted(wanted),), theirs, False)


def _has(database: Database, extension: str) -> bool:
    """Return whether a store has any data of an extension."""
    reader = database.writer
    return extension in extensions_in(reader) or any(owners_of(table, [extension]) for table in tables_in(reader))


def _is_there(extension: str, source: Database, target: Database) -> bool:
    """Return whether an extension has moved already, by an earlier run of the same command."""
    return source.numbers[0] in target.numbers and _has(target, extension) and not _has(source, extension)


def _tables_of(path: str, tables: Collection[str], wanted: Collection[str], there: Collection[str]) -> tuple[str, ...]:
    """Return the tables of the ``wanted`` extensions. Raises `StoreError` for one that may be another extension's."""
    others = [name for name in there if name not in wanted]
    found = (*(table for table in tables if owners_of(table, wanted)),)
    for table in found:
        if rivals := owners_of(table, others):
            one, other = owners_of(table, wanted)[0], rivals[0]
            text = f"table {table} in {path} may be of {one!r} or of {other!r}, by its name: both should be moved"
            raise StoreError(text, path=path, reason="taken")
    return found


def _check_room(source: Database, target: Database, what: What, replace: bool) -> None:
    """Raise `StoreError` if the target has data that the move would replace, unless ``replace``."""
    condition, names = what.values()
    coming = {
        name
        for (name,) in source.writer.execute(f"SELECT DISTINCT extension FROM oddwire_values WHERE {condition}", names)
    }
    rows = target.writer.execute("SELECT extension, count(*) FROM oddwire_values GROUP BY extension")
    there = {name: count for name, count in rows if name in coming}
    theirs = {table.lower() for table in what.tables}
    tables = [
        table for table in tables_in(target.writer) if table.lower() in theirs and not _is_empty(target.writer, table)
    ]
    if replace or not (there or tables):
        return
    found = [f"{count} values of {name!r}" for name, count in there.items()] + [f"table {table}" for table in tables]
    text = (
        f"{target.path} has {', '.join(found)} already; --replace puts those of {source.path} in their place, and "
        "deletes what is there now; messages that wait in either are kept"
    )
    raise StoreError(text, path=target.path, reason="taken")


def _is_empty(reader: sqlite3.Connection, table: str) -> bool:
    (kind,) = reader.execute("SELECT type FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    return kind == "view" or reader.execute(f"SELECT 1 FROM {quoted(table)} LIMIT 1").fetchone() is None


# Step 2 ---------------------------------------------------------------------------------------------


def _take(source: Database, target: Database, what: What, id_: bytes) -> Moved:
    """Copy everything into the target, with a record of that, in one transaction."""
    writer = target.writer
    now, then = Ages(), Ages()
    now.resume(*read_mark(writer))
    then.resume(*read_mark(source.writer))
    shift = now() - then()  # between the two stores' clocks
    writer.execute("ATTACH ? AS source", (source.path,))
    try:
        with _transaction(target):
            take_tables(writer, what.tables)
            values = take_values(writer, what)
            lanes, messages, renumbered = take_lanes(writer, what, shift)
            again = take_again(writer, what, shift)
            records = take_records(writer, shift)
            write_numbers(writer, (*dict.fromkeys((*target.numbers, *source.numbers)),))
            writer.execute("INSERT OR REPLACE INTO oddwire_clock VALUES (1, ?, ?, ?, ?)", now.mark())
            if not source.clean:  # a message in the source may have killed its process: see Receiver.unverified
                target.clean = source.clean
            writer.execute("INSERT INTO oddwire_moves VALUES (?, NULL, '')", (id_,))
    finally:
        with suppress(sqlite3.Error):
            writer.execute("DETACH source")
    return Moved(what.extensions, values, what.tables, lanes, messages, renumbered, records, again=again)


# Step 3 ---------------------------------------------------------------------------------------------


def _delete_moved(database: Database, what: What, id_: bytes) -> None:
    """Delete what the target has, and the record of the move, in one transaction."""
    writer = database.writer
    lanes, names = what.lanes()
    values, parameters = what.values()
    with _transaction(database):
        writer.execute(f"DELETE FROM oddwire_values WHERE {values}", parameters)
        writer.execute(f"DELETE FROM oddwire_again WHERE {values}", parameters)
        writer.execute(
            f"DELETE FROM oddwire_outbox WHERE route IN (SELECT id FROM oddwire_routes WHERE {lanes})", names
        )
        writer.execute(f"DELETE FROM oddwire_routes WHERE {lanes}", names)
        drop_tables(writer, what.tables)
        if what.whole:  # its number has moved too: whatever is stored here later needs another
            writer.execute("DELETE FROM oddwire_inbox")
            writer.execute("DELETE FROM oddwire_refusals")
            write_numbers(writer, [int.from_bytes(os.urandom(8), "big")])
        writer.execute("DELETE FROM oddwire_moves WHERE id = ?", (id_,))


def settle(database: Database) -> tuple[str, ...]:
    """Finish or undo moves whose process died. Return the extensions that have moved out of the store.

    Raises `StoreError` with reason ``unfinished`` if the target cannot be read.
    """
    moved, writer, path = list[str](), database.writer, database.path
    rows = writer.execute("SELECT id, target, what FROM oddwire_moves WHERE target IS NOT NULL").fetchall()
    for id_, target, note in rows:
        fields: Mapping[str, object] = json.loads(note)
        what = What(*(tuple(value) if isinstance(value, list) else value for value in fields.values()))  # type: ignore[arg-type]
        if _has_arrived(id_, target, path):
            _delete_moved(database, what, id_)
            moved += what.extensions
            logger.warning("%s: a move to %s was not finished; it is now, and %s", path, target, _list(what))
        else:
            with _transaction(database):
                writer.execute("DELETE FROM oddwire_moves WHERE id = ?", (id_,))
            logger.warning("%s: a move to %s was started and nothing has moved: all is still here", path, target)
    return (*moved,)


def _list(what: What) -> str:
    return "nothing is left here" if what.whole else f"{', '.join(what.extensions)} is not here any more"


def _has_arrived(id_: bytes, target: str, path: str) -> bool:
    try:
        with closing(sqlite3.connect(f"{Path(target).as_uri()}?mode=ro", uri=True)) as other:
            return other.execute("SELECT 1 FROM oddwire_moves WHERE id = ?", (id_,)).fetchone() is not None
    except sqlite3.Error as error:
        text = (
            f"what was being moved from {path} to {target} may be in either, and {target} cannot be read ({error}): "
            f"move it back to where it was; or, if it is lost, run: oddwire store recover {path}"
        )
        raise StoreError(text, path=path, reason="unfinished") from error


def undo_moves(path: str) -> bool:
    """Undo the unfinished moves of a store whose target is lost, so that the source keeps the data.

    Return whether there were any. Raises `StoreError` as `Database` does.
    """
    database = Database(path)
    try:
        with _transaction(database):
            return database.writer.execute("DELETE FROM oddwire_moves WHERE target IS NOT NULL").rowcount > 0
    finally:
        database.close(clean=database.clean)
