"""Units of work: they take effect together, or not at all."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from oddwire.errors import StoreError
from oddwire.session.store.database import MEMORY
from oddwire.session.store.extension_store import ExtensionStore
from oddwire.session.store.unit import Store


class Mistake(Exception):
    """What a handler raises that is not right."""


@pytest.fixture(params=["file", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(MEMORY if request.param == "memory" else tmp_path / "store")
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
def door(store: Store) -> ExtensionStore:
    return ExtensionStore(store, "quote")


async def test_a_unit_takes_effect_as_it_ends(store: Store, door: ExtensionStore) -> None:
    async with store.unit("quote") as unit:
        assert store.current() is unit
        await door.set("a", 1)
        await door.set("b", 2)
        assert await door.get("a") == 1
        assert await door.items() == [("a", 1), ("b", 2)]
    assert store.current() is None
    assert await door.get("a") == 1, "others see it at once; it is on disk later"
    await unit.durable()
    assert await door.items() == [("a", 1), ("b", 2)]


async def test_a_unit_that_fails_leaves_nothing(store: Store, door: ExtensionStore) -> None:
    await door.set("a", 1)
    calls = []

    async def handle() -> None:
        async with unit:
            await door.set("a", 2)
            await door.set("b", 2)
            await door.execute("CREATE TABLE quote_t (x)")
            unit.at_end(lambda: calls.append("end"), lambda: calls.append("failed"))
            raise Mistake

    unit = store.unit("quote")
    with pytest.raises(Mistake):
        await handle()
    assert calls == ["failed"]
    assert await door.items() == [("a", 1)]
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await door.execute("SELECT * FROM quote_t")
    await unit.durable()  # there is nothing to wait for


async def test_units_of_one_extension_do_not_see_each_other_half_done(store: Store, door: ExtensionStore) -> None:
    async def count() -> None:
        async with store.unit("quote") as unit:
            number = await door.get("n", 0)
            await asyncio.sleep(0)
            assert isinstance(number, int)
            await door.set("n", number + 1)
        await unit.durable()

    await asyncio.gather(*(count() for _ in range(50)))
    assert await door.get("n") == 50


async def test_units_of_other_extensions_go_on_meanwhile(store: Store, door: ExtensionStore) -> None:
    other = ExtensionStore(store, "other")
    async with store.unit("quote"):
        await door.set("a", 1)
        await asyncio.create_task(_in_own_unit(store, "other", other, "a", 2))
        assert await other.get("a") == 2
        assert await door.get("a") == 1


async def _in_own_unit(store: Store, extension: str, door: ExtensionStore, key: str, value: int) -> None:
    async with store.unit(extension) as unit:
        await door.set(key, value)
    await unit.durable()


async def test_tasks_of_a_handler_are_part_of_its_unit_until_it_ends(store: Store, door: ExtensionStore) -> None:
    go_on = asyncio.Event()

    async def straggle() -> None:
        await door.set("early", 1)
        await go_on.wait()
        await door.set("late", 1)

    async def handle() -> None:
        async with store.unit("quote"):
            stragglers.append(asyncio.create_task(straggle()))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            raise Mistake

    stragglers: list[asyncio.Task[None]] = []
    with pytest.raises(Mistake):
        await handle()
    go_on.set()
    await stragglers[0]
    assert await door.items() == [("late", 1)]


async def test_sql_of_several_units_is_committed_together_and_undone_alone(store: Store, door: ExtensionStore) -> None:
    await door.execute("CREATE TABLE quote_t (x)")

    async def insert(number: int) -> None:
        async with store.unit("quote") as unit:
            await door.execute("INSERT INTO quote_t VALUES (?)", (number,))
            if number % 2:
                raise ValueError
        await unit.durable()

    await asyncio.gather(*(insert(number) for number in range(10)), return_exceptions=True)
    assert await door.execute("SELECT x FROM quote_t ORDER BY x") == [(0,), (2,), (4,), (6,), (8,)]


async def test_a_transaction_of_ones_own(store: Store, door: ExtensionStore) -> None:
    async with door.transaction():
        await door.set("a", 1)
        await door.execute("CREATE TABLE quote_t (x)")
        async with door.transaction():
            await door.execute("INSERT INTO quote_t VALUES (1)")

    async def fail() -> None:
        async with door.transaction():
            await door.set("a", 2)
            await door.execute("INSERT INTO quote_t VALUES (2)")
            raise Mistake

    with pytest.raises(Mistake):
        await fail()
    assert await door.get("a") == 1
    assert await door.execute("SELECT * FROM quote_t") == [(1,)]


async def test_reading_alone_leaves_no_transaction_open(store: Store, door: ExtensionStore) -> None:
    await door.execute("CREATE TABLE quote_t (x)")
    async with store.unit("quote") as unit:
        assert await door.execute("SELECT * FROM quote_t") == []
    assert unit.group is None
    assert store._database is not None
    assert not store._database.writer.in_transaction


async def test_a_handler_that_is_cancelled_while_sql_runs_is_undone(store: Store, door: ExtensionStore) -> None:
    await door.execute("CREATE TABLE quote_t (x)")
    numbers = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 200000)"

    async def handle() -> None:
        async with store.unit("quote"):
            await door.set("begun", 1)
            await door.execute(f"{numbers} INSERT INTO quote_t SELECT x FROM n")
            await asyncio.sleep(3600)

    task = asyncio.create_task(handle())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await door.get("begun") is None
    assert await door.execute("SELECT count(*) FROM quote_t") == [(0,)]


async def test_what_has_ended_is_there_after_closing(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    await store.open()
    await store.open()
    async with store.unit("quote"):
        await ExtensionStore(store, "quote").set("a", b"1")
    await store.aclose()
    await store.aclose()
    assert not store.is_open
    with pytest.raises(StoreError, match="closed") as caught:
        await ExtensionStore(store, "quote").get("a")
    assert caught.value.reason == "closed"
    again = Store(tmp_path / "store")
    assert await ExtensionStore(again, "quote").get("a") == b"1", "opened at first use"
    await again.aclose()


async def test_a_key_is_its_extensions_own(store: Store, door: ExtensionStore) -> None:
    other = ExtensionStore(store, "other")
    await door.set("a", 1)
    await other.set("a", 2)
    async with store.unit("quote"):
        await other.set("b", 3)  # not this unit's extension: on disk at once
        assert await door.items() == [("a", 1)]
    assert await other.items() == [("a", 2), ("b", 3)]


async def test_a_handler_that_keeps_the_database_for_too_long_fails(store: Store, door: ExtensionStore) -> None:
    store.most_held = 0.01
    await door.execute("CREATE TABLE quote_t (x)")
    go_on = asyncio.Event()

    async def handle(again: bool) -> None:
        async with store.unit("quote"):
            await door.execute("INSERT INTO quote_t VALUES (1)")
            await go_on.wait()
            if again:
                await door.execute("INSERT INTO quote_t VALUES (2)")

    other = ExtensionStore(store, "other")
    for again in (False, True):
        task = asyncio.create_task(handle(again))
        await asyncio.sleep(0)
        await other.set("goes on", again)  # once the handler has lost its place
        go_on.set()
        with pytest.raises(TimeoutError, match="took too long, and was rolled back"):
            await task
        go_on.clear()
    assert await door.execute("SELECT * FROM quote_t") == []
