"""What an author's SQL may do, and what not: through the door, as SQLite sees it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from oddwire.session.store.extension_store import ExtensionStore
from oddwire.session.store.unit import Store


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[ExtensionStore]:
    store = Store(tmp_path / "store")
    await store.open()
    yield ExtensionStore(store, "my-quote")
    await store.aclose()


async def test_sql_on_tables_of_ones_own(door: ExtensionStore) -> None:
    run = door.execute
    await run("CREATE TABLE my_quote_t (id INTEGER PRIMARY KEY AUTOINCREMENT, x UNIQUE, y REFERENCES my_quote_t (x))")
    await run("CREATE INDEX my_quote_i ON my_quote_t (y)")
    assert await run("INSERT INTO my_quote_t (x) VALUES (:x) RETURNING id", {"x": 7}) == [(1,)]
    await run("CREATE TRIGGER my_quote_r AFTER INSERT ON my_quote_t BEGIN UPDATE my_quote_t SET y = x; END")
    await run("insert into MY_QUOTE_T (x) values (?)", (8,))
    await run("CREATE VIEW my_quote_v AS SELECT x, y FROM my_quote_t")
    assert await run("SELECT * FROM my_quote_v WHERE y = 8") == [(8, 8)]
    assert await run("SELECT count(*), max(x) FROM my_quote_t") == [(2, 8)]
    await run("ALTER TABLE my_quote_t ADD COLUMN z DEFAULT 3")
    await run("ALTER TABLE my_quote_t RENAME COLUMN z TO zz")
    assert len(await run("PRAGMA table_info(my_quote_t)")) == 4
    assert await run("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i FROM n") == [
        (1,),
        (2,),
        (3,),
    ]
    assert await run("SELECT value FROM json_each('[1, 2]')") == [(1,), (2,)]
    for statement in ("DROP VIEW my_quote_v", "DROP TRIGGER my_quote_r", "DROP INDEX my_quote_i", "REINDEX my_quote_t"):
        await run(statement)
    await run("DELETE FROM my_quote_t")
    await run("DROP TABLE my_quote_t")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM oddwire_outbox",
        "SELECT count(*) FROM oddwire_outbox",
        "SELECT exists(SELECT 1 FROM oddwire_inbox)",
        "DELETE FROM oddwire_inbox",
        "UPDATE oddwire_values SET value = 1",
        "INSERT INTO my_quote_t SELECT key FROM oddwire_values",
        "DROP TABLE oddwire_state",
        "ALTER TABLE oddwire_state ADD COLUMN x",
        "CREATE INDEX my_quote_i ON oddwire_outbox (payload)",
        "CREATE TRIGGER my_quote_r AFTER INSERT ON oddwire_inbox BEGIN SELECT 1; END",
        "CREATE TABLE quote_t (x)",
        "CREATE TABLE other_t (x)",
        "CREATE TEMP TABLE my_quote_t2 (x)",
        "CREATE INDEX other_i ON my_quote_t (x)",
        "CREATE VIRTUAL TABLE my_quote_f USING fts5(x)",
        "CREATE VIRTUAL TABLE my_quote_f USING fts4(x)",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT a",
        "RELEASE unit",
        "ATTACH ':memory:' AS other",
        "VACUUM",
        "PRAGMA synchronous = OFF",
        "PRAGMA journal_mode",
        "PRAGMA writable_schema = 1",
        "ANALYZE",
        "SELECT * FROM dbstat",
    ],
)
async def test_sql_on_anything_else_is_refused(door: ExtensionStore, statement: str) -> None:
    await door.execute("CREATE TABLE my_quote_t (x)")
    with pytest.raises(sqlite3.Error):
        await door.execute(statement)
    await door.execute("INSERT INTO my_quote_t VALUES (1)")
    assert await door.execute("SELECT count(*) FROM my_quote_t") == [(1,)]


async def test_a_refusal_says_what_would_be_right(door: ExtensionStore) -> None:
    with pytest.raises(
        sqlite3.ProgrammingError, match=r"extension 'my-quote': .* are named my_quote_\.\.\., not prices"
    ):
        await door.execute("CREATE TABLE prices (x)")
    with pytest.raises(sqlite3.ProgrammingError, match=r"see ExtensionStore\.transaction"):
        await door.execute("COMMIT")
    with pytest.raises(TypeError, match="SQL should be a str"):
        await door.execute(b"SELECT 1")  # type: ignore[arg-type]


async def test_a_statement_of_ours_gives_no_rights(door: ExtensionStore) -> None:
    """What has been prepared for the store itself is no way around its rules."""
    await door.set("a", 1)
    await door.delete("a")
    for statement in (
        "DELETE FROM oddwire_values WHERE extension = ? AND key = ?",
        "*/ DELETE FROM oddwire_values WHERE extension = ? AND key = ? /*",
    ):
        with pytest.raises(sqlite3.Error):
            await door.execute(statement, ("my-quote", b"a"))
