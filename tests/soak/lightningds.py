"""Reliable delivery on a rough day through two lightningds, each with the plugin `orders`.

``python -m tests.soak.lightningds``: each numbers orders in its store and sends them reliably to the other, which
answers them reliably. While they flow, plugins, lightningds and whole nodes are killed (-9) and started again, plugins
are stopped, and the link is cut. It fails unless both have handled all that the other has sent, once and in order.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pyln.client import RpcError
from tests.soak.orders import compare, under_way

from oddwire.app.lightningd import store_name

if TYPE_CHECKING:
    from tests.interop.conftest import Daemon, Starter

PLUGIN: Final = Path(__file__).with_name("orders.py")
PATIENCE: Final = 60.0  # seconds without progress until it counts as stuck
SOON: Final = 0.2  # seconds at most from new orders to what happens to them


class Side:
    """One lightningd, its plugin, and how they are ended and started again."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.other: Side
        self.pid = 0

    @property
    def store(self) -> Path:
        return self.daemon.network_folder / store_name(PLUGIN.name)

    async def send(self, until: int) -> None:
        await self.daemon.call("soak-send", self.other.daemon.node_id, until)

    async def told(self) -> dict[str, Any]:
        told: dict[str, Any] = await self.daemon.call("soak-told")
        self.pid = told["pid"]
        return told

    async def connect(self) -> None:
        """Connect to the other: again, if one of them took a connection that is about to end for good."""
        end = time.monotonic() + PATIENCE
        while not all([await side.is_connected() for side in (self, self.other)]):
            assert time.monotonic() < end, "they do not connect"
            with contextlib.suppress(RpcError):
                await self.daemon.connect(self.other.daemon.uri)
            await asyncio.sleep(0.02)

    async def is_connected(self) -> bool:
        peer = await self.daemon.peer(self.other.daemon.node_id)
        return peer is not None and peer["connected"]

    async def kill_plugin(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        while await self.has_plugin():
            await asyncio.sleep(0.01)
        await self.daemon.call("plugin", "start", str(PLUGIN))

    async def stop_plugin(self) -> None:
        await self.daemon.call("plugin", "stop", str(PLUGIN))
        await self.daemon.call("plugin", "start", str(PLUGIN))

    async def has_plugin(self) -> bool:
        return any(plugin["name"] == str(PLUGIN) for plugin in (await self.daemon.call("plugin", "list"))["plugins"])

    async def kill_lightningd(self) -> None:
        self.daemon.kill()
        await self.start()

    async def kill_all(self) -> None:
        os.killpg(self.daemon.process.pid, signal.SIGKILL)
        await self.kill_lightningd()

    async def start(self) -> None:
        self.check_log()
        await asyncio.to_thread(self.daemon.start)

    def check_log(self) -> None:
        """See that nothing has gone wrong in the plugin since lightningd has started: each start begins a new log."""
        broken = self.daemon.log("**BROKEN**", PLUGIN.name)
        assert not broken, "\n".join(broken)

    async def cut(self) -> None:
        await self.daemon.call("disconnect", self.other.daemon.node_id, True)
        await self.daemon.until_gone(self.other.daemon.node_id)


EVENTS: Final = {
    "plugin killed": Side.kill_plugin,
    "lightningd killed": Side.kill_lightningd,
    "both killed": Side.kill_all,
    "plugin stopped": Side.stop_plugin,
    "link cut": Side.cut,
}


async def rough_day(
    start: Starter, messages: int, rounds: int, seed: int, say: Callable[[str], object]
) -> Counter[str]:
    """Run it, compare what the two have written down, and give what was done to them: in each round all of `EVENTS`.

    ``messages`` are the orders of each side; as many answers come back.
    """
    chance, counts = random.Random(seed), Counter[str]()
    left, right = sides = [Side(start.lightningd(PLUGIN)) for _ in range(2)]
    left.other, right.other = right, left
    await left.connect()
    plan = [name for _ in range(rounds) for name in chance.sample(list(EVENTS), len(EVENTS))]
    for number, name in enumerate(plan, 1):
        for side in sides:
            await side.told()
            await side.send(messages * number // len(plan))
        await asyncio.sleep(chance.uniform(0, SOON))
        side = chance.choice(sides)
        counts["events with messages under way"] += any(under_way(side.store) for side in sides)
        await EVENTS[name](side)
        await chance.choice(sides).connect()
        counts[name] += 1
        if number % 10 == 0:
            say(f"{number} of {len(plan)}, {dict(counts)}")
    await finish(sides, messages)
    for side in sides:
        await side.daemon.stop()
        side.check_log()
    for side in sides:
        compare(side.store, side.other.store, Order=messages, Done=messages)
    counts["delivered"] = 4 * messages
    return counts


async def finish(sides: list[Side], messages: int) -> None:
    """Wait until all is answered."""
    moved, before = time.monotonic(), [0, 0]
    while before != [messages, messages]:
        answered = [(await side.told())["done"] for side in sides]
        if answered != before:
            moved, before = time.monotonic(), answered
        assert time.monotonic() < moved + PATIENCE, f"stuck at {answered} of {messages}"
        await asyncio.sleep(0.02)


class Folders:
    """What a `Starter` needs of pytest's folders."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def mktemp(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=name, dir=self.folder))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.lightningds", description=__doc__)
    parser.add_argument("--messages", type=int, default=2000, help="orders of each side")
    parser.add_argument("--rounds", type=int, default=12, help="of everything that happens, three kills among it")
    parser.add_argument("--seed", type=int, default=None, help="what the last run used, to do much the same again")
    options = parser.parse_args()
    if shutil.which("lightningd") is None:
        print("NOT RUN against Core Lightning: there is no lightningd on the PATH", file=sys.stderr)
        return
    from tests.interop.conftest import Starter

    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        starter = Starter(Folders(folder))
        try:
            counts = asyncio.run(rough_day(starter, options.messages, options.rounds, seed, print))
        finally:
            starter.end()
    print(f"{dict(counts)} in {time.monotonic() - begin:.0f} s: none lost, none twice, all in order")


if __name__ == "__main__":
    main()
