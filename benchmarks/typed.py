"""Typed messages one way: made, encoded, sent, received, decoded, handled; against the bound of their payloads."""

from __future__ import annotations

import asyncio
import os
import time

from benchmarks.harness import ROUNDS, Channel, Row, bound, median_ratio, pair, run_async
from benchmarks.payloads import rates
from oddwire.app import Application, Context, Extension
from oddwire.proto import PrivateKey
from oddwire.schema import Message, message, sha256, u32, u64
from oddwire.transports.bolt8.transport import Bolt8Transport

COUNT = 200_000


@message(0x9001)
class OrderMsgpack(Message):
    number: u64
    price: u32
    buy: bool
    asset: str
    note: str


@message(0x9003, codec="bolt")
class OrderBolt(Message):
    number: u64
    price: u32
    buy: bool
    asset: str
    reference: sha256


def sample(codec: str) -> Message:
    if codec == "msgpack":
        return OrderMsgpack(number=2**50, price=2**20, buy=True, asset="eur/usd", note="x" * 43)
    return OrderBolt(number=2**50, price=2**20, buy=True, asset="x" * 51, reference=bytes(32))


def receive(channel: Channel, codec: str) -> float:
    async def main() -> float:
        extension = Extension("bench", version="1.0")
        done = asyncio.Event()
        count = 0
        first = last = 0.0

        @extension.on(type(sample(codec)))
        async def handle(context: Context, order) -> None:  # type: ignore[no-untyped-def]  # either of the two
            nonlocal count, first, last
            if not count:
                first = time.perf_counter()
            count += 1
            if count == COUNT:
                last = time.perf_counter()
                done.set()

        transport = Bolt8Transport(PrivateKey(os.urandom(32)), listen=["127.0.0.1:0"])
        async with Application(extension, transport=transport):
            channel.put(transport.uris[0])
            await done.wait()
            channel.put("done")
        return (COUNT - 1) / (last - first)

    return float(run_async(main()))


def send(channel: Channel, codec: str) -> None:
    async def main() -> None:
        order = sample(codec)
        extension = Extension("bench", version="1.0")
        extension.register(type(order))
        transport = Bolt8Transport(PrivateKey(os.urandom(32)))
        async with Application(extension, transport=transport) as app:
            peer = await app.connect(await channel.aget())
            for number in range(COUNT):
                if codec == "msgpack":
                    order = OrderMsgpack(number=2**50 + number, price=2**20, buy=True, asset="eur/usd", note="x" * 43)
                else:
                    order = OrderBolt(
                        number=2**50 + number, price=2**20, buy=True, asset="x" * 51, reference=b"\x01" * 32
                    )
                await peer.send(order)
            await channel.aget()

    run_async(main())


def rows() -> list[Row]:
    from oddwire.codecs import Registry

    results = []
    for codec in ("msgpack", "bolt"):
        registry = Registry()
        registry.register(type(sample(codec)), owner="bench")
        size = len(registry.encode(sample(codec)))
        ours, bounds = [], []
        for _ in range(ROUNDS):
            bounds.append(bound(size))
            ours.append(pair(receive, send, codec)[0])
        name = f"typed, 5 fields, {size} B, {codec}, against the bound"
        results.append(Row(name, median_ratio(ours, bounds), "ratio", ">= 0.45", rates(ours, bounds)))
    return results
