"""The store of a partition: what counts, when it is seen, and what ends it."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.support.broker import Broker
from tests.support.partition_logs import GatedPlace, MemoryPlace, create_log_streams
from tests.support.waiting import until

from oddwire import Application, Context, Extension, Message, message, u64
from oddwire.cluster.log.entries import Kind, follow
from oddwire.cluster.log.replicated_store import ReplicatedStore
from oddwire.cluster.log.subject import LogPlace
from oddwire.errors import ExtensionError, StoreError
from oddwire.proto.keys import NodeId
from oddwire.session.store.extension_store import ExtensionStore
from oddwire.session.store.unit import Store
from oddwire.testing import ScriptedTransport
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerRefused

NODE = NodeId(b"\x02" + b"\x22" * 32)
LONG = random.Random(1).randbytes(50_000)


class Gate:
    """Lets calls of one kind pass, or holds them."""

    def __init__(self) -> None:
        self.held = ""
        self.open = asyncio.Event()
        self.waiting = 0

    async def __call__(self, call: str, when: str) -> None:
        if f"{call} {when}" == self.held:
            self.waiting += 1
            await self.open.wait()


class Partition:
    """An owner, with its store and the part of an extension in it."""

    def __init__(self, place: LogPlace, folder: Path, **more: Any) -> None:
        self.gate = Gate()
        self.log = ReplicatedStore(GatedPlace(place, self.gate), folder, owner=folder.name, **more)
        self.fenced: list[StoreError] = []
        self.log.on_fenced.append(self.fenced.append)

    async def start(self) -> Partition:
        await self.log.take()
        await self.log.catch_up()
        self.store = Store(self.log.path, log=self.log)
        await self.store.open()
        self.door = ExtensionStore(self.store, "quote")
        return self

    async def stop(self) -> None:
        self.gate.open.set()
        await self.store.aclose()
        await self.log.aclose()


Make = Callable[..., Coroutine[Any, Any, Partition]]


@pytest.fixture
def memory() -> MemoryPlace:
    return MemoryPlace()


@pytest.fixture
async def make(memory: MemoryPlace, tmp_path: Path) -> AsyncIterator[Make]:
    """Make the next owner of the log in memory, with a folder of its own unless one is named."""
    made: list[Partition] = []

    async def start(name: str = "", **more: Any) -> Partition:
        owner = Partition(memory, tmp_path / (name or f"owner{len(made)}"), **more)
        made.append(owner)
        return await owner.start()

    yield start
    for owner in made:
        if hasattr(owner, "store"):
            await owner.stop()


async def failure(work: Coroutine[Any, Any, object]) -> StoreError:
    with pytest.raises(StoreError) as caught:
        await asyncio.wait_for(work, 20)
    return caught.value


def commits(place: MemoryPlace) -> int:
    return sum(follow(None, message.data).kind is Kind.COMMIT for message in place.log.messages)


# What counts, and when ---------------------------------------------------------------------------------------------


async def test_a_commit_counts_when_the_log_has_it(make: Make, memory: MemoryPlace) -> None:
    owner = await make()
    before = commits(memory)
    owner.gate.held = "append log before"
    writing = asyncio.create_task(owner.door.set("price", 7))
    await until(lambda: owner.gate.waiting)
    assert not writing.done()
    assert await owner.door.get("price") is None, "it could be told to a peer, and then not count"
    assert await owner.door.items() == []
    assert owner.store._database is not None
    assert owner.store._database.reader.execute("SELECT count(*) FROM oddwire_values").fetchone() == (0,)
    async with owner.store.unit("quote"):
        assert await owner.door.get("price") == 7, "what a unit does with it counts with it, or not"
    assert commits(memory) == before
    owner.gate.open.set()
    await writing
    assert await owner.door.get("price") == 7
    assert commits(memory) == before + 1


async def test_units_share_the_next_commit_while_one_is_under_way(make: Make, memory: MemoryPlace) -> None:
    owner = await make()
    before = commits(memory)
    await asyncio.gather(*(owner.door.set(f"{number}", number) for number in range(50)))
    assert len(await owner.door.items()) == 50
    assert commits(memory) - before < 50


async def test_what_an_owner_leaves_the_next_one_has(make: Make) -> None:
    first = await make()
    assert first.store._database is not None
    assert first.store._database.is_new
    await first.door.set("price", 7)
    await first.door.execute("CREATE TABLE quote_asks (id INTEGER PRIMARY KEY, asset TEXT)")
    await first.door.execute("INSERT INTO quote_asks (asset) VALUES ('eur')")
    numbers = first.store.identity.numbers
    await first.stop()
    second = await make()
    assert await second.door.get("price") == 7
    assert await second.door.execute("SELECT * FROM quote_asks") == [(1, "eur")]
    assert second.store.identity.numbers == numbers
    assert second.store._database is not None
    assert second.store._database.clean, "the first one has closed it"
    second.log.lost("killed")
    third = await make()
    assert third.store._database is not None
    assert not third.store._database.clean


async def test_a_unit_that_fails_leaves_nothing(make: Make, memory: MemoryPlace) -> None:
    owner = await make()
    before = commits(memory)

    async def fail() -> None:
        async with owner.door.transaction():
            await owner.door.set("price", 7)
            await owner.door.execute("CREATE TABLE quote_asks (id INTEGER PRIMARY KEY)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert commits(memory) == before
    await owner.door.set("other", 1)
    await owner.stop()
    assert await (await make()).door.items() == [("other", 1)]


async def test_a_full_disk_fails_a_commit_and_no_more(make: Make) -> None:
    owner = await make()
    assert owner.store._database is not None
    writer = owner.store._database.writer
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}")
    assert (await failure(owner.door.set("large", bytes(200_000)))).reason == "full"
    writer.execute("PRAGMA max_page_count = 100000")
    await owner.door.set("small", 1)
    await owner.stop()
    assert await (await make()).door.items() == [("small", 1)]


async def test_what_is_longer_than_a_message_takes_effect_together(make: Make, memory: MemoryPlace) -> None:
    memory.max_message = memory.log._stream.max_message = 4000
    first = await make()
    await first.door.set("price", 1)
    first.gate.held = "append log after"  # the first of many parts is stored
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(failure(first.door.set("price", LONG)))
        await until(lambda: first.gate.waiting)
        assert follow(None, memory.log.messages[-1].data).more
        second = await make()
        first.gate.open.set()
    assert writing.result().reason == "fenced"
    assert await second.door.get("price") == 1
    await second.door.set("price", LONG)
    await second.stop()
    assert await (await make()).door.get("price") == LONG


# What ends it ------------------------------------------------------------------------------------------------------


async def test_a_fenced_store_fails_everything_and_stays_closed(make: Make, memory: MemoryPlace) -> None:
    stale = await make()
    await stale.door.set("price", 1)
    stale.gate.held = "append log before"
    works = [asyncio.create_task(stale.door.set("price", number)) for number in range(5)]
    await until(lambda: stale.gate.waiting)
    owner = await make()
    messages = [*memory.log.messages]
    stale.gate.open.set()
    for work in works:
        error = await failure(work)
        assert error.reason == "fenced"
        assert "owner1, term" in str(error)
    for again in (
        stale.door.get("price"),
        stale.door.set("price", 1),
        stale.door.execute("SELECT 1"),
        stale.store.ready(),
    ):
        assert (await failure(again)).reason == "fenced"
    assert [error.reason for error in stale.fenced] == ["fenced"]
    assert not Path(stale.log.path).exists(), "it has what does not count"
    await stale.stop()
    assert memory.log.messages == messages
    assert await owner.door.get("price") == 1


async def test_a_handler_that_holds_the_database_fails_when_it_is_fenced(make: Make) -> None:
    owner = await make()
    await owner.door.execute("CREATE TABLE quote_asks (id INTEGER PRIMARY KEY)")
    holds, waits = asyncio.Event(), asyncio.Event()

    async def handler() -> None:
        async with owner.door.transaction():
            await owner.door.execute("INSERT INTO quote_asks VALUES (1)")
            holds.set()
            await waits.wait()
            await owner.door.execute("INSERT INTO quote_asks VALUES (2)")

    handling = asyncio.create_task(handler())
    await holds.wait()
    other = asyncio.create_task(owner.door.set("price", 1))  # its commit waits for the handler
    await asyncio.sleep(0)
    owner.log.lost("the lease was lost")
    waits.set()
    assert (await failure(handling_of(handling))).reason == "fenced"
    assert (await failure(handling_of(other))).reason == "fenced"
    await asyncio.wait_for(owner.stop(), 20)


async def handling_of(task: asyncio.Task[Any]) -> object:
    return await task


async def test_a_lost_lease_ends_what_waits_for_the_broker(make: Make, memory: MemoryPlace) -> None:
    owner = await make()
    owner.gate.held = "append log before"
    writing = asyncio.create_task(owner.door.set("price", 1))
    await until(lambda: owner.gate.waiting)
    owner.log.lost("the lease was lost")
    owner.log.lost("twice")
    error = await failure(handling_of(writing))
    assert error.reason == "fenced"
    assert "the lease was lost" in str(error)
    assert len(owner.fenced) == 1
    await owner.stop()
    assert await (await make()).door.get("price") is None


async def test_of_two_who_take_a_log_one_has_it(memory: MemoryPlace, tmp_path: Path) -> None:
    gate = Gate()
    gate.held = "append log before"
    both = [ReplicatedStore(GatedPlace(memory, gate), tmp_path / name, owner=name) for name in ("one", "two")]
    taking = asyncio.gather(*(store.take() for store in both), return_exceptions=True)
    await until(lambda: gate.waiting == 2)
    gate.open.set()
    results = await taking
    [error] = [result for result in results if isinstance(result, StoreError)]
    assert error.reason == "fenced"
    assert sum(isinstance(result, int) for result in results) == 1
    third = ReplicatedStore(memory, tmp_path / "three")
    assert await third.take() == third.term == memory.log.messages[-1].sequence
    for store in (*both, third):
        await store.aclose()


async def test_another_program_that_writes_to_the_cache_ends_it(make: Make, memory: MemoryPlace) -> None:
    owner = await make()
    await owner.door.set("price", 1)
    with closing(sqlite3.connect(owner.log.path)) as other, other:
        other.execute("DELETE FROM oddwire_values")
    error = await failure(owner.door.set("other", 1))
    assert error.reason == "moved"
    assert "another program has written to" in str(error)
    assert [error.reason for error in owner.fenced] == ["moved"]
    assert (await failure(owner.door.get("price"))).reason == "moved"
    await owner.stop()
    assert await (await make()).door.items() == [("price", 1)]


async def test_a_broker_that_refuses_ends_it(make: Make) -> None:
    owner = await make()

    async def refuse(call: str, when: str) -> None:
        raise BrokerRefused("permissions violation")

    owner.gate.__class__ = type("Refusing", (Gate,), {"__call__": lambda self, call, when: refuse(call, when)})
    error = await failure(owner.door.set("price", 1))
    assert error.reason == "io"
    assert "permissions violation" in str(error)


async def test_calls_in_the_wrong_order_are_told(memory: MemoryPlace, tmp_path: Path) -> None:
    log = ReplicatedStore(memory, tmp_path / "cache")
    assert log.position is None
    assert "take() comes first" in str(await failure(log.catch_up()))
    await log.take()
    store = Store(log.path, log=log)
    (tmp_path / "cache").mkdir(mode=0o700)
    assert "catch_up() comes first" in str(await failure(store.open()))
    await store.aclose()
    await log.aclose()


async def test_a_cache_has_one_user(make: Make, memory: MemoryPlace, tmp_path: Path) -> None:
    await make("cache")
    other = ReplicatedStore(memory, tmp_path / "cache")
    await other.take()
    assert (await failure(other.catch_up())).reason == "locked"
    await other.aclose()


async def test_a_cancelled_take_is_no_take(memory: MemoryPlace, tmp_path: Path) -> None:
    gate = Gate()
    gate.held = "append log before"
    log = ReplicatedStore(GatedPlace(memory, gate), tmp_path / "cache")
    taking = asyncio.create_task(log.take())
    await until(lambda: gate.waiting)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert log.term == 0
    log.lost("no use")
    assert (await failure(log.take())).reason == "fenced"
    await log.aclose()


# Snapshots ---------------------------------------------------------------------------------------------------------


async def test_the_log_stays_bounded(make: Make, memory: MemoryPlace) -> None:
    owner, chance = await make(snapshot_after=20_000), random.Random(1)
    for number in range(600):
        await owner.door.set(f"{number % 20}", chance.randbytes(1000))
        if number % 100 == 0:
            await owner.stop()
            owner = await make(snapshot_after=20_000)
    await until(lambda: owner.log._snapshots.task is None)
    size = Path(owner.log.path).stat().st_size
    assert sum(len(message.data) for message in memory.log.messages) < 2 * max(20_000, size) + 20_000
    assert len(await memory.snapshots()) == 1
    await owner.stop()
    assert len(await (await make()).door.items()) == 20


async def test_commits_go_on_while_a_snapshot_is_made(make: Make, memory: MemoryPlace) -> None:
    owner = await make(snapshot_after=1)
    owner.gate.held = "append piece before"
    await owner.door.set("0", bytes(100))
    for number in range(1000):
        await owner.door.set(f"{number % 10}", number)
        if owner.gate.waiting:
            break
    for number in range(10):
        await owner.door.set(f"{number}", "meanwhile")
    owner.gate.held = ""
    owner.gate.open.set()
    await until(lambda: owner.log._snapshots.task is None)
    kinds = [follow(None, message.data).kind for message in memory.log.messages]
    assert kinds.index(Kind.SNAPSHOT) >= 10, "what was committed meanwhile is before it"
    assert Kind.FENCE not in kinds, "what was before the snapshot is gone"
    owner.log.lost("killed")
    assert [value for _, value in await (await make()).door.items()] == ["meanwhile"] * 10


async def grown(owner: Partition) -> None:
    """Commit until a snapshot is held at the gate."""
    for number in range(1000):
        await owner.door.set(f"{number % 10}", number)
        if owner.gate.waiting:
            return
    raise AssertionError("no snapshot was made")


async def test_a_stale_snapshot_is_refused_and_deletes_nothing(make: Make, memory: MemoryPlace) -> None:
    stale = await make(snapshot_after=1)
    stale.gate.held = "append piece after"
    await grown(stale)
    owner = await make(snapshot_after=1 << 30)
    messages, expected = [*memory.log.messages], await owner.door.items()
    stale.gate.open.set()
    await until(lambda: stale.fenced)
    await stale.stop()
    assert memory.log.messages == messages
    await owner.stop()
    owner = await make(snapshot_after=1)
    assert await owner.door.items() == expected
    left = await memory.snapshots()
    assert left, "the pieces of the stale one"
    owner.gate.held = "purge piece after"
    await grown(owner)
    assert not set(left) & set(await memory.snapshots()), "they go with the next snapshot"


async def test_pieces_of_a_later_owner_are_left_alone(make: Make, memory: MemoryPlace) -> None:
    stale = await make(snapshot_after=1)
    stale.gate.held = "purge log before"
    await grown(stale)
    owner = await make(snapshot_after=1)
    owner.gate.held = "append piece after"
    await grown(owner)
    later = (await memory.snapshots())[-1]
    messages = [*memory.log.messages]
    stale.gate.open.set()
    await until(lambda: stale.log._snapshots.task is None)
    assert later in await memory.snapshots()
    owner.gate.open.set()
    await until(lambda: owner.log._snapshots.task is None)
    assert memory.log.messages[-1].sequence >= messages[-1].sequence
    expected = await owner.door.items()
    owner.log.lost("killed")
    assert await (await make()).door.items() == expected


# As an application has it ------------------------------------------------------------------------------------------


@message(0x8C91)
class Order(Message):
    number: u64


async def test_an_application_has_it_for_its_store(memory: MemoryPlace, tmp_path: Path) -> None:
    extension = Extension("orders", version="1.0")

    @extension.on(Order, reliable=True)
    async def order(context: Context, order: Order) -> None:
        await context.store.set("last", order.number)

    log = ReplicatedStore(memory, tmp_path / "cache")
    await log.take()
    await log.catch_up()
    async with Application(extension, transport=ScriptedTransport(), store=log) as app:
        await app.store("orders").set("last", 7)
    await log.aclose()
    after = await Partition(memory, tmp_path / "other").start()
    assert await ExtensionStore(after.store, "orders").get("last") == 7
    await after.stop()
    wrong: Any = object()
    with pytest.raises(ExtensionError, match="store should be the path of a database"):
        Application(extension, transport=ScriptedTransport(), store=wrong)


async def test_it_goes_on_when_the_broker_is_back(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker") as broker:
        connection = await BrokerConnection.open(broker.address)
        await create_log_streams(connection, NODE)
        await create_log_streams(connection, NODE)
        log = ReplicatedStore.of_partition(connection, NODE, 3, tmp_path / "cache", owner="one")
        await log.take()
        await log.catch_up()
        store = Store(log.path, log=log)
        await store.open()
        door = ExtensionStore(store, "quote")
        await door.set("0", 0)
        for number in range(1, 4):
            broker.kill()
            writing = [asyncio.create_task(door.set(f"{each}", number)) for each in range(5)]
            broker.start()
            await asyncio.gather(*writing)
        await store.aclose()
        await log.aclose()
        log = ReplicatedStore.of_partition(connection, NODE, 3, tmp_path / "cache", owner="two")
        await log.take()
        await log.catch_up()
        store = Store(log.path, log=log)
        assert await ExtensionStore(store, "quote").items() == [(f"{each}", 3) for each in range(5)]
        await store.aclose()
        await log.aclose()
        await connection.aclose()
