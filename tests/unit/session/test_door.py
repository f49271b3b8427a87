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


@pytest.mark.parametrize("value", [None, [1], {"a": 1}, pytest.param(object(), id="object")], ids=repr)
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
