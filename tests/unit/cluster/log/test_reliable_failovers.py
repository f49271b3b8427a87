"""Reliable messages through fail-overs of the store that receives and sends them: each takes effect once."""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path

import pytest
from tests.support.failovers import freeze
from tests.support.partition_logs import GatedPlace, MemoryPlace
from tests.support.reliable_ends import End, Pair
from tests.support.waiting import until

from oddwire.cluster.log.replicated_store import ReplicatedStore
from oddwire.cluster.log.subject import LogPlace
from oddwire.session.limits import Limits
from oddwire.session.store.ages import Ages
from oddwire.session.store.unit import Store

FAILOVERS = 12


class ReplicatedEnd(End):
    """An end whose store is in a log. Its handler counts, and sends a reliable message back, in one unit."""

    place: LogPlace
    folder: Path
    chance: random.Random
    runs = 0

    async def make_store(self, ages: Ages) -> Store:
        self.runs += 1
        self.cache = self.folder / str(self.runs)
        self.point: tuple[str, str] | None = None
        self.frozen = asyncio.Event()
        log = ReplicatedStore(GatedPlace(self.place, self._gate), self.cache, snapshot_after=30_000)
        await log.take()
        await log.catch_up()
        self.log = log
        return Store(log.path, ages=ages, extensions=self.extensions, log=log)

    async def _gate(self, call: str, when: str) -> None:
        if self.frozen.is_set() or (call, when) == self.point:
            self.frozen.set()
            await asyncio.Event().wait()

    async def answer(self, payload: bytes) -> None:
        await self.count(payload)
        await self.send(payload[2:])

    async def fail_over(self) -> None:
        """Kill it at a point, and begin again, with its cache or without."""
        if self.chance.random() < 0.8:
            self.point = ("append log", self.chance.choice(["before", "after"]))
            await until(lambda: self.frozen.is_set() or self.idle)
        self.frozen.set()
        left = self.cache.with_name("left")
        freeze(self.cache, left)
        former = self.log
        self.unlink()
        self.peer.unlink()
        await self.stop(crash=True)
        await former.aclose()
        if self.chance.random() < 0.5:
            shutil.copytree(left, self.folder / str(self.runs + 1))
        await self.start()

    @property
    def idle(self) -> bool:
        """Whether there is nothing left to do."""
        return not self.peer.outbox.waiting(self.node_id)[0]


@pytest.mark.parametrize("seed", range(2))
async def test_each_message_takes_effect_once_through_fail_overs(tmp_path: Path, seed: int) -> None:
    limits = Limits(outbox_messages=2000, window_messages=8)
    pair = Pair(tmp_path, limits, {})
    alice, bob = pair.alice, ReplicatedEnd(tmp_path / "bob", b"b", limits, {})
    pair.bob, alice.peer, bob.peer = bob, bob, alice
    bob.place, bob.folder, bob.chance = MemoryPlace(), tmp_path, random.Random(seed)
    bob.handler = bob.answer
    for end in (alice, bob):
        await end.start()
    sent = 0
    for _ in range(FAILOVERS):
        pair.link()
        for _ in range(bob.chance.randrange(1, 12)):
            await alice.send(b"%d" % sent)
            sent += 1
        await bob.fail_over()
    pair.link()
    await until(lambda: _settled(alice, bob))
    assert await bob.door.get("count") == sent
    assert alice.handled == [b"\x80\x01%d" % number for number in range(sent)]
    assert alice.failed == bob.failed == []
    for end in (alice, bob):
        end.unlink()
        await end.stop()
    await bob.log.aclose()


def _settled(alice: End, bob: End) -> bool:
    return not alice.outbox.waiting(bob.node_id)[0] and not bob.outbox.waiting(alice.node_id)[0]
