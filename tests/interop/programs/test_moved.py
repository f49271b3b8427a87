"""Extensions that move from one plugin file of a node to another, while what is reliable flows both ways.

Most begin with a kill, so that there are messages that were handled and not acknowledged.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.interop.programs.scene import Load, Plugin, Side, Workshop, seen, talk, two_nodes
from tests.support.waiting import until_answered

pytestmark = pytest.mark.interop

MANY = 150  # orders between two kills: with so many some are always under way


class Flow:
    """Orders both ways between a node whose plugins are killed and moved, and one whose are not."""

    def __init__(self, moving: Side, staying: Side, extensions: Sequence[str]) -> None:
        self.moving, self.staying, self.extensions = moving, staying, extensions
        self.chance = random.Random(1)
        self.sent = 0
        self.senders: dict[tuple[Side, str], list[tuple[str, range]]] = {}

    async def send(self) -> None:
        """Have each extension send orders, of which some will be under way for a while."""
        orders = range(self.sent, self.sent + MANY)
        self.sent = orders.stop
        for side in (self.moving, self.staying):
            for extension in self.extensions:
                self.senders.setdefault((side, extension), []).append((side.who(extension), orders))
                await side.call(f"{extension}-order", orders.start, orders.stop)

    async def end(self, how: Callable[..., Any], *plugins: Plugin) -> None:
        """End plugins of the moving node once some of what flows has come there, but not all."""
        for plugin in plugins:
            extension = plugin.extensions[0]
            sender, orders = self.senders[self.staying, extension][-1]

            async def some(plugin: Plugin = plugin, sender: str = sender, before: int = orders.start) -> bool:
                return self.moving.seen(plugin, plugin.extensions[0]).get(sender, [-1])[-1] >= before

            await until_answered(some)
            await asyncio.sleep(self.chance.uniform(0, 0.05))
            await how(self.moving, plugin)

    async def settle(self, patience: float = 300) -> None:
        """Wait until nothing waits any more, in a store of a plugin that runs."""
        async with asyncio.timeout(patience):
            while self.moving.under_way() or self.staying.under_way():
                await asyncio.sleep(0.05)

    def check(self, moved: Sequence[Path] = ()) -> Counter[str]:
        """See that all has arrived, once and in order; ``moved`` are stores whose records were left behind.

        Returns how many were handled in more than one store.
        """
        again: Counter[str] = Counter()
        for (side, extension), sent in self.senders.items():
            receiver = side.other
            (plugin,) = (plugin for plugin in receiver.plugins if extension in plugin.extensions)
            stores = [receiver.store(plugin), *(moved if receiver is self.moving else [])]
            for sender in {sender for sender, _ in sent}:
                numbers = [number for name, orders in sent if name == sender for number in orders]
                came = [seen(store, extension).get(sender, []) for store in stores]
                for each in came:
                    assert each == sorted(set(each)), f"{extension} of {sender}: out of order or twice in one store"
                counts = Counter(number for each in came for number in each)
                assert sorted(counts) == numbers, f"{extension} of {sender}"
                again[extension] += sum(counts.values()) - len(counts)
        return again


def rename_store(old: Path, new: Path) -> None:
    """Rename a store, and what SQLite has put beside it."""
    for ending in ("", "-wal", "-shm"):
        path = old.with_name(old.name + ending)
        if path.exists():
            path.rename(new.with_name(new.name + ending))


async def test_with_its_store_to_another_file(launch: Callable[..., Any], shop: Workshop) -> None:
    """Again and again, each time under another name."""
    staying = shop.plugin("staying", "s0", "s1")
    homes = [shop.plugin(f"home-{number}", "s0", "s1") for number in range(4)]
    left, right = await two_nodes(launch, [staying], homes[:1])
    await left.until_spoken("s0", "s1")
    flow = Flow(right, left, ["s0", "s1"])
    for (old, new), how in zip(pairwise(homes), (Side.kill, Side.stop, Side.kill), strict=True):
        await flow.send()
        await flow.end(how, old)
        rename_store(right.store(old), right.store(new))
        await right.start(new)
    await flow.send()
    await flow.settle()
    assert not flow.check().total()
    assert [side.warnings() for side in (left, right)] == [[], []]


async def test_two_files_into_one(launch: Callable[..., Any], shop: Workshop) -> None:
    staying, one, two = (shop.plugin(*words) for words in (("staying", "s0", "s1"), ("one", "s0"), ("two", "s1")))
    both = shop.plugin("both", "s0", "s1")
    left, right = await two_nodes(launch, [staying], [one, two])
    await left.until_spoken("s0", "s1")
    flow = Flow(right, left, ["s0", "s1"])
    await flow.send()
    await flow.end(Side.kill, one, two)
    for plugin in (one, two):
        move_store(right.store(plugin), right.store(both))
    await right.start(both)
    await flow.send()
    await flow.settle()
    assert not flow.check().total()
    assert [side.warnings() for side in (left, right)] == [[], []]


async def test_one_file_into_two(launch: Callable[..., Any], shop: Workshop) -> None:
    staying, one, two = (shop.plugin(*words) for words in (("staying", "s0", "s1"), ("one", "s0"), ("two", "s1")))
    both = shop.plugin("both", "s0", "s1")
    left, right = await two_nodes(launch, [staying], [both])
    await left.until_spoken("s0", "s1")
    flow = Flow(right, left, ["s0", "s1"])
    await flow.send()
    await flow.end(Side.kill, both)
    rename_store(right.store(both), right.store(one))
    move_store(right.store(one), right.store(two), "s1")
    for plugin in (one, two):
        await right.start(plugin)
    await flow.send()
    await flow.settle()
    assert not flow.check().total()
    assert [side.warnings() for side in (left, right)] == [[], []]


def move_store(source: Path, target: Path, *extensions: str) -> None:
    """Move what extensions have kept from one store to another, that of all if none is named."""
    named = [f"--extension={extension}" for extension in extensions]
    command = [sys.executable, "-m", "oddwire.cli.main", "store", "move", str(source), str(target), *named]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


async def without_its_store(left: Side, right: Side, old: Plugin, new: Plugin, end: Callable[..., Any]) -> None:
    """Move an extension, and see that what was not acknowledged is handled anew, and nothing else twice."""
    await left.until_spoken("s0")
    flow = Flow(right, left, ["s0"])
    await flow.send()
    await flow.end(end, old)
    lost = right.store(old).with_name("lost.sqlite3")
    rename_store(right.store(old), lost)
    waiting = left.under_way().get("staying", 0)  # none where a busy machine has ended it late
    await right.start(new)
    if not waiting:  # what waits for the program that has ended is taken by the next once that counts as dead
        await flow.send()
    del flow.senders[right, "s0"]  # what it had not sent is in the store, too
    await flow.settle()
    assert flow.check([lost])["s0"] <= waiting
    # From now on all is as ever
    outcome = await talk((left, right), Load(requests=5, streams=1, large=1, orders=5), first=flow.sent)
    assert outcome.troubles == {}, outcome.texts


async def test_its_store_is_lost(launch: Callable[..., Any], shop: Workshop) -> None:
    staying, old = shop.plugin("staying", "s0"), shop.plugin("old", "s0")
    await without_its_store(*await two_nodes(launch, [staying], [old]), old, old, Side.kill)


@pytest.mark.long
async def test_without_its_store_to_another_file(launch: Callable[..., Any], shop: Workshop) -> None:
    """It takes as long as a sender waits for the program that it knows; so both ways to end it are seen at once."""
    staying, old, new = (shop.plugin(name, "s0") for name in ("staying", "old", "new"))
    pairs = [await two_nodes(launch, [staying], [old]) for _ in range(2)]
    moves = zip(pairs, (Side.stop, Side.kill), strict=True)
    await asyncio.gather(*(without_its_store(*sides, old, new, end) for sides, end in moves))


async def test_in_two_files_at_once(launch: Callable[..., Any], shop: Workshop) -> None:
    """One of the two has all that is addressed, and the operator hears of it from both."""
    left, right = await two_nodes(
        launch, [shop.plugin("staying", "s0")], [shop.plugin("one", "s0"), shop.plugin("two", "s0x")]
    )
    for plugin in right.plugins:
        await right.daemon.logged("UNUSUAL", f"plugin-{plugin.name}", "'s0'")
    await left.until_spoken("s0")
    load = Load(requests=50, streams=5, large=2, orders=50)
    numbers = (load.requests, load.streams, load.large, load.orders)
    run = await left.call("s0-run", *numbers)
    (chosen,) = run.pop("by").items()
    assert chosen in (("one", load.answers), ("two", load.answers))
    assert run == {"failed": [], "wrong": [], "receipts": []}
    came = [right.seen(plugin, "s0").get("staying", []) for plugin in right.plugins]
    assert sorted(came) == [[], list(range(load.orders))]
    for plugin in right.plugins:  # and back
        run = await right.call(f"{plugin.extensions[0]}-run", *numbers)
        assert run == {"failed": [], "wrong": [], "receipts": [], "by": {"staying": load.answers}}
        assert left.seen(left.plugins[0], "s0")[plugin.name] == list(range(load.orders))

    async def settled() -> bool:
        return not left.under_way() and not right.under_way()

    await until_answered(settled)
    assert left.warnings() == []
