"""A typed request and its reply, one at a time, against a bare asyncio TCP echo of the same bytes."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from typing import cast

from benchmarks.harness import ROUNDS, Channel, Row, median_ratio, pair, run_async
from oddwire.app import Application, Context, Extension
from oddwire.codecs import Registry
from oddwire.proto import PrivateKey
from oddwire.schema import Message, message, u64
from oddwire.transports.bolt8.transport import Bolt8Transport

COUNT = 4000
NOTE = "x" * 80


@message(0x9005)
class Ask(Message):
    number: u64
    note: str


@message(0x9007)
class Answer(Message):
    number: u64
    note: str


def build() -> Extension:
    extension = Extension("bench", version="1.0")
    extension.register(Answer)

    @extension.on(Ask)
    async def answer(context: Context, ask: Ask) -> Answer:
        return Answer(number=ask.number, note=ask.note)

    return extension


def serve_typed(channel: Channel) -> None:
    async def main() -> None:
        transport = Bolt8Transport(PrivateKey(os.urandom(32)), listen=["127.0.0.1:0"])
        async with Application(build(), transport=transport):
            channel.put(transport.uris[0])
            await channel.aget()

    run_async(main())


def ask_typed(channel: Channel) -> float:
    async def main() -> float:
        async with Application(build(), transport=Bolt8Transport(PrivateKey(os.urandom(32)))) as app:
            peer = await app.connect(await channel.aget())
            times = []
            for number in range(COUNT):
                start = time.perf_counter()
                reply = await peer.request(Ask(number=number, note=NOTE), Answer)
                times.append(time.perf_counter() - start)
                if reply.number != number:
                    raise RuntimeError("a wrong reply")
            channel.put("done")
        return statistics.median(times)

    return float(run_async(main()))


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Caller(Echo):
    reply: asyncio.Future[None]
    missing = 0

    def data_received(self, data: bytes) -> None:
        self.missing -= len(data)
        if not self.missing:
            self.reply.set_result(None)

    async def call(self, data: bytes) -> None:
        self.reply = asyncio.get_running_loop().create_future()
        self.missing = len(data)
        self.transport.write(data)
        await self.reply


def serve_bare(channel: Channel) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
        channel.put(server.sockets[0].getsockname()[1])
        await channel.aget()
        server.close()

    run_async(main())


def ask_bare(channel: Channel) -> float:
    async def main() -> float:
        registry = Registry()
        registry.register(Ask, owner="bench")
        frame = os.urandom(len(registry.encode(Ask(number=COUNT, note=NOTE))) + 34)
        _, caller = await asyncio.get_running_loop().create_connection(Caller, "127.0.0.1", await channel.aget())
        times = []
        for _ in range(COUNT):
            start = time.perf_counter()
            await caller.call(frame)
            times.append(time.perf_counter() - start)
        channel.put("done")
        return statistics.median(times)

    return float(run_async(main()))


def rows() -> list[Row]:
    ours, bare = [], []
    for _ in range(ROUNDS):
        bare.append(pair(serve_bare, ask_bare)[1])
        ours.append(pair(serve_typed, ask_typed)[1])
    note = f"{statistics.median(ours) * 1e6:.0f} µs against {statistics.median(bare) * 1e6:.0f} µs"
    return [Row("request and reply, against a bare TCP echo", median_ratio(ours, bare), "times", "<= 2.5", note)]
