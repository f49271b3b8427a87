"""A thousand connected peers: their total throughput against one peer's, and the memory each costs."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import time
from pathlib import Path

from benchmarks.harness import Channel, Row, median_ratio, pair, run_async
from benchmarks.payloads import CountingSink, rates
from benchmarks.typed import OrderMsgpack, sample
from oddwire.app import Application, Context, Extension
from oddwire.proto import PrivateKey
from oddwire.transports.base import Manifest
from oddwire.transports.bolt8.transport import Bolt8Transport

PEERS = 1000
MESSAGES = 300_000
ROUNDS = 3


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))


def receive(channel: Channel, peers: int) -> tuple[float, float]:
    async def main() -> tuple[float, float]:
        extension = Extension("bench", version="1.0")
        done = asyncio.Event()
        count = 0
        first = last = 0.0
        expected = MESSAGES // peers * peers

        @extension.on(OrderMsgpack)
        async def handle(context: Context, order: OrderMsgpack) -> None:
            nonlocal count, first, last
            if not count:
                first = time.perf_counter()
            count += 1
            if count == expected:
                last = time.perf_counter()
                done.set()

        transport = Bolt8Transport(PrivateKey(os.urandom(32)), listen=["127.0.0.1:0"])
        async with Application(extension, transport=transport):
            gc.collect()
            before = resident()
            channel.put(transport.uris[0])
            await channel.aget()
            gc.collect()
            memory = (resident() - before) / peers
            channel.put("go")
            await done.wait()
            channel.put("done")
            await channel.aget()
        return (count - 1) / (last - first), memory

    raise_file_limit()
    rate, memory = run_async(main())
    return float(rate), float(memory)


def send(channel: Channel, peers: int) -> None:
    async def main() -> None:
        from oddwire.codecs import Registry

        registry = Registry()
        registry.register(OrderMsgpack, owner="bench")
        payload = registry.encode(sample("msgpack"))
        uri = await channel.aget()
        transports = []
        for _ in range(peers):
            transport = Bolt8Transport(PrivateKey(os.urandom(32)))
            await transport.open(Manifest(), CountingSink(1))
            await transport.connect(uri, keep=False)
            transports.append(transport)
        channel.put("connected")
        await channel.aget()

        async def flood(transport: Bolt8Transport) -> None:
            peer = transport.peers[0].node_id
            for _ in range(MESSAGES // peers):
                await transport.send(peer, payload)

        await asyncio.gather(*map(flood, transports))
        await channel.aget()
        channel.put("over")
        await asyncio.gather(*(transport.aclose() for transport in transports))

    raise_file_limit()
    run_async(main())


def rows() -> list[Row]:
    many, one, memory = [], [], []
    for _ in range(ROUNDS):
        one.append(pair(receive, send, 1)[0][0])
        rate, each = pair(receive, send, PEERS)[0]
        many.append(rate)
        memory.append(each)
    kilobytes = sorted(memory)[len(memory) // 2] / 1024
    return [
        Row("1 000 peers: throughput, against one peer", median_ratio(many, one), "ratio", ">= 0.8", rates(many, one)),
        Row("1 000 peers: memory of each", kilobytes, "KB", "<= 25", "resident, the whole stack, after their inits"),
    ]
