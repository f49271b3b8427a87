"""Requests of peers through gateway, broker and worker, against the same extension on a node of its own.

Every program is a process: `oddwire gateway`, `oddwire worker`, nats-server with each acknowledged write synced, and an
application on BOLT 8. The peers are connections of this process, in a closed loop: each has so
many requests of 100 bytes under way, and sends the next when one is answered. Cluster and node take turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from benchmarks.cluster_extension import Answer, Ask
from benchmarks.harness import Row, median_ratio
from oddwire.app import relax_collector
from oddwire.codecs.registry import Registry
from oddwire.proto import PrivateKey, connect
from oddwire.proto.addresses import NodeUri
from oddwire.proto.bolt1 import CHAINS, Init
from oddwire.proto.connection import LightningConnection
from oddwire.proto.features import ASSUMED_FEATURES, feature_bytes
from oddwire.proto.keys import PublicKey

ROUNDS: Final = 5
SECONDS: Final = 2.0  # of each measurement, after it has run for a quarter of that
TAKEOVERS: Final = 3
BUSY: Final = 300  # microseconds that a handler computes, where workers share the work
# Beside this file, not where temporary files are: there the disk may be no disk
PLACE: Final = Path(__file__).parent
EXTENSION: Final = PLACE / "cluster_extension.py"
NOTE: Final = "x" * 66
ANSWER: Final = (0x9037).to_bytes(2, "big")

_registry = Registry()
for _message in (Ask, Answer):
    _registry.register(_message, owner="bench")
_registry.freeze()


def payload_of(*, work: int = 0, store: bool = False, number: int = 0) -> bytes:
    """Return an `Ask` of 100 bytes."""
    return _registry.encode(Ask(number=2**40 + number, note=NOTE, work=work, store=store))


class Peer:
    """One connection, which sends its payload again with each answer while the load lasts."""

    def __init__(self, load: Load, connection: LightningConnection) -> None:
        self._load = load
        self._connection = connection
        self.answers: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    def begin(self, outstanding: int) -> None:
        for _ in range(outstanding):
            self._connection.send_nowait(self._load.payload)

    def take(self, payload: bytes) -> None:
        if payload[:2] != ANSWER:
            return
        load = self._load
        load.count += 1
        if load.running:
            self._connection.send_nowait(load.payload)
        elif not load.payload:
            self.answers.put_nowait((time.perf_counter(), payload))

    async def ask(self, payload: bytes) -> tuple[float, Answer]:
        """Send one, and return the seconds until its answer, and that. Others of this peer should not be under way."""
        start = time.perf_counter()
        self._connection.send_nowait(payload)
        end, answer = await self.answers.get()
        decoded: Any = _registry.decode(answer)
        return end - start, decoded

    def tell(self, payload: bytes) -> None:
        self._connection.send_nowait(payload)

    async def aclose(self) -> None:
        await self._connection.aclose()


class Load:
    """Some peers of a node, and the load that they put on it."""

    def __init__(self, uri: str) -> None:
        self._uri = NodeUri.parse(uri)
        self.payload = b""
        self.running = False
        self.count = 0
        self.peers: list[Peer] = []

    async def connect(self, peers: int) -> None:
        while len(self.peers) < peers:
            self.peers.append(await self._one())

    async def _one(self) -> Peer:
        found: list[Peer] = []

        def opened(connection: LightningConnection) -> None:
            peer = Peer(self, connection)
            connection.deliver_to(peer.take)
            init = Init(features=feature_bytes(ASSUMED_FEATURES), networks=(CHAINS["regtest"],))
            connection.send_nowait(init.encode())
            found.append(peer)

        await connect(
            PrivateKey(os.urandom(32)), PublicKey(self._uri.node_id), self._uri.host, self._uri.port, on_open=opened
        )
        return found[0]

    async def rate(self, peers: int, outstanding: int, *, work: int = 0) -> float:
        """Return the answers a second of the first so many peers, with so many requests under way each."""
        await self.connect(peers)
        self.payload, self.running = payload_of(work=work), True
        for peer in self.peers[:peers]:
            peer.begin(outstanding)
        await asyncio.sleep(SECONDS / 4)
        before, start = self.count, time.perf_counter()
        await asyncio.sleep(SECONDS)
        rate = (self.count - before) / (time.perf_counter() - start)
        self.running = False
        while True:  # until what is under way is answered
            before = self.count
            await asyncio.sleep(0.3)
            if self.count == before:
                break
        self.payload = b""
        return rate

    async def pause(self, count: int, *, store: bool = False) -> float:
        """Return the median seconds of requests one at a time; with ``store``, of the write in their handler."""
        await self.connect(1)
        seconds = []
        for number in range(count):
            passed, answer = await self.peers[0].ask(payload_of(store=store, number=number))
            seconds.append(answer.took / 1e6 if store else passed)
        return statistics.median(seconds)

    async def aclose(self) -> None:
        await asyncio.gather(*(peer.aclose() for peer in self.peers))


@contextlib.asynccontextmanager
async def cluster(workers: int) -> AsyncIterator[tuple[Any, Load]]:
    from tests.soak.cluster.clusters import Cluster

    with tempfile.TemporaryDirectory(dir=PLACE) as folder:
        programs = Cluster(Path(folder), workers, extensions=[EXTENSION])
        async with _loaded(programs) as load:
            yield programs, load


class Node:
    """The extension in one process with its connections."""

    def __init__(self, folder: str) -> None:
        self._command = (
            sys.executable,
            "-m",
            "benchmarks.cluster_extension",
            "127.0.0.1:0",
            str(Path(folder) / "store"),
        )
        self._process: asyncio.subprocess.Process | None = None
        self.uri = ""

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, cwd=PLACE.parent, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
        )
        if self._process.stdout is not None:
            self.uri = (await self._process.stdout.readline()).decode().strip()

    async def aclose(self) -> None:
        if self._process is not None:
            self._process.kill()
            await self._process.wait()


@contextlib.asynccontextmanager
async def alone() -> AsyncIterator[Load]:
    with tempfile.TemporaryDirectory(dir=PLACE) as folder:
        async with _loaded(Node(folder)) as load:
            yield load


@contextlib.asynccontextmanager
async def _loaded(programs: Any) -> AsyncIterator[Load]:
    try:
        await programs.start()
        load = Load(programs.uri)
        await _answers(load)
        yield load
        await load.aclose()
    finally:
        await programs.aclose()


async def _answers(load: Load) -> None:
    """Wait until peers of all partitions are answered."""
    end = time.monotonic() + 60
    while True:
        try:
            await load.connect(64)
            break
        except Exception:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.05)
    async with asyncio.timeout(60):
        await asyncio.gather(*(peer.ask(payload_of()) for peer in load.peers))


# The rows -----------------------------------------------------------------------------------------------


async def throughput() -> list[Row]:
    rates: dict[str, tuple[list[float], list[float]]] = {}
    async with cluster(1) as (_, ours), alone() as node:
        for each in range(ROUNDS + 1):
            now = {
                "64 peers": (await ours.rate(64, 64), await node.rate(64, 64)),
                "1000 peers": (await ours.rate(1000, 4), await node.rate(1000, 4)),
                "pause": (await ours.pause(500), await node.pause(500)),
                "commit": (await ours.pause(300, store=True), await node.pause(300, store=True)),
            }
            for name, pair in now.items():
                for kept, figure in zip(rates.setdefault(name, ([], [])), pair, strict=True):
                    if each:  # the first is to warm up
                        kept.append(figure)
    median = {name: [statistics.median(kept) for kept in pair] for name, pair in rates.items()}
    (many, alone_many), (thousand, alone_thousand), pause, commit = (median[name] for name in now)
    return [
        Row(
            "cluster: 64 peers with 64 requests each, against no cluster",
            median_ratio(*rates["64 peers"]),
            "ratio",
            ">= 0.5",
            f"{many:.0f} answers/s against {alone_many:.0f}; aim 30000",
        ),
        Row(
            "cluster: 1000 peers with 4 requests each, against 64 with 64",
            median_ratio(rates["1000 peers"][0], rates["64 peers"][0]) / (alone_thousand / alone_many),
            "ratio",
            ">= 0.8",
            f"{thousand:.0f} answers/s against {many:.0f}, as a ratio of what that is without a cluster, "
            f"{alone_thousand:.0f} against {alone_many:.0f}",
        ),
        Row(
            "cluster: one request at a time",
            pause[0] * 1e3,
            "ms",
            "<= 3",
            f"median of 500; {pause[1] * 1e3:.2f} ms without a cluster",
        ),
        Row(
            "cluster: a write to the store",
            commit[0] * 1e3,
            "ms",
            "<= 3",
            f"median of 300, synced at the broker; {commit[1] * 1e3:.2f} ms, synced by SQLite, without a cluster",
        ),
    ]


async def shared() -> list[Row]:
    """Two workers against one, where handlers compute."""
    rates: tuple[list[float], list[float]] = ([], [])
    async with cluster(2) as (_, two), cluster(1) as (_, one):
        for _ in range(3):
            for kept, load in zip(rates, (two, one), strict=True):
                kept.append(await load.rate(64, 16, work=BUSY))
    note = "{:.0f} answers/s against {:.0f}".format(*(statistics.median(kept) for kept in rates))
    note += f"; each computes {BUSY} µs; {os.cpu_count()} cores for all"
    return [Row("cluster: two workers, against one", median_ratio(*rates), "ratio", ">= 1.15", note)]


async def takeovers() -> list[Row]:
    killed, ended = [], []
    async with cluster(2) as (programs, load):
        for _ in range(TAKEOVERS):
            ended.append(await _takeover(programs, load, signal.SIGTERM))
            killed.append(await _takeover(programs, load, signal.SIGKILL))
    return [
        Row(
            "cluster: the next owner answers after SIGTERM",
            statistics.median(ended),
            "s",
            "<= 1",
            f"longest of {TAKEOVERS}: {max(ended):.2f} s without an answer",
        ),
        Row(
            "cluster: the next owner answers after SIGKILL",
            statistics.median(killed),
            "s",
            "<= 11",
            f"longest of {TAKEOVERS}: {max(killed):.2f} s without an answer, of which the lease is 10",
        ),
    ]


async def _takeover(programs: Any, load: Load, number: signal.Signals) -> float:
    """Return the longest time without an answer to one peer, whose owner is killed, or asked to end, for good."""
    peer = load.peers[0]
    while not peer.answers.empty():  # that came twice
        peer.answers.get_nowait()
    _, answer = await peer.ask(payload_of())
    owner = next(worker for worker in programs.workers if worker.pid == answer.pid)
    doing = asyncio.create_task(owner.leave(number))
    longest, last, pid = 0.0, time.perf_counter(), answer.pid
    while pid == answer.pid:
        peer.tell(payload_of())
        at, raw = await peer.answers.get()
        found: Any = _registry.decode(raw)
        longest, last, pid = max(longest, at - last), at, found.pid
        await asyncio.sleep(0.005)
    await doing
    await owner.start()
    end = time.monotonic() + 60
    while len({(await each.ask(payload_of()))[1].pid for each in load.peers}) < 2 and time.monotonic() < end:
        await asyncio.sleep(0.5)  # until the one that is back has its share
    await asyncio.sleep(5)
    return longest


def rows() -> list[Row]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    relax_collector()
    found: list[Row] = []
    for part in (throughput, shared, takeovers):
        found += asyncio.run(part())
    return found
