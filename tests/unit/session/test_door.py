"""``context.store``: what an author may keep, and what not."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from oddwire.errors import ValueOutOfRange
from oddwire.session.door import ExtensionStore
from oddwire.session.store import Store


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[ExtensionStore]:
    store = Store(tmp_path / "store")
    await store.open()
    yield ExtensionStore(store, "my-quote")
    await store.aclose()


@pytest.mark.parametrize(
    "value", [b"", b"\x00\xff", "", "1", "ä\0ö", 0, -(1 << 63), (1 << 63) - 1, 1.5, float("inf")], ids=repr
)
async def test_values_come_back_as_they_are(door: ExtensionStore, value: Any) -> None:
    await door.set("key", value)
    found = await door.get("key")
    assert found == value
    assert type(found) is type(value)


async def test_bytes_of_other_kinds_become_bytes(door: ExtensionStore) -> None:
    await door.set("a", bytearray(b"1"))  # type: ignore[arg-type]
    await door.set("b", memoryview(b"2"))  # type: ignore[arg-type]
    assert await door.items() == [("a", b"1"), ("b", b"2")]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (1 << 63, "64 bits"),
        (-(1 << 63) - 1, "64 bits"),
        (float("nan"), "a number"),
        ("\ud800", "UTF-8"),
        (bytes((1 << 28) + 1), "at most"),
        ("a" * ((1 << 28) + 1), "at most"),
    ],
    ids=["int", "negative", "nan", "surrogate", "bytes", "str"],
)
async def test_what_would_not_come_back_is_refused_at_once(door: ExtensionStore, value: Any, error: str) -> None:
    with pytest.raises(ValueOutOfRange, match=error):
        await door.set("key", value)
    assert await door.get("key") is None


@pytest.mark.parametrize("value", [None, [1], {"a": 1}, object()], ids=repr)
async def test_other_kinds_are_refused(door: ExtensionStore, value: Any) -> None:
    with pytest.raises(TypeError, match="should be bytes, str, int or float"):
        await door.set("key", value)


async def test_keys(door: ExtensionStore) -> None:
    with pytest.raises(TypeError, match="key should be a str, not int"):
        await door.get(1)  # type: ignore[arg-type]
    with pytest.raises(ValueOutOfRange, match="UTF-8"):
        await door.set("\ud800", 1)
    for key in ("", "a", "a\0b", "ab", "b", "ä", "a\U0010ffff"):
        await door.set(key, key)
    assert [key for key, _ in await door.items()] == ["", "a", "a\0b", "ab", "a\U0010ffff", "b", "ä"]
    assert [key for key, _ in await door.items("a")] == ["a", "a\0b", "ab", "a\U0010ffff"]
    assert await door.get("c", 5) == 5
    await door.delete("a")
    await door.delete("never there")
    assert await door.get("a", "none") == "none"
    async with door.transaction():
        await door.delete("ab")
        await door.set("ac", 1)
        assert await door.get("ab", "none") == "none"
        assert [key for key, _ in await door.items("a")] == ["a\0b", "ac", "a\U0010ffff"]


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


async def test_mistakes_in_sql_are_the_authors_to_see_and_spoil_nothing_else(door: ExtensionStore) -> None:
    await door.execute("CREATE TABLE my_quote_t (x UNIQUE)")
    async with door.transaction():
        await door.set("a", 1)
        await door.execute("INSERT INTO my_quote_t VALUES (1)")
        with pytest.raises(sqlite3.IntegrityError):
            await door.execute("INSERT INTO my_quote_t VALUES (1)")
        with pytest.raises(sqlite3.OperationalError):
            await door.execute("SELEC 1")
        with pytest.raises(sqlite3.ProgrammingError):
            await door.execute("SELECT ?")
        await door.execute("INSERT INTO my_quote_t VALUES (2)")
    assert await door.execute("SELECT x FROM my_quote_t") == [(1,), (2,)]
    assert await door.get("a") == 1
