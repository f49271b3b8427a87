"""Permissions of authors' SQL: an extension may use its own tables, and may not control transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["SqlGuard", "prefix_of"]

# Which of the two arguments of SQLite's authorizer have to be names of the extension
_FIRST: Final = {
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,
    sqlite3.SQLITE_DELETE,
    sqlite3.SQLITE_CREATE_TABLE,
    sqlite3.SQLITE_CREATE_VIEW,
    sqlite3.SQLITE_DROP_TABLE,
    sqlite3.SQLITE_DROP_VIEW,
    sqlite3.SQLITE_REINDEX,
}
_BOTH: Final = {
    sqlite3.SQLITE_CREATE_INDEX,
    sqlite3.SQLITE_CREATE_TRIGGER,
    sqlite3.SQLITE_DROP_INDEX,
    sqlite3.SQLITE_DROP_TRIGGER,
}
_ANY: Final = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_PRAGMAS: Final = {"foreign_key_list", "index_info", "index_list", "index_xinfo", "table_info", "table_xinfo"}
# Table-valued functions
_FUNCTIONS: Final = {"json_each", "json_tree", *(f"pragma_{name}" for name in _PRAGMAS)}
_TRANSACTIONS: Final = {sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT}


def prefix_of(extension: str) -> str:
    """Return the prefix of the names of an extension's tables."""
    return extension.replace("-", "_").lower() + "_"


class SqlGuard:
    """Runs authors' SQL on a connection, with an authorizer that checks the permissions."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._extension: str | None = None  # the extension whose statement is run; None for our own
        self._objection = ""
        connection.set_authorizer(self._authorize)

    def run(
        self, extension: str, sql: str, parameters: Sequence[Any] | Mapping[str, Any]
    ) -> tuple[list[tuple[Any, ...]], bool]:
        """Run a statement of an extension. Return its rows, and whether it may have changed something.

        Raises `sqlite3.Error`; `sqlite3.ProgrammingError`, naming the rule, for a statement that is not permitted.
        """
        connection = self._connection
        before = connection.total_changes
        self._extension, self._objection = extension, ""
        try:
            # The comment makes cached statements distinct by extension: permissions are checked when one is prepared
            cursor = connection.execute(f"/* {extension} */ {sql}", parameters)
            rows = cursor.fetchall()
        except sqlite3.DatabaseError as error:
            if self._objection:
                raise sqlite3.ProgrammingError(f"extension {extension!r}: {self._objection}") from error
            raise
        finally:
            self._extension = None
        return rows, cursor.description is None or connection.total_changes != before

    def _authorize(
        self, action: int, first: str | None, second: str | None, database: str | None, inner: str | None
    ) -> int:
        extension = self._extension
        if extension is None:
            return sqlite3.SQLITE_OK
        objection = _objection(prefix_of(extension), action, first or "", second or "", database)
        if objection:
            self._objection = self._objection or objection
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK


def _objection(prefix: str, action: int, first: str, second: str, database: str | None) -> str:
    if action in _ANY or (action == sqlite3.SQLITE_PRAGMA and first.lower() in _PRAGMAS):
        return ""
    if action in _TRANSACTIONS:
        return "transactions are the store's business: see ExtensionStore.transaction"
    names: tuple[str, ...] = ()
    if action in _FIRST:
        names = (first,)
    elif action in _BOTH:
        names = (first, second)
    elif action == sqlite3.SQLITE_ALTER_TABLE and first == "main":
        names = (second,)
    if not names or (database == "temp" and first != "sqlite_temp_master"):
        return "SQL may work on tables, indices, triggers and views of the extension's, and no more"
    for name in (name.lower() for name in names):
        # SQLite itself protects its own tables
        if not name.startswith((prefix, "sqlite_")) and name not in _FUNCTIONS:
            return f"its tables, indices, triggers and views are named {prefix}..., not {name}"
    return ""
