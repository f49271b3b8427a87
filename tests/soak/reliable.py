"""Reliable delivery on a rough day: two nodes, either killed (-9) at any moment, on links that are cut.

``python -m tests.soak.reliable``: Alice numbers orders in her store and sends each reliably in the same transaction.
Bob writes down each order in his store and reliably answers it, in one unit of work; Alice writes down the answers.
All the time one or the other is killed or the connection between them is cut; frames are lost, sent twice, or kept
back until after the next connection. It fails unless both have written down every number once, and in order.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.soak.orders import compare, soak
from tests.support.ports import free_port

from oddwire import Application, NodeId, OddwireError, PrivateKey
from oddwire.session.constants import SESSION_TYPE_BYTES
from oddwire.session.wire.frame_types import FrameType
from oddwire.transports import Bolt8Transport

PATIENCE: Final = 60.0  # seconds without progress until it counts as stuck
KEYS: Final = {"alice": PrivateKey(b"\1" * 32), "bob": PrivateKey(b"\2" * 32)}
ROOT: Final = Path(__file__).parents[2]


# A node ---------------------------------------------------------------------------------------------


class RoughTransport(Bolt8Transport):
    """Loses, repeats and keeps back frames of reliable messages."""

    aside: tuple[NodeId, bytes] | None = None

    async def send(self, peer: NodeId, payload: bytes) -> None:
        if payload[:2] == SESSION_TYPE_BYTES and payload[2] in (FrameType.DATA, FrameType.ACK):
            chance = random.random()
            if chance < 0.01:
                return
            if chance < 0.02:
                await super().send(peer, payload)
            elif chance < 0.03:
                if self.aside is not None:
                    await super().send(*self.aside)
                self.aside = (peer, payload)
                return
        await super().send(peer, payload)


async def node(name: str, folder: Path, uri: str, count: int) -> None:
    """Be one of the two until killed; Alice prints how many answers she has."""
    listen = [uri.partition("@")[2]] if name == "bob" else []
    transport = RoughTransport(KEYS[name], listen=listen, network="regtest")
    async with Application(soak, transport=transport, store=folder / name) as app:
        print("ready", flush=True)
        if name == "bob":
            await asyncio.Event().wait()
        await app.call("soak-send", str(NodeId(KEYS["bob"].public_key())), count)
        while True:
            with contextlib.suppress(OddwireError, OSError, TimeoutError):
                if not app.peers:
                    await app.connect(uri)
            print((await app.call("soak-told"))["done"], flush=True)
            await asyncio.sleep(0.05)


# The day --------------------------------------------------------------------------------------------


class Process:
    """One node as a process, started again when it is killed."""

    def __init__(self, name: str, folder: Path, uri: str, count: int) -> None:
        self.name = name
        self.arguments = ["--node", name, "--folder", str(folder), "--uri", uri, "--messages", str(count)]
        self.process: asyncio.subprocess.Process
        self.told = 0
        self.reader: asyncio.Task[None]

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.soak.reliable", *self.arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)
        assert line == b"ready\n", f"{self.name} did not start"
        self.reader = asyncio.create_task(self.read(self.process.stdout))

    async def read(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            self.told = int(line)

    async def kill(self) -> None:
        assert self.process.returncode is None, f"{self.name} ended by itself with {self.process.returncode}"
        self.process.kill()
        await self.process.wait()
        await self.reader


class Link:
    """A relay between the two that can be cut."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Link:
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        self.cut()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.transport.abort()
            return
        self.writers |= {writer, other_writer}
        await asyncio.gather(self.relay(reader, other_writer), self.relay(other_reader, writer))

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        self.writers.discard(writer)
        writer.transport.abort()

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


async def rough_day(folder: Path, messages: int, kills: int, seed: int, say: Callable[[str], object]) -> Counter[str]:
    """Run it, check what the two have written down, and give what was done to them."""
    chance, counts = random.Random(seed), Counter[str]()
    port = free_port()
    async with Link(port) as link:
        relayed = link.server.sockets[0].getsockname()[1]
        node_id = NodeId(KEYS["bob"].public_key())
        bob = Process("bob", folder, f"{node_id}@127.0.0.1:{port}", messages)
        alice = Process("alice", folder, f"{node_id}@127.0.0.1:{relayed}", messages)
        try:
            for process in (bob, alice):
                await process.start()
            moved, told = time.monotonic(), 0
            while alice.told < messages or counts["killed"] < kills:  # the last kills may find all done: once is once
                await asyncio.sleep(0.01)
                if alice.told > told:
                    moved, told = time.monotonic(), alice.told
                stuck = told < messages and time.monotonic() >= moved + PATIENCE
                assert not stuck, f"stuck at {told}: {dict(counts)}"
                for process in (alice, bob):
                    assert process.process.returncode is None, f"{process.name} ended by itself"
                if chance.random() < 0.002:
                    link.cut()
                    counts["cut"] += 1
                if counts["killed"] < kills and told >= messages * counts["killed"] / kills:
                    await asyncio.sleep(chance.uniform(0, 0.1))
                    process = chance.choice((alice, bob))
                    await process.kill()
                    await process.start()
                    counts["killed"] += 1
                    counts[process.name] += 1
                    if counts["killed"] % 20 == 0:
                        say(f"{told} of {messages}, {dict(counts)}")
        finally:
            for process in (alice, bob):
                with contextlib.suppress(AttributeError, ProcessLookupError, AssertionError):
                    await process.kill()
    compare(folder / "alice", folder / "bob", Order=messages)
    compare(folder / "bob", folder / "alice", Done=messages)
    counts["delivered"] = messages
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.reliable", description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="what the last run used, to do much the same again")
    for name in ("--node", "--folder", "--uri"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.node:
        logging.basicConfig(level=logging.ERROR)
        asyncio.run(node(options.node, Path(options.folder), options.uri, options.messages))
        return
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        day = rough_day(Path(folder), options.messages, options.kills, seed, lambda text: print(text, flush=True))
        counts = asyncio.run(day)
    print(f"{dict(counts)} in {time.monotonic() - start:.0f} s: none lost, none twice, all in order")


if __name__ == "__main__":
    main()
