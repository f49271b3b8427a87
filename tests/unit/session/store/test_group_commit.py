"""Group commit, and disks that are full, read-only, damaged or locked."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from oddwire.errors import StoreError
from oddwire.session.store.database import Database
from oddwire.session.store.extension_store import ExtensionStore
from oddwire.session.store.group_commit import GroupCommit
from oddwire.session.store.unit import Store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(tmp_path / "store")
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
def door(store: Store) -> ExtensionStore:
    return ExtensionStore(store, "quote")


def writer(store: Store) -> sqlite3.Connection:
    assert store._database is not None
    return store._database.writer


@contextmanager
def full(store: Store) -> Iterator[None]:
    """Let the database have no page more than it has."""
    (pages,) = writer(store).execute("PRAGMA page_count").fetchone()
    writer(store).execute(f"PRAGMA max_page_count = {pages}")
    yield
    writer(store).execute("PRAGMA max_page_count = 1000000")


class Ledger:
    """A part that counts."""

    def __init__(self) -> None:
        self.gathered = 0
        self.shares: list[int] = []
        self.ends: list[StoreError | None] = []

    def load(self, database: Database) -> None:
        self.shares.clear()

    def begin(self) -> None:
        self.shares.append(self.gathered)
        self.gathered = 0

    def write(self, writer: sqlite3.Connection) -> None:
        if self.shares[-1] == 13:
            raise ValueError("thirteen")

    def end(self, error: StoreError | None) -> None:
        self.ends.append(error)


async def test_what_comes_while_a_commit_runs_shares_the_next(tmp_path: Path) -> None:
    commits, ledger = GroupCommit(tmp_path / "store"), Ledger()
    commits.add(ledger)
    await commits.open()

    async def one() -> None:
        for _ in range(20):
            ledger.gathered += 1
            await commits.touch().durable()

    await asyncio.gather(*(one() for _ in range(100)))
    assert sum(ledger.shares) == 2000
    assert len(ledger.shares) < 200
    await commits.aclose()
    assert ledger.ends == [None] * len(ledger.shares)


async def test_what_nobody_waits_for_is_committed_too(tmp_path: Path) -> None:
    commits, ledger = GroupCommit(tmp_path / "store"), Ledger()
    commits.add(ledger)
    await commits.open()
    ledger.gathered = 1
    commits.touch_later()
    commits.touch_later()
    assert ledger.shares == []
    while not ledger.ends:
        await asyncio.sleep(0.01)
    ledger.gathered = 2
    commits.touch_later()
    await commits.aclose()
    assert ledger.shares == [1, 2]
    assert ledger.ends == [None, None]


async def test_a_part_that_cannot_write_spoils_one_commit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    commits, ledger = GroupCommit(tmp_path / "store"), Ledger()
    commits.add(ledger)
    await commits.open()
    ledger.gathered = 13
    with pytest.raises(StoreError, match="thirteen"):
        await commits.touch().durable()
    assert "cannot be written" in caplog.text
    ledger.gathered = 1
    await commits.touch().durable()
    await commits.aclose()


async def test_who_does_not_wait_any_more_disturbs_nobody(store: Store, door: ExtensionStore) -> None:
    tasks = [asyncio.create_task(door.set(f"{number}", number)) for number in range(10)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert found[1::2] == [None] * 5


async def test_a_full_disk_is_told_and_once_there_is_room_all_is_well(store: Store, door: ExtensionStore) -> None:
    await door.set("small", 1)
    with full(store):
        for _ in range(3):
            with pytest.raises(StoreError, match="has no room: its disk is full") as caught:
                await door.set("large", bytes(100_000))
            assert caught.value.reason == "full"
        assert await door.items() == [("small", 1)]
    await door.set("large", b"fits")
    assert await door.items() == [("large", b"fits"), ("small", 1)]


async def test_sql_on_a_full_disk(store: Store, door: ExtensionStore) -> None:
    await door.execute("CREATE TABLE quote_t (x)")
    with full(store):
        for _ in range(2):
            with pytest.raises(StoreError, match="has no room"):
                await door.execute("INSERT INTO quote_t VALUES (zeroblob(100000))")
    await door.execute("INSERT INTO quote_t VALUES (1)")
    assert await door.execute("SELECT x FROM quote_t") == [(1,)]


async def test_units_that_may_build_on_what_was_lost_are_lost_too(store: Store, door: ExtensionStore) -> None:
    other = ExtensionStore(store, "other")
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        async with store.unit("other"):
            await other.set("a", 1)
            begun.set()
            await go_on.wait()

    task = asyncio.create_task(slow())
    await begun.wait()
    with full(store), pytest.raises(StoreError):
        await door.set("large", bytes(100_000))
    go_on.set()
    with pytest.raises(StoreError, match="has no room"):
        await task
    assert await other.items() == []
    await other.set("a", 2)


async def test_a_limit_on_the_size_of_files(store: Store, door: ExtensionStore) -> None:
    await door.set("small", 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(StoreError) as caught:
            await door.set("large", bytes(1_000_000))
        assert caught.value.reason in ("full", "io")
        assert await door.get("small") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    await door.set("large", bytes(1_000_000))


async def test_a_disk_that_becomes_read_only(store: Store, door: ExtensionStore) -> None:
    await door.set("a", 1)
    writer(store).execute("PRAGMA query_only = 1")
    with pytest.raises(StoreError, match="is read-only") as caught:
        await door.set("a", 2)
    assert caught.value.reason == "read-only"
    assert await door.get("a") == 1
    writer(store).execute("PRAGMA query_only = 0")
    await door.set("a", 2)
    assert await door.get("a") == 2


async def test_another_program_that_keeps_it_locked(store: Store, door: ExtensionStore) -> None:
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="is locked by another program") as caught:
            await door.set("a", 1)
        assert caught.value.reason == "locked"
        with pytest.raises(StoreError, match="is locked by another program"):
            await door.execute("CREATE TABLE quote_t (x)")
        other.execute("ROLLBACK")
    await door.set("a", 1)
    await door.execute("CREATE TABLE quote_t (x)")


async def test_work_goes_on_when_it_is_free_again_and_the_loop_does_meanwhile(
    store: Store, door: ExtensionStore
) -> None:
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        tasks = [asyncio.create_task(door.set(f"{number}", number)) for number in range(10)]
        tasks.append(asyncio.create_task(door.execute("CREATE TABLE quote_t (x)")))
        for _ in range(100):
            await asyncio.sleep(0.001)
        assert not any(task.done() for task in tasks)
        other.execute("ROLLBACK")
    await asyncio.gather(*tasks)
    assert len(await door.items()) == 10


async def test_trouble_is_told_once_and_so_is_its_end(
    store: Store, door: ExtensionStore, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        writer(store).execute("PRAGMA query_only = 1")
        for _ in range(3):
            with pytest.raises(StoreError):
                await door.set("a", 1)
        writer(store).execute("PRAGMA query_only = 0")
        await door.set("a", 1)
    told = [record.getMessage() for record in caplog.records]
    assert [
        text.startswith("nothing can be stored for now, and uncommitted changes are dropped: ") for text in told
    ] == [
        True,
        False,
    ] * 2
    assert told[1] == f"{store.path} is written again"


@pytest.mark.parametrize("how", ["moved", "replaced"])
async def test_nothing_is_written_where_nobody_finds_it(store: Store, door: ExtensionStore, how: str) -> None:
    await door.set("a", 1)
    assert await door.get("a") == 1
    path = Path(store.path)
    path.rename(path.with_name("away"))
    if how == "replaced":
        path.write_bytes(b"")
    for call in (door.set("a", 2), door.execute("CREATE TABLE quote_t (x)")):
        with pytest.raises(StoreError, match="was moved, deleted or replaced while it was in use") as caught:
            await call
        assert caught.value.reason == "moved"
    assert await door.get("a") == 1
    path.with_name("away").rename(path)
    await door.set("a", 3)
    assert await door.get("a") == 3


async def test_one_that_is_damaged_while_it_is_used(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    door = ExtensionStore(store, "quote")
    for number in range(50):
        await door.set(f"{number}", bytes(1000))
    await store.aclose()
    store = Store(tmp_path / "store")
    await store.open()
    with (tmp_path / "store").open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    door = ExtensionStore(store, "quote")
    with pytest.raises(StoreError, match="is damaged") as caught:
        await door.items()
    assert caught.value.reason == "corrupt"
    with pytest.raises(StoreError, match="is damaged"):
        await door.set("new", 1)
    await store.aclose()


async def test_a_store_that_cannot_be_opened_says_so_each_time_and_is_tried_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "missing" / "store")
    door = ExtensionStore(store, "quote")
    for _ in range(2):
        with pytest.raises(StoreError, match="cannot be opened: No such file or directory"):
            await door.set("a", 1)
    with pytest.raises(StoreError):
        await door.get("a")
    (tmp_path / "missing").mkdir()
    await store.open()
    await door.set("a", 1)
    assert await door.get("a") == 1
    await store.aclose()


async def test_closing_when_nothing_can_be_written(store: Store, door: ExtensionStore) -> None:
    async with store.unit("quote") as unit:
        await door.set("a", 1)
    writer(store).execute("PRAGMA query_only = 1")
    await store.aclose()
    with pytest.raises(StoreError, match="is read-only"):
        await unit.durable()


async def test_a_part_that_is_idle_is_loaded_and_costs_commits_nothing_until_it_joins(tmp_path: Path) -> None:
    store, ledger = Store(tmp_path / "store"), Ledger()
    ledger.shares.append(-1)
    store.add_idle(ledger)
    await store.open()
    assert ledger.shares == [], "it was loaded"
    await store.touch().durable()
    assert (ledger.shares, ledger.ends) == ([], [])
    store.join(ledger)
    await store.touch().durable()
    assert (ledger.shares, ledger.ends) == ([0], [None])
    await store.aclose()


# As the end of the process would ----------------------------------------------------------------------------------


async def count_of(path: Path) -> object:
    """Return what a later process finds."""
    later = Store(path)
    await later.open()
    try:
        return await ExtensionStore(later, "quote").get("count", 0)
    finally:
        await later.aclose()


async def test_abandoned_it_loses_what_is_not_committed(store: Store, door: ExtensionStore) -> None:
    await door.set("count", 1)
    unit = store.unit("quote")
    async with unit:
        await door.set("count", 2)
    waiting = asyncio.create_task(unit.durable())
    await store.abandon()
    with pytest.raises(StoreError, match="abandoned"):
        await waiting
    assert await count_of(Path(store.path)) == 1


async def test_abandoned_in_the_middle_of_a_unit_with_sql(store: Store, door: ExtensionStore) -> None:
    """The unit holds the database, and may never end: it is not waited for."""

    async def work() -> None:
        async with store.unit("quote"):
            await door.execute("CREATE TABLE quote_rows (number)")
            await store.abandon()
            await door.execute("INSERT INTO quote_rows VALUES (1)")

    await door.set("count", 1)
    async with asyncio.timeout(30):
        with pytest.raises(StoreError) as caught:
            await work()
        assert caught.value.reason == "closed"
    assert await count_of(Path(store.path)) == 1


async def test_abandoned_while_it_commits_the_commit_is_whole(store: Store, door: ExtensionStore) -> None:
    setting = asyncio.create_task(door.set("count", 5))
    while store._committer is None:
        await asyncio.sleep(0)
    await store.abandon()
    result = (await asyncio.gather(setting, return_exceptions=True))[0]
    assert await count_of(Path(store.path)) == (5 if result is None else 0)


async def test_abandoned_it_is_closed(store: Store, door: ExtensionStore) -> None:
    await asyncio.gather(store.abandon(), store.abandon(), store.aclose())
    with pytest.raises(StoreError) as caught:
        await door.set("count", 1)
    assert caught.value.reason == "closed"
    with pytest.raises(StoreError):
        await store.open()
    assert await count_of(Path(store.path)) == 0


async def test_abandoned_before_it_is_open_makes_no_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "none")
    await store.abandon()
    assert [*tmp_path.iterdir()] == []


async def test_abandoned_in_memory() -> None:
    store = Store()
    await store.open()
    await store.abandon()
    assert not store.is_open
