"""What honest peers see of a node: how many requests a second are answered, and how long it takes to get in."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.target import Answer, Ask

from oddwire import Application, Extension, PrivateKey
from oddwire.jsonrpc import JsonRpcClient
from oddwire.proto import NodeUri, connect
from oddwire.transports import Bolt8Transport


@dataclass(frozen=True)
class Seen:
    """Requests a second, and the milliseconds one took, at the median and at worst."""

    rate: float
    median: float
    worst: float


async def ask(uri: str, seconds: float, pause: float = 0.005) -> Seen:
    """Make one request after the other, with a pause between."""
    asker = Extension("target", version="1.0")
    for needed in (Ask, Answer):
        asker.register(needed)
    async with Application(asker, transport=Bolt8Transport(PrivateKey(os.urandom(32)))) as app:
        peer = await app.connect(uri)
        await peer.wait_for_hello()
        took = []
        began = time.perf_counter()
        while time.perf_counter() < began + seconds:
            start = time.perf_counter()
            reply = await peer.request(Ask(number=len(took), note="x" * 60), Answer, timeout=30)
            assert reply.number == len(took)
            took.append(1000 * (time.perf_counter() - start))
            await asyncio.sleep(pause)
        elapsed = time.perf_counter() - began
        return Seen(len(took) / elapsed, statistics.median(took), max(took))


async def ask_times(uri: str, count: int) -> int:
    """Make so many requests, one after the other, and give how many were answered."""
    asker = Extension("target", version="1.0")
    for needed in (Ask, Answer):
        asker.register(needed)
    async with Application(asker, transport=Bolt8Transport(PrivateKey(os.urandom(32)))) as app:
        peer = await app.connect(uri)
        await peer.wait_for_hello()
        for number in range(count):
            reply = await peer.request(Ask(number=number, note="x"), Answer, timeout=60)
            assert reply.number == number
        return count


async def call(rpc_file: str, seconds: float) -> float:
    """Make one call of an embedded node's RPC after the other, and give how many a second were answered."""
    async with JsonRpcClient(Path(rpc_file)) as client:
        count, began = 0, time.perf_counter()
        while time.perf_counter() < began + seconds:
            assert (await client.call("getinfo"))["id"]
            count += 1
        return count / (time.perf_counter() - began)


async def get_in(uri: str) -> float:
    """Shake hands once, and give the seconds it took. Raises what keeps an honest caller out."""
    node = NodeUri.parse(uri)
    start = time.perf_counter()
    connection = await connect(PrivateKey(os.urandom(32)), node.node_id, node.host, node.port)
    connection.abort("done")
    return time.perf_counter() - start
