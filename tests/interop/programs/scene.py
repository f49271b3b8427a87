"""Two nodes with several plugins each, all of which talk with the other's at once; and what has come of it, counted."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tests.soak.orders import query, under_way

from oddwire.app.lightningd import store_name

if TYPE_CHECKING:
    from tests.interop.conftest import Daemon

SPEAKER: Final = Path(__file__).with_name("speaker.py")
PATIENCE: Final = 120.0  # seconds; reached only by what hangs
PLUGIN: Final = """#!{python} -P
from oddwire import run_plugin

run_plugin({extensions})
"""


# Files ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plugin:
    """A plugin file and the extensions in it."""

    path: Path
    extensions: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.name


class Workshop:
    """A folder with extensions, copies of one file, and plugin files of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def extension(self, name: str) -> Path:
        """Return the file of an extension."""
        path = self.folder / f"{name}.py"
        if not path.exists():
            shutil.copy(SPEAKER, path)
        return path

    def plugin(self, name: str, *extensions: str) -> Plugin:
        """Return the plugin of this name, with these extensions."""
        path = self.folder / name
        paths = ", ".join(repr(str(self.extension(extension))) for extension in extensions)
        path.write_text(PLUGIN.format(python=sys.executable, extensions=paths))
        path.chmod(0o755)
        return Plugin(path, extensions)

    def layout(self, left: int, right: int) -> tuple[list[Plugin], list[Plugin]]:
        """Return so many plugins for each of two nodes, so that each talks with as many of the other's as can be.

        They share ``left * right`` extensions, or twice the larger number if that is less; and each plugin has one that
        the other node does not have.
        """
        shared = [f"s{number}" for number in range(min(left * right, 2 * max(left, right)))]
        share = -(-len(shared) // left)
        # Under names of their own: an extension that is elsewhere in another layout would have moved
        lefts = [
            self.plugin(
                f"left-{number}-of-{left}-{right}", *shared[number * share : (number + 1) * share], f"a{number}"
            )
            for number in range(left)
        ]
        rights = [
            self.plugin(f"right-{number}-of-{left}-{right}", *shared[number::right], f"b{number}")
            for number in range(right)
        ]
        return lefts, rights


# Nodes ----------------------------------------------------------------------------------------------


class Side:
    """A node with plugins."""

    def __init__(self, daemon: Daemon, plugins: Iterable[Plugin] = ()) -> None:
        self.daemon = daemon
        self.plugins: list[Plugin] = []
        self.other: Any
        self._files: set[str] = set()
        self._warned = 0
        for plugin in plugins:
            self.has(plugin)

    def has(self, plugin: Plugin) -> None:
        """Note that the node runs a plugin."""
        self.plugins.append(plugin)
        self._files.add(plugin.name)

    def store(self, plugin: Plugin) -> Path:
        return self.daemon.network_folder / store_name(plugin.name)

    def who(self, extension: str) -> str:
        """Return the name of the plugin that has an extension."""
        (plugin,) = (plugin for plugin in self.plugins if extension in plugin.extensions)
        return plugin.name

    async def start(self, plugin: Plugin) -> None:
        await self.daemon.call("plugin", "start", str(plugin.path))
        self.has(plugin)

    async def stop(self, plugin: Plugin) -> None:
        await self.daemon.call("plugin", "stop", str(plugin.path))
        self.plugins.remove(plugin)

    async def call(self, method: str, *params: Any) -> Any:
        """Call a method of an extension, with the other node's id as its first parameter."""
        async with asyncio.timeout(2 * PATIENCE):
            return await asyncio.to_thread(self.daemon.rpc.call, method, [self.other.daemon.node_id, *params])

    async def kill(self, plugin: Plugin) -> None:
        """Kill a plugin's process, and wait until the node has noticed."""
        os.kill((await self.told(plugin.extensions[0]))["pid"], signal.SIGKILL)
        await self.daemon.until(
            lambda listed: str(plugin.path) not in [each["name"] for each in listed["plugins"]], "plugin", "list"
        )
        self.plugins.remove(plugin)

    async def told(self, extension: str, method: str = "told") -> Any:
        return await self.daemon.call(f"{extension}-{method}")

    async def until_spoken(self, *extensions: str, patience: float = PATIENCE) -> list[str]:
        """Wait until the other node has said that it speaks these extensions, and return those it has not."""
        end, left = time.monotonic() + patience, list(extensions)
        while left := [name for name in left if not await self.call(f"{name}-spoken")]:
            if time.monotonic() > end:
                break
            await asyncio.sleep(0.05)
        return left

    def under_way(self) -> dict[str, int]:
        """Return how many reliable messages wait, in the stores where any do."""
        waiting = {plugin.name: under_way(self.store(plugin)) for plugin in self.plugins}
        return {name: count for name, count in waiting.items() if count}

    def seen(self, plugin: Plugin, extension: str, kind: str = "Order") -> dict[str, list[int]]:
        """Return the numbers of the reliable messages that a plugin's extension has handled, by their senders."""
        return seen(self.store(plugin), extension, kind)

    def warnings(self) -> list[str]:
        """Return what our plugins have warned the node's operator of since the last time."""
        lines = [line for line in self.daemon.log("plugin-") if "UNUSUAL" in line or "BROKEN" in line]
        lines = [line for line in lines if any(f"plugin-{name}:" in line for name in self._files)]
        # Not the node's own of a plugin that was killed, or starts while messages come
        lines = [line for line in lines if "Killing plugin" not in line and "Deferring registration" not in line]
        new, self._warned = lines[self._warned :], len(lines)
        return new


def seen(store: Path, extension: str, kind: str = "Order") -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for sender, number in query(
        store, f"SELECT sender, number FROM {extension}_seen WHERE kind = '{kind}' ORDER BY id"
    ):
        found.setdefault(str(sender), []).append(int(str(number)))
    return found


S = TypeVar("S", bound=Side)


def pair(left: Daemon, right: Daemon, of: type[S] = Side) -> tuple[S, S]:
    sides = of(left), of(right)
    sides[0].other, sides[1].other = sides[1], sides[0]
    return sides


async def connect(sides: Sequence[Side]) -> None:
    left, right = sides
    await left.daemon.connect(right.daemon.uri)
    for side in sides:
        await side.daemon.until_connected(side.other.daemon.node_id)


async def two_nodes(
    launch: Callable[..., Daemon],
    left: Sequence[Plugin],
    right: Sequence[Plugin],
    *,
    before: Sequence[str] = (),
    behind: Sequence[str] = (),
    dialer: str = "L",
) -> tuple[Side, Side]:
    """Start two nodes with plugins, and others of the tests before and behind those, and connect them."""
    sides = pair(*[launch(*before, *(plugin.path for plugin in own), *behind) for own in (left, right)])
    for side, own in zip(sides, (left, right), strict=True):
        for plugin in own:
            side.has(plugin)
    await connect(sides if dialer == "L" else sides[::-1])
    return sides


def shared(sides: Sequence[Side]) -> list[str]:
    """Return the extensions that both have."""
    left, right = ({name for plugin in side.plugins for name in plugin.extensions} for side in sides)
    return sorted(left & right)


# What is done, and what comes of it -----------------------------------------------------------------


@dataclass(frozen=True)
class Load:
    """How much each of the extensions that both have is to ask and send, in each direction."""

    requests: int
    streams: int
    large: int
    orders: int

    @property
    def answers(self) -> int:
        return self.requests + self.streams + self.large


class Outcome(Counter[str]):
    """What was asked and sent, and what has gone wrong with it, counted; ``texts`` say what it was, some of each."""

    def __init__(self, *counts: Mapping[str, int]) -> None:
        super().__init__(*counts)
        self.texts: dict[str, list[str]] = {}

    def note(self, what: str, texts: Sequence[str]) -> None:
        if texts:
            self[what] += len(texts)
            self.texts.setdefault(what, []).extend(texts[:40])

    @property
    def troubles(self) -> dict[str, int]:
        return {what: self[what] for what in self.texts}

    def __str__(self) -> str:
        return ", ".join(f"{count} {what}" for what, count in self.items())


async def talk(sides: Sequence[Side], load: Load, first: int = 0, patience: float = PATIENCE) -> Outcome:
    """Have both nodes ask and send in all extensions they share, at once, and return what has come of it.

    ``first`` is the number of the first reliable message of each; those with lower numbers were sent before.
    """
    loop, outcome = asyncio.get_running_loop(), Outcome()
    loop.set_default_executor(ThreadPoolExecutor(64))  # each call takes a thread
    ways = [(side, extension) for side in sides for extension in shared(sides)]
    before = {way: await _heard(*way) for way in ways}
    for side in sides:
        outcome.note("not spoken", await side.until_spoken(*shared(sides), patience=patience))
    runs = await asyncio.gather(
        *(
            side.call(f"{extension}-run", load.requests, load.streams, load.large, load.orders, first)
            for side, extension in ways
        )
    )
    await _until_settled(sides, outcome, patience)
    for (side, extension), run in zip(ways, runs, strict=True):
        way = f"{extension} from {side.who(extension)}"
        meant = side.other.who(extension)
        outcome["asked"] += load.answers
        outcome["reliable"] += load.orders
        outcome.note("failed", [f"{way}: {text}" for text in run["failed"]])
        outcome.note("wrong", [f"{way}: {text}" for text in run["wrong"]])
        outcome.note("receipts that raised", [f"{way}: {text}" for text in run["receipts"]])
        for who, count in run["by"].items():
            if who != meant:
                outcome.note("answered by a stranger", [f"{way}: {who} instead of {meant}"] * count)
        if (missing := load.answers - sum(run["by"].values()) - len(run["failed"])) > 0:
            outcome.note("failed", [f"{way}: not answered"] * missing)
        check_orders(outcome, side, extension, range(first, first + load.orders))
        plain = before[side, extension] + load.requests + load.large
        outcome.note("plain messages lost", [way] * await _unheard(side, extension, plain, patience))
    for side in sides:
        outcome.note("warnings", side.warnings())
    return outcome


async def _heard(side: Side, extension: str) -> int:
    """Return how many plain messages an extension at the other node has heard of this one's."""
    told = await side.other.told(extension)
    return int(told["plain"].get(side.who(extension), 0))


async def _unheard(side: Side, extension: str, count: int, patience: float) -> int:
    """Wait until so many plain messages have been heard, and return how many are missing."""
    end = time.monotonic() + patience
    while (missing := count - await _heard(side, extension)) > 0 and time.monotonic() < end:
        await asyncio.sleep(0.05)
    return missing


async def _until_settled(sides: Sequence[Side], outcome: Outcome, patience: float) -> None:
    """Wait until no reliable message waits, or none has for long been acknowledged."""
    left, moved = None, time.monotonic()
    while any(waiting := [side.under_way() for side in sides]):
        if waiting != left:
            left, moved = waiting, time.monotonic()
        if time.monotonic() > moved + patience:
            for of_side in waiting:
                for name, count in of_side.items():
                    outcome.note("left in the outbox", [name] * count)
            return
        await asyncio.sleep(0.05)


def check_orders(outcome: Outcome, side: Side, extension: str, numbers: Sequence[int]) -> None:
    """Note which reliable messages of one node's extension to the other's were lost, handled twice or out of order."""
    sender, receiver = side.who(extension), side.other.who(extension)
    way = f"{extension} from {sender} to {receiver}"
    for plugin in side.other.plugins:
        if extension not in plugin.extensions:
            continue
        came = side.other.seen(plugin, extension).get(sender, [])
        counted = Counter(came)
        outcome.note("lost", [f"{way}: {number}" for number in numbers if not counted[number]])
        outcome.note("handled twice", [f"{way}: {number}" for number, times in counted.items() if times > 1])
        outcome.note("never sent", [f"{way}: {number}" for number in counted if number >= numbers[-1] + 1])
        firsts = list(dict.fromkeys(came))
        if firsts != sorted(firsts):
            outcome.note("out of order", [way])


# Orders of start ------------------------------------------------------------------------------------

Starts = tuple[str, ...]
"""Which plugin starts after which: ``("L0", "R1", "R0", "L1")``, left and right."""


def labels(left: int, right: int) -> list[str]:
    return [f"L{number}" for number in range(left)] + [f"R{number}" for number in range(right)]


def every(left: int, right: int) -> Iterator[Starts]:
    """Yield all orders in which so many plugins of two nodes can start."""
    yield from permutations(labels(left, right))


def some(left: int, right: int, count: int, seed: int) -> Iterator[Starts]:
    """Yield so many orders by chance, up to three plugins of each node in all of theirs if ``count`` lets them."""
    chance = random.Random(seed)
    lefts, rights = ([*permutations(range(number))] for number in (left, right)) if max(left, right) < 4 else ([], [])
    chance.shuffle(rights)
    for number in range(count):
        if lefts:
            own = {"L": iter(lefts[number % len(lefts)]), "R": iter(rights[number % len(rights)])}
        else:
            own = {"L": iter(chance.sample(range(left), left)), "R": iter(chance.sample(range(right), right))}
        sides = [*"L" * left, *"R" * right]
        chance.shuffle(sides)
        yield tuple(f"{side}{next(own[side])}" for side in sides)


async def started_with_the_nodes(
    launch: Callable[..., Daemon],
    shop: Workshop,
    size: tuple[int, int],
    starts: Starts,
    load: Load,
    patience: float = PATIENCE,
) -> Outcome:
    """Start two nodes with so many plugins each, each node's in the order given, connect them and have them talk."""
    files = shop.layout(*size)
    labelled = dict(zip(labels(*size), [*files[0], *files[1]], strict=True))
    left, right = ([labelled[label] for label in starts if label[0] == side] for side in "LR")
    return await talk(await two_nodes(launch, left, right, dialer=starts[0][0]), load, patience=patience)


async def started_one_by_one(
    launch: Callable[..., Daemon],
    shop: Workshop,
    size: tuple[int, int],
    starts: Starts,
    load: Load,
    patience: float = PATIENCE,
) -> Outcome:
    """Connect two nodes without plugins, start so many plugins one after the other, and have them talk."""
    sides = pair(launch(), launch())
    await connect(sides)
    await start_one_by_one(sides, shop.layout(*size), starts)
    return await talk(sides, load, patience=patience)


async def start_one_by_one(sides: Sequence[Side], files: Sequence[Sequence[Plugin]], starts: Starts) -> None:
    labelled = dict(zip(labels(*map(len, files)), [*files[0], *files[1]], strict=True))
    for label in starts:
        await sides["LR".index(label[0])].start(labelled[label])
