"""A rough day for two nodes with two plugins each, all of which talk with the other's, and each killed (-9) at random.

``python -m tests.soak.programs``: in four extensions, of which each plugin of one node shares one with each plugin of
the other's, both ends send orders reliably and answer them reliably, and ask each other all the time, in requests,
large ones and streams. Meanwhile plugins are killed and stopped, alone, and nodes with all they run; links are cut. It
fails unless every order and every answer was handled once and in order, and every request was answered, if at all, by
the plugin it was meant for.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pyln.client import RpcError
from tests.interop.programs.scene import Plugin, Side, Workshop, pair, shared
from tests.soak.lightningds import Folders
from tests.soak.orders import query

if TYPE_CHECKING:
    from tests.interop.conftest import Daemon

PATIENCE: Final = 120.0  # seconds without progress until it counts as stuck
SOON: Final = 0.3  # seconds at most from new orders to what happens to them


class RoughSide(Side):
    """A node whose plugins are ended and started again."""

    async def kill_plugin(self, plugin: Plugin) -> None:
        await self.kill(plugin)
        await self.start(plugin)

    async def stop_plugin(self, plugin: Plugin) -> None:
        await self.stop(plugin)
        await self.start(plugin)

    async def kill_node(self, plugin: Plugin) -> None:
        """Kill all at once."""
        assert self.daemon.process is not None
        os.killpg(self.daemon.process.pid, signal.SIGKILL)
        self.daemon.kill()
        self.check_log()
        await asyncio.to_thread(self.daemon.start)

    async def cut(self, plugin: Plugin) -> None:
        await self.daemon.call("disconnect", self.other.daemon.node_id, True)

    async def connect(self) -> None:
        """Connect to the other: again, if one of them took a connection that is about to end for good."""
        end = time.monotonic() + PATIENCE
        while not all([await each.is_connected() for each in (self, self.other)]):
            assert time.monotonic() < end, "they do not connect"
            with contextlib.suppress(RpcError):
                await self.daemon.connect(self.other.daemon.uri)
            await asyncio.sleep(0.05)

    async def is_connected(self) -> bool:
        peer = await self.daemon.peer(self.other.daemon.node_id)
        return peer is not None and bool(peer["connected"])

    def check_log(self) -> None:
        """See that nothing has gone wrong in a plugin since the node has started: each start begins a new log."""
        broken = [line for plugin in self.plugins for line in self.daemon.log("BROKEN", f"plugin-{plugin.name}:")]
        assert not broken, "\n".join(broken)


EVENTS: Final = {
    "plugin killed": RoughSide.kill_plugin,
    "plugin stopped": RoughSide.stop_plugin,
    "node killed": RoughSide.kill_node,
    "link cut": RoughSide.cut,
}
PLUGINS_KILLED: Final = 3  # of what happens in a round


async def rough_day(
    launch: Callable[..., Daemon], folder: Path, messages: int, rounds: int, seed: int, say: Callable[[str], object]
) -> Counter[str]:
    """Run it, compare what all have written down, and return what was done to them.

    ``messages`` are the orders of each extension each way; as many answers come back. In each round all of `EVENTS`
    happen once, but kills of plugins `PLUGINS_KILLED` times.
    """
    chance, counts = random.Random(seed), Counter[str]()
    files = Workshop(folder).layout(2, 2)
    sides = pair(*[launch(*(plugin.path for plugin in own)) for own in files], of=RoughSide)
    for side, own in zip(sides, files, strict=True):
        for plugin in own:
            side.has(plugin)
    ways = [(side, extension) for side in sides for extension in shared(sides)]
    await sides[0].connect()
    events = [*EVENTS, *["plugin killed"] * (PLUGINS_KILLED - 1)]
    plan = [name for _ in range(rounds) for name in chance.sample(events, len(events))]
    for number, name in enumerate(plan, 1):
        until = messages * number // len(plan)
        for side, extension in ways:
            await side.call(f"{extension}-soak", until, side.other.who(extension))
        await asyncio.sleep(chance.uniform(0, SOON))
        side = chance.choice(sides)
        counts["events with messages under way"] += any(each.under_way() for each in sides)
        plugin = chance.choice(side.plugins)
        await EVENTS[name](side, plugin)
        await chance.choice(sides).connect()
        counts[name] += 1
        if number % 10 == 0:
            say(f"{number} of {len(plan)}, {dict(counts)}")
    await finish(ways, messages)
    for side, extension in ways:
        told = await side.told(extension, "asked")
        assert told["strangers"] == [], f"{extension} of {side.who(extension)} was answered by {told['strangers']}"
        counts["requests answered"] += told["answered"]
        counts["requests failed"] += told["failed"]
    for side in sides:
        side.check_log()
        await side.daemon.stop()
    for way in ways:
        compare(*way, messages)
        counts["delivered"] += 2 * messages
    return counts


async def finish(ways: Sequence[tuple[Side, str]], messages: int) -> None:
    """Wait until all is answered, and nothing waits."""
    moved, before = time.monotonic(), [0] * len(ways)
    while before != [messages] * len(ways) or any(side.under_way() for side, _ in ways):
        answered = [(await side.told(extension))["done"] for side, extension in ways]
        if answered != before:
            moved, before = time.monotonic(), answered
        assert time.monotonic() < moved + PATIENCE, f"stuck at {answered} of {messages}"
        await asyncio.sleep(0.05)


def compare(side: Side, extension: str, messages: int) -> None:
    """Check that an extension's orders were all handled at the other node, and the answers here: once, in order."""
    (here,) = (plugin for plugin in side.plugins if extension in plugin.extensions)
    (there,) = (plugin for plugin in side.other.plugins if extension in plugin.extensions)
    for kind, of, plugin, sender in (("Order", side.other, there, here), ("Done", side, here, there)):
        came, way = of.seen(plugin, extension, kind), f"{kind} of {extension} from {sender.name} to {plugin.name}"
        assert came.keys() == {sender.name}, f"{way}: came from {set(came)}"
        counted = Counter(came[sender.name])
        assert not (lost := [number for number in range(messages) if not counted[number]]), f"{way}: lost {lost[:10]}"
        twice = [number for number, times in counted.items() if times > 1]
        assert not twice, f"{way}: handled twice {twice[:10]}"
        assert came[sender.name] == [*range(messages)], f"{way}: out of order"
    for of, plugin in ((side, here), (side.other, there)):
        refused = query(of.store(plugin), "SELECT count(*) FROM oddwire_refusals")
        assert refused == [(0,)], f"{plugin.name} has refused {refused}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.programs", description=__doc__)
    parser.add_argument("--messages", type=int, default=1000, help="orders of each extension each way")
    parser.add_argument("--rounds", type=int, default=10, help="of everything that happens, three kills of plugins")
    parser.add_argument("--kind", choices=["node", "lightningd"], default="node")
    parser.add_argument("--seed", type=int, default=None, help="what the last run used, to do much the same again")
    options = parser.parse_args()
    if options.kind == "lightningd" and shutil.which("lightningd") is None:
        print("NOT RUN against Core Lightning: there is no lightningd on the PATH", file=sys.stderr)
        return
    from tests.interop.conftest import Starter

    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        starter: Any = Starter(Folders(folder))
        launch = getattr(starter, options.kind)
        say = lambda text: print(text, flush=True)  # noqa: E731
        try:
            day = rough_day(launch, Path(folder), options.messages, options.rounds, seed, say)
            counts = asyncio.run(day)
        finally:
            starter.end()
    print(f"{dict(counts)} in {time.monotonic() - begin:.0f} s: none lost, none twice, none answered by a stranger")


if __name__ == "__main__":
    main()
