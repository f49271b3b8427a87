"""Random fail-overs of a partition's store, held against a model of what it should have.

An owner writes by units of three extensions: values, and SQL with tables, columns and indices. It is killed at a random
point: its files are copied as they are at that moment, as the end of its process would leave them, and it is frozen.
The next owner begins with such a copy, with an older one, a damaged one, or none. Then the frozen one goes on, and
finds that nothing of it is stored any more.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.partition_logs import GatedPlace

from oddwire.cluster.log.replicated_store import ReplicatedStore
from oddwire.cluster.log.subject import LogPlace
from oddwire.errors import StoreError
from oddwire.session.store.extension_store import ExtensionStore
from oddwire.session.store.unit import Store
from oddwire.transports.nats.errors import BrokerUnavailable

EXTENSIONS = ("shop", "bank", "mint")
POINTS = [
    *[(f"append {what}", when) for what in ("log", "log", "log", "piece") for when in ("before", "after")],
    *[(f"purge {what}", when) for what in ("log", "piece") for when in ("before", "after")],
    ("nowhere", "before"),
]


class Work:
    """What one unit does: statements, and values to set, or None to delete; one value shows that it was done."""

    def __init__(self, extension: str, number: int) -> None:
        self.extension = extension
        self.number = number
        self.values: dict[str, Any] = {f"done/{number}": number}
        self.statements: list[tuple[str, tuple[Any, ...]]] = []

    async def do(self, store: Store) -> None:
        door = ExtensionStore(store, self.extension)
        async with door.transaction():
            for key, value in self.values.items():
                await (door.delete(key) if value is None else door.set(key, value))
            for statement, parameters in self.statements:
                await door.execute(statement, parameters)


class Model:
    """What the store should have: values by extension and key, and the tables in a database in memory."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.values: dict[str, dict[str, Any]] = {name: {} for name in EXTENSIONS}
        self.database = sqlite3.connect(":memory:", isolation_level=None)
        self.number = 0

    def apply(self, work: Work) -> None:
        values = self.values[work.extension]
        for key, value in work.values.items():
            values[key] = value
            if value is None:
                del values[key]
        for statement, parameters in work.statements:
            self.database.execute(statement, parameters)

    def invent(self, extension: str) -> Work:
        """Make up work that is possible now."""
        chance = self.chance
        self.number += 1
        work = Work(extension, self.number)
        for _ in range(chance.randrange(4)):
            size = 20_000 if chance.random() < 0.02 else chance.randrange(200)
            work.values[f"key/{chance.randrange(40)}"] = None if chance.random() < 0.2 else chance.randbytes(size)
        old = [key for key in self.values[extension] if key.startswith("done/")]
        if len(old) > 20:
            work.values[old[0]] = None
        if chance.random() < 0.6:
            work.statements = [*self._statements(extension)]
        return work

    def _statements(self, extension: str) -> list[tuple[str, tuple[Any, ...]]]:
        chance, name = self.chance, f"{extension}_{self.chance.randrange(3)}"
        columns = [row[1] for row in self.database.execute(f"PRAGMA table_info({name})")]
        if not columns:
            made = chance.choice(
                [
                    f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, text TEXT)",
                    f"CREATE TABLE {name} (id BLOB PRIMARY KEY, text TEXT) WITHOUT ROWID",
                    f"CREATE TABLE {name} (id, text)",
                ]
            )
            return [(made, ())]
        kind = chance.random()
        if kind < 0.05:
            return [(f"DROP TABLE {name}", ())]
        if kind < 0.1:
            return [(f"ALTER TABLE {name} ADD COLUMN more_{len(columns)} INTEGER DEFAULT {self.number}", ())]
        if kind < 0.15:
            return [(f"CREATE INDEX IF NOT EXISTS {name}_text ON {name} (text)", ())]
        if kind < 0.2:
            return [(f"DROP INDEX IF EXISTS {name}_text", ())]
        if kind < 0.35:
            return [(f"DELETE FROM {name} WHERE id % 3 = ?", (chance.randrange(3),))]
        if kind < 0.5:
            return [(f"UPDATE {name} SET text = ? WHERE id % 5 = ?", (f"{self.number} " * 5, chance.randrange(5)))]
        rows = chance.randrange(1, 8)
        sql = f"INSERT OR REPLACE INTO {name} (id, text) VALUES (?, ?)"
        return [(sql, (chance.randrange(200), f"{self.number}/{row} " * chance.randrange(10))) for row in range(rows)]

    async def check(self, store: Store) -> None:
        """Raise `AssertionError` unless the store has what it should, and its database is whole."""
        for name in EXTENSIONS:
            assert dict(await ExtensionStore(store, name).items()) == self.values[name], name
        with closing(sqlite3.connect(f"file:{store.path}?mode=ro", uri=True)) as found:
            assert found.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert tables(found) == tables(self.database)


def tables(database: sqlite3.Connection) -> dict[str, Any]:
    """Return the schema and all rows of authors' tables."""
    rows = database.execute("SELECT name, type, sql FROM sqlite_master WHERE name NOT LIKE 'oddwire_%' ORDER BY name")
    found = [row for row in rows if row[2] is not None]
    strip = {name: " ".join(sql.split()) for name, _, sql in found}
    return {
        name: (
            strip[name],
            database.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() if kind == "table" else 0,
        )
        for name, kind, _ in found
    }


class Owner:
    """One owner; ``folder`` is that of its cache."""

    def __init__(self, place: LogPlace, folder: Path, chance: random.Random, *, trouble: float, after: int) -> None:
        self.folder = folder
        self._chance = chance
        self._trouble = trouble
        self.point: tuple[str, str] | None = None
        self.at_point = asyncio.Event()
        self.thawed = asyncio.Event()
        self.log = ReplicatedStore(GatedPlace(place, self._gate), folder, snapshot_after=after)
        self.fenced: list[StoreError] = []
        self.log.on_fenced.append(self.fenced.append)
        self.store: Store

    async def start(self) -> None:
        await self.log.take()
        await self.log.catch_up()
        self.store = Store(self.log.path, log=self.log)
        await self.store.open()

    async def _gate(self, call: str, when: str) -> None:
        if self.at_point.is_set() and not self.thawed.is_set():
            await self.thawed.wait()  # the whole process is frozen
        if (call, when) == self.point:
            self.point = None
            self.at_point.set()
            await self.thawed.wait()
        if self._chance.random() < self._trouble:
            raise BrokerUnavailable("the answer is lost")

    async def stop(self) -> None:
        await self.store.aclose()
        await self.log.aclose()


def freeze(source: Path, target: Path) -> None:
    """Copy the files of a cache as the end of its process would leave them."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(mode=0o700)
    for name in ("position", "store-wal", "store"):
        if (source / name).exists():
            shutil.copy(source / name, target / name)


def spoil(folder: Path, chance: random.Random) -> None:
    """Damage one of the files of a cache."""
    files = [path for path in folder.iterdir() if path.stat().st_size and path.suffix != ".lock"]
    if not files:
        return
    path, how = chance.choice(sorted(files)), chance.random()
    data = bytearray(path.read_bytes())
    if how < 0.6:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif how < 0.8:
        del data[chance.randrange(len(data)) :]
    path.write_bytes(data)
    if how >= 0.8:
        path.unlink()


def is_fenced(error: object) -> bool:
    """Return whether it is the error of a stale owner."""
    return isinstance(error, StoreError) and error.reason == "fenced"


class Failovers:
    """Owners of one log, one after the other. ``hiccup`` is awaited now and then, to do something to the broker."""

    def __init__(
        self,
        place: LogPlace,
        folder: Path,
        seed: int,
        *,
        trouble: float = 0.02,
        snapshot_after: int = 20_000,
        hiccup: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.place = place
        self.folder = folder
        self.chance = random.Random(seed)
        self.model = Model(self.chance)
        self._trouble = trouble
        self._after = snapshot_after
        self._hiccup = hiccup
        self._count = 0
        self._left: list[Path] = []
        self.seen: dict[str, int] = {}
        """How often something was done or found."""

    def _see(self, what: str) -> None:
        self.seen[what] = self.seen.get(what, 0) + 1

    def _cache(self) -> Path:
        """Return the folder that the next owner begins with."""
        self._count += 1
        folder = self.folder / str(self._count)
        kind = self.chance.random()
        if not self._left or kind < 0.2:
            self._see("no cache")
            return folder
        left = self.chance.choice(self._left) if kind < 0.4 else self._left[-1]
        freeze(left, folder)
        if kind > 0.85:
            self._see("damaged cache")
            spoil(folder, self.chance)
        while len(self._left) > 4:
            shutil.rmtree(self._left.pop(0), ignore_errors=True)
        return folder

    async def run(self, count: int) -> None:
        """Have so many owners, each of which takes over from the one before."""
        owner = await self._next([], None)
        for _ in range(count):
            for _ in range(self.chance.randrange(4)):
                works = self._works()
                await asyncio.gather(*(work.do(owner.store) for work in works))
                for work in works:
                    self.model.apply(work)
            if self._hiccup is not None and self.chance.random() < 0.05:
                await self._hiccup()
            if self.chance.random() < 0.1:
                await owner.stop()
                self._left.append(owner.folder)
                self._see("handed over")
                owner = await self._next([], None)
            else:
                owner = await self._fail_over(owner)
        await self.model.check(owner.store)
        self.model.database.close()
        await owner.stop()
        shutil.rmtree(self.folder / "left", ignore_errors=True)

    def _works(self) -> list[Work]:
        some = self.chance.sample(EXTENSIONS, self.chance.randrange(1, 4))
        return [self.model.invent(name) for name in some]

    async def _fail_over(self, owner: Owner) -> Owner:
        owner.point = self.chance.choice(POINTS)
        works = self._works()
        tasks = [asyncio.create_task(work.do(owner.store)) for work in works]
        frozen = asyncio.create_task(owner.at_point.wait())
        done = asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.wait([done, frozen], return_when=asyncio.FIRST_COMPLETED)
        self._see("frozen" if owner.at_point.is_set() else "killed idle")
        owner.at_point.set()
        left = self.folder / f"left{self._count}"
        freeze(owner.folder, left)
        self._left.append(left)
        acknowledged = [work for work, task in zip(works, tasks, strict=True) if task.done() and not task.exception()]
        frozen.cancel()
        new = await self._next(works, acknowledged)
        last = await self.place.log.last()
        pieces = sorted(await self.place.snapshots(), key=lambda name: [*map(int, name.split("-"))])
        owner.thawed.set()
        await done
        late = self.model.invent("shop")
        [refused] = await asyncio.gather(late.do(owner.store), return_exceptions=True)
        assert is_fenced(refused), "a stale owner's commit was taken"
        self._see("refused")
        assert all(error is None or is_fenced(error) for error in (task.exception() for task in tasks))
        assert [error.reason for error in owner.fenced] == ["fenced"]
        await owner.stop()
        assert await self.place.log.last() == last, "a stale owner has changed the log"
        assert set(pieces) - set(await self.place.snapshots()) <= set(pieces[:-1])
        self._left.append(owner.folder)  # as a process leaves it that was fenced, and has ended
        return new

    async def _next(self, pending: list[Work], acknowledged: list[Work] | None) -> Owner:
        while True:
            owner = Owner(self.place, self._cache(), self.chance, trouble=self._trouble, after=self._after)
            try:
                await owner.start()
                break
            except StoreError as error:
                if not is_fenced(error):
                    raise
                self._see("was late")  # something of the frozen one was under way
        for work in pending:
            door = ExtensionStore(owner.store, work.extension)
            if await door.get(f"done/{work.number}") is not None:
                self.model.apply(work)
                self._see("done")
            else:
                assert acknowledged is None or work not in acknowledged, "what was acknowledged is lost"
                self._see("not done")
        await self.model.check(owner.store)
        return owner
