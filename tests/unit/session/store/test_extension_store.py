"""``context.store``: what an author may keep, and what not."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from oddwire import clocks
from oddwire.errors import ValueOutOfRange
from oddwire.schema import Message, message, subtype, u32
from oddwire.session.store.extension_store import ExtensionStore
from oddwire.session.store.unit import Store


@subtype
class Item:
    name: str
    price: u32


@message(0x8C01)
class Order(Message):
    item: Item
    note: str | None = None


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[ExtensionStore]:
    store = Store(tmp_path / "store")
    await store.open()
    yield ExtensionStore(store, "my-quote")
    await store.aclose()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x00\xff",
        "",
        "1",
        "ä\0ö",
        0,
        -(1 << 63),
        (1 << 64) - 1,
        1.5,
        float("inf"),
        True,
        False,
        [],
        (1,),
        {"a": [None]},
    ],
    ids=repr,
)
async def test_values_come_back_as_they_are(door: ExtensionStore, value: Any) -> None:
    await door.set("key", value)
    found = await door.get("key")
    assert found == value
    assert type(found) is type(value)


async def test_bytes_of_other_kinds_become_bytes(door: ExtensionStore) -> None:
    await door.set("a", bytearray(b"1"))
    await door.set("b", memoryview(b"2"))
    assert await door.items() == [("a", b"1"), ("b", b"2")]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (1 << 64, "value of 'key' should be an int of 64 bits"),
        (-(1 << 63) - 1, "64 bits"),
        (float("nan"), "a number"),
        ("\ud800", "UTF-8"),
        (bytes((1 << 28) + 1), "at most"),
        ("a" * ((1 << 28) + 1), "at most"),
        ([bytes(1 << 28)], "at most"),
    ],
    ids=["int", "negative", "nan", "surrogate", "bytes", "str", "list"],
)
async def test_what_would_not_come_back_is_refused_at_once(door: ExtensionStore, value: Any, error: str) -> None:
    with pytest.raises(ValueOutOfRange, match=error):
        await door.set("key", value)
    assert await door.get("key") is None


async def test_objects_come_back_where_their_class_is_named(door: ExtensionStore) -> None:
    orders = [Order(item=Item(name="a", price=1)), Order(item=Item(name="b", price=2), note="now")]
    await door.set("order", orders[0])
    await door.set("orders", orders)
    async with door.transaction():
        await door.set("item", orders[1].item)
        assert await door.get("item", as_=Item) == orders[1].item, "before it is on disk, too"
    assert await door.get("order", as_=Order) == orders[0]
    assert await door.get("order", orders[1]) == orders[0], "the default's class tells"
    assert await door.get("orders", as_=list[Order]) == orders
    assert await door.get("none", as_=Order) is None
    assert await door.get("none", orders[1], as_=Order) == orders[1]
    assert await door.items("ord", as_=Order | list[Order]) == [("order", orders[0]), ("orders", orders)]
    with pytest.raises(TypeError, match=r"value of 'order' is an object of class Order, which is to be named in as_"):
        await door.get("order")
    with pytest.raises(TypeError, match=r"value of 'orders'\[0\] is an object of class Order"):
        await door.items("orders")


async def test_a_value_that_is_changed_later_is_kept_as_it_was(door: ExtensionStore) -> None:
    values = [1]
    async with door.transaction():
        await door.set("a", values)
        values.append(2)
        found = await door.get("a")
        assert found == [1]
        found.append(3)
        assert await door.get("a") == [1]
    assert await door.get("a") == [1]


async def test_what_is_not_of_the_defaults_class_is_told(door: ExtensionStore) -> None:
    await door.set("text", "1")
    with pytest.raises(TypeError, match="value of 'text' is a str, while the default is of class int: give it in as_="):
        await door.get("text", 0)
    await door.set("number", 1)
    assert await door.get("number", 0.5) == 1


async def test_values_of_a_database_of_before(tmp_path: Path, former: Any) -> None:
    """As version 1 had them: bytes, str, int and float, without a form."""
    path = tmp_path / "store"
    with former(path, 1) as old:
        for key, value in ((b"a", b"1"), (b"b", "1"), (b"c", 1), (b"d", 1.5)):
            old.execute("INSERT INTO oddwire_values VALUES ('my-quote', ?, ?)", (key, value))
    store = Store(path)
    await store.open()
    door = ExtensionStore(store, "my-quote")
    assert await door.items() == [("a", b"1"), ("b", "1"), ("c", 1), ("d", 1.5)]
    await door.set("c", [1])
    assert await door.get("c") == [1]
    await store.aclose()


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


async def test_now_is_a_clock_that_nobody_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = clocks.wall, []
    for days in (0, 400, -400):
        monkeypatch.setattr(clocks, "wall", lambda days=days: real() + days * 86400)
        store = Store(tmp_path / "store")
        await store.open()
        door = ExtensionStore(store, "my-quote")
        await door.set("key", 1)
        seen.append(await door.now())
        await store.aclose()
    assert abs(seen[0] - real()) < 3600
    assert seen == sorted(seen)
    assert seen[-1] - seen[0] < 3600
