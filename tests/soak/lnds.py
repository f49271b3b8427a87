"""Reliable delivery on a rough day through two LNDs, with a program of ours beside each.

``python -m tests.soak.lnds``: Alice numbers orders in her store and sends each reliably; Bob answers each reliably.
Meanwhile either program and either LND is killed (-9) and started again, and the LNDs' connection is cut. It fails
unless both have handled all that the other has sent, once and in order.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
from tests.interop.lnd.lnd_node import Lnd, field
from tests.soak.orders import compare, soak, under_way

from oddwire import Application, NodeId

PATIENCE: Final = 120.0  # seconds without progress until it counts as stuck
CUTS: Final = 0.01  # chance of a cut at each look at how far they are, 100 a second at most
SOON: Final = 0.3  # seconds at most from progress to what happens
ROOT: Final = Path(__file__).parents[2]


# A program ------------------------------------------------------------------------------------------------------------


async def program(address: str, lnddir: Path, store: Path, uri: str, messages: int) -> None:
    """Be one of the two until killed; the one with a URI dials, sends, and prints how many answers it has."""
    from oddwire.transports.lnd import LndLimits, LndTransport

    limits = LndLimits(redial_most=1.0)  # who is cut off ten times a minute would be dialed ever later
    transport = LndTransport(address, lnddir=lnddir, network="regtest", connect=[uri] if uri else [], limits=limits)
    async with Application(soak, transport=transport, store=store) as app:
        print("ready", flush=True)
        if not uri:
            await asyncio.Event().wait()
        await app.call("soak-send", str(NodeId(uri.partition("@")[0])), messages)
        while True:
            print((await app.call("soak-told"))["done"], flush=True)
            await asyncio.sleep(0.05)


# The day --------------------------------------------------------------------------------------------------------------


class Side:
    """An LND and the program beside it; both are started again when they are killed."""

    def __init__(self, name: str, lnd: Lnd, folder: Path) -> None:
        self.name = name
        self.lnd = lnd
        self.store = folder / name
        self.uri = ""  # of the other one's LND, for who dials
        self.messages = 0
        self.told = 0
        self.process: asyncio.subprocess.Process
        self._reading: asyncio.Task[None]

    async def start(self) -> None:
        command = ["--node", self.lnd.rpc, "--lnddir", str(self.lnd.folder), "--store", str(self.store)]
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.soak.lnds", *command, "--uri", self.uri, "--messages", str(self.messages)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        """Follow what it tells; it may have to wait for its LND first."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            if line != b"ready\n":
                self.told = int(line)

    def check(self) -> None:
        assert self.process.returncode is None, f"{self.name} ended by itself with {self.process.returncode}"

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self._reading

    async def kill_program(self) -> None:
        self.check()
        await self.end()
        await self.start()

    async def kill_lnd(self) -> None:
        await asyncio.to_thread(self.lnd.kill)
        await asyncio.to_thread(self.lnd.start)

    async def kill_both(self) -> None:
        self.check()
        await asyncio.to_thread(self.lnd.kill)
        await self.end()
        await asyncio.gather(asyncio.to_thread(self.lnd.start), self.start())


async def cut(one: Lnd, other: Lnd) -> None:
    """End the connection of the two, and have it made again at once, by LND or by the program that dials."""
    async with one.api() as api:
        with contextlib.suppress(grpc.aio.AioRpcError):  # there may be none at the moment
            await api.disconnect(other.node_id)
            await api.call("ConnectPeer", field(1, field(1, other.node_id) + field(2, other.address)))


EVENTS: Final = {"program": Side.kill_program, "lnd": Side.kill_lnd, "both": Side.kill_both}


async def rough_day(
    lnds: list[Lnd], folder: Path, messages: int, kills: int, seed: int, say: Callable[[str], object]
) -> Counter[str]:
    """Run it with two that run, compare what the two have written down, and return what was done to them."""
    chance, cuts, counts = random.Random(seed), random.Random(seed), Counter[str]()
    sides = alice, bob = Side("alice", lnds[0], folder), Side("bob", lnds[1], folder)
    alice.uri, alice.messages = bob.lnd.uri, messages
    for side in sides:
        await side.start()
    try:
        moved, told = time.monotonic(), -1
        while alice.told < messages or counts["killed"] < kills:
            await asyncio.sleep(0.01)
            if alice.told > told:
                moved, told = time.monotonic(), alice.told
            stuck = told < messages and time.monotonic() >= moved + PATIENCE
            assert not stuck, f"stuck at {told}: {dict(counts)}"
            for side in sides:
                side.check()
            if cuts.random() < CUTS:
                await cut(*cuts.sample(lnds, 2))
                counts["links cut"] += 1
            if counts["killed"] < kills and told >= messages * counts["killed"] / kills:
                await asyncio.sleep(chance.uniform(0, SOON))
                side, what = chance.choice(sides), chance.choice(list(EVENTS))
                counts["kills with messages under way"] += any(
                    each.store.exists() and under_way(each.store) > 0 for each in sides
                )
                await EVENTS[what](side)
                moved = time.monotonic()
                counts["killed"] += 1
                counts[f"{side.name}: {what}"] += 1
                say(f"{alice.told} of {messages}, {dict(counts)}")
    finally:
        for side in sides:
            await side.end()
    compare(alice.store, bob.store, Order=messages)
    compare(bob.store, alice.store, Done=messages)
    counts["delivered"] = 2 * messages
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.lnds", description=__doc__)
    parser.add_argument("--messages", type=int, default=2000, help="orders; as many answers come back")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None, help="what the last run used, to do much the same again")
    for name in ("--node", "--lnddir", "--store", "--uri"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.node:
        logging.basicConfig(level=logging.ERROR)
        asyncio.run(
            program(options.node, Path(options.lnddir), Path(options.store), options.uri or "", options.messages)
        )
        return
    if shutil.which("lnd") is None:
        print("NOT RUN against LND: there is no lnd on the PATH", file=sys.stderr)
        return
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        lnds = [Lnd(Path(folder) / name) for name in ("lnd-a", "lnd-b")]
        try:
            for lnd in lnds:
                lnd.start()
            day = rough_day(
                lnds, Path(folder), options.messages, options.kills, seed, lambda text: print(text, flush=True)
            )
            counts = asyncio.run(day)
        finally:
            for lnd in lnds:
                lnd.end()
    print(f"{dict(counts)} in {time.monotonic() - begin:.0f} s: none lost, none twice, all in order")


if __name__ == "__main__":
    main()
