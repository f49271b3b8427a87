"""The session layer against plain sends: requests, large messages, streams; what it costs who does not use it."""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import statistics
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from benchmarks.harness import ROUNDS, Channel, Row, median_ratio, pair, run_async
from benchmarks.payloads import rates
from oddwire.app import Application, Context, Extension, Peer
from oddwire.codecs import Registry
from oddwire.proto import PrivateKey
from oddwire.schema import Message, message, u64
from oddwire.session.wire.frames import encode_cancel, encode_data, encode_fragment, encode_reply, encode_request
from oddwire.transports.bolt8.transport import Bolt8Transport

REQUESTS = 30_000
PLAIN = 120_000
IN_FLIGHT = 64
BULK = 100_000_000
SMALL, WHOLE, PART = 60_000, 1_000_000, 1_000_000
IDLE_ROUNDS = 9


@message(0x9021)
class Ask(Message):
    number: u64
    note: str


@message(0x9023)
class Answer(Message):
    number: u64
    note: str


@message(0x9025)
class Plain(Message):
    number: u64
    note: str


@message(0x9027, codec="raw")
class Bulk(Message):
    data: bytes


@message(0x9029)
class Fetch(Message):
    size: u64


NOTE = "x" * 72  # payloads of 100 bytes


class Receiver:
    """What the other side sends is counted, from the first to the last."""

    def __init__(self) -> None:
        self.extension = Extension("bench", version="1.0")
        self.wanted = self.count = 0
        self.first = 0.0
        self.done: asyncio.Future[float] | None = None
        self.extension.register(Answer)

        @self.extension.on(Plain)
        async def plain(context: Context, plain: Plain) -> None:
            self.add(1)

        @self.extension.on(Bulk)
        async def bulk(context: Context, bulk: Bulk) -> None:
            self.add(len(bulk.data))

        @self.extension.on(Ask)
        async def answer(context: Context, ask: Ask) -> Answer:
            return Answer(number=ask.number, note=ask.note)

        @self.extension.on(Fetch)
        async def fetch(context: Context, fetch: Fetch) -> AsyncGenerator[Bulk, None]:
            for _ in range(fetch.size // PART):
                yield Bulk(data=bytes(PART))

    def expect(self, amount: int) -> asyncio.Future[float]:
        """Return what becomes the amount a second, without that of the first message, which starts the clock."""
        self.wanted, self.count = amount, 0
        self.done = asyncio.get_running_loop().create_future()
        return self.done

    def add(self, amount: int) -> None:
        if not self.count:
            self.first = time.perf_counter()
            self.wanted -= amount
        self.count += amount
        if self.count >= self.wanted + amount and self.done is not None and not self.done.done():
            self.done.set_result(self.wanted / (time.perf_counter() - self.first))


def peak() -> float:
    """Return the most memory this process has held, in MB."""
    if sys.platform == "linux":  # where a new program's ru_maxrss begins with that of the one which started it
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def hostile(route: int) -> list[bytes]:
    """Frames of which nothing comes."""
    return [
        encode_reply(route, 1, 0, b"\x90\x23" + bytes(90)),  # nobody asked
        encode_request(route, 2, 0, b"\x90\x71" + bytes(90)),  # of a type that nobody takes
        encode_request(route, 3, 0, b"\x90\x21" + b"\xc1" * 90),  # malformed
        encode_fragment(route, 4, 1 << 40, 60_000, 0, bytes(60_000)),  # too large
        encode_fragment(route, 5, 1000, 10, 0, bytes(10)),  # too small a piece
        encode_cancel(route, 1, 6),
        encode_data(route, 7, 1, 1, 1, b"\x90\x25" + bytes(90)),  # to an application without a store
        b"\xc0\xdd\x63" + route.to_bytes(8, "big") + bytes(90),  # of no kind we know
    ]


async def flood(transport: Bolt8Transport, peer: Peer) -> None:
    """Send what is wrong, as fast as it is read."""
    session = peer._messenger.session_of(peer.node_id)
    route = next(iter(session.links.values())).route if session is not None else 0
    for frame in itertools.cycle(hostile(route)):
        await transport.send(peer.node_id, frame)
        await asyncio.sleep(0)


def serve(channel: Channel, *works: str) -> list[float]:
    """Receive what `use` sends, and measure that; the work ``fetch`` is the peer's to measure.

    After ``plain``, ``small`` and ``whole`` comes the amount a second and the seconds of work of this process.
    """

    async def main() -> list[float]:
        receiver = Receiver()
        transport = Bolt8Transport(PrivateKey(os.urandom(32)), listen=["127.0.0.1:0"])
        session = "without" not in works
        measured = []
        async with Application(receiver.extension, transport=transport, session=session):
            channel.put(transport.uris[0])
            for work in works[not session :]:
                if work in ("plain", "small", "whole"):
                    done = receiver.expect({"plain": PLAIN}.get(work, BULK))
                    channel.put("ready")
                    start = time.process_time()
                    measured += [await done, time.process_time() - start]
                    channel.put("done")
                else:
                    await channel.aget()
                    measured.append(peak())
        return measured

    return list(run_async(main()))


def use(channel: Channel, *works: str) -> list[float]:
    """Do the works with the peer that `serve` is, and measure requests a second, bytes a second, and memory."""

    async def main() -> list[float]:
        receiver = Receiver()
        transport = Bolt8Transport(PrivateKey(os.urandom(32)))
        session = "without" not in works
        measured = []
        async with Application(receiver.extension, transport=transport, session=session) as app:
            peer = await app.connect(await channel.aget())
            await peer.wait_for_hello()
            for work in works[not session :]:
                if work in ("plain", "small", "whole"):
                    await channel.aget()
                    start = time.process_time()
                    await send(peer, work)
                    await channel.aget()
                    measured.append(time.process_time() - start)
                elif work == "ask":
                    measured.append(await ask(peer))
                    channel.put("done")
                else:
                    start = time.perf_counter()
                    size = BULK if work == "fetch" else int(work)
                    got = 0
                    async for part in peer.stream(Fetch(size=size), Bulk):
                        got += len(part.data)
                    if got != size:
                        raise RuntimeError(f"{got} bytes came of {size}")
                    measured.append(peak() if work != "fetch" else got / (time.perf_counter() - start))
                    channel.put("done")
        return measured

    return list(run_async(main()))


async def send(peer: Peer, work: str) -> None:
    if work == "plain":
        for number in range(PLAIN):
            await peer.send(Plain(number=2**40 + number, note=NOTE))
        return
    bulk = Bulk(data=bytes(SMALL if work == "small" else WHOLE))
    for _ in range(-(-BULK // len(bulk.data))):
        await peer.send(bulk)


async def ask(peer: Peer) -> float:
    """Make requests, so many at once; give how many a second."""
    numbers = iter(range(REQUESTS))

    async def caller() -> None:
        for number in numbers:
            reply = await peer.request(Ask(number=2**40 + number, note=NOTE), Answer)
            if reply.number != 2**40 + number:
                raise RuntimeError("a wrong reply")

    start = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return REQUESTS / (time.perf_counter() - start)


def use_beside(channel: Channel, hostile: bool) -> None:
    """Send plain messages, while another peer, which does not share our connection, is idle or hostile."""

    async def main() -> None:
        receiver, other = Receiver(), Bolt8Transport(PrivateKey(os.urandom(32)))
        async with (
            Application(Receiver().extension, transport=other) as beside,
            Application(receiver.extension, transport=Bolt8Transport(PrivateKey(os.urandom(32)))) as app,
        ):
            uri = await channel.aget()
            peer, victim = await app.connect(uri), await beside.connect(uri)
            await asyncio.gather(peer.wait_for_hello(), victim.wait_for_hello())
            await channel.aget()
            flooding = asyncio.create_task(flood(other, victim)) if hostile else None
            await asyncio.sleep(0.5)
            await send(peer, "plain")
            await channel.aget()
            if flooding is not None:
                if flooding.done():
                    flooding.result()
                flooding.cancel()

    run_async(main())


def serve_beside(channel: Channel, hostile: bool) -> float:
    return serve(channel, "plain")[0]


def beside() -> list[Row]:
    with_idle, with_hostile = [], []
    for _ in range(ROUNDS):
        with_idle.append(pair(serve_beside, use_beside, False)[0])
        with_hostile.append(pair(serve_beside, use_beside, True)[0])
    name = "plain messages beside a hostile peer, against beside an idle one"
    return [Row(name, median_ratio(with_hostile, with_idle), "ratio", ">= 0.9", rates(with_hostile, with_idle))]


def requests() -> list[Row]:
    plain, asked = [], []
    for _ in range(ROUNDS):
        plain.append(pair(serve, use, "plain")[0][0])
        asked.append(pair(serve, use, "ask")[1][0])
    registry = Registry()
    registry.register(Ask, owner="bench")
    size = len(registry.encode(Ask(number=2**40, note=NOTE)))
    name = f"requests and replies, {size} B, {IN_FLIGHT} at once, against plain sends one way"
    return [Row(name, median_ratio(asked, plain), "ratio", ">= 0.3", rates(asked, plain))]


def bulk() -> list[Row]:
    small, whole, fetched = [], [], []
    for _ in range(ROUNDS):
        received, measured = pair(serve, use, "small", "whole", "fetch")
        small.append(received[0] / 1e6)
        whole.append(received[2] / 1e6)
        fetched.append(measured[-1] / 1e6)
    named = ((f"messages of {WHOLE // 10**6} MB", whole), (f"a stream in parts of {PART // 10**6} MB", fetched))
    return [
        Row(
            f"{BULK // 10**6} MB in fragments, {name}, against plain sends of {SMALL // 1000} KB",
            median_ratio(ours, small),
            "ratio",
            ">= 0.6",
            f"{statistics.median(ours):,.0f} MB/s against {statistics.median(small):,.0f} MB/s",
        )
        for name, ours in named
    ]


def memory() -> list[Row]:
    short, long = 20_000_000, 200_000_000
    server, client = pair(serve, use, str(short), str(long))
    grown = [after - before for before, after in (server, client)]
    note = f"{client[0]:.0f} MB to {client[1]:.0f} MB where parts are received, {server[0]:.0f} to {server[1]:.0f} sent"
    name = f"memory that a stream of {long // 10**6} MB needs more than one of {short // 10**6} MB"
    return [Row(name, max(grown), "MB", "<= 8", note)]


def idle() -> list[Row]:
    """Compare the work, not the time: a difference this small is lost in that of one moment and the next."""
    with_session, without = [], []
    for number in range(IDLE_ROUNDS):
        for kind, measured in ((["plain"], with_session), (["without", "plain"], without))[:: -1 if number % 2 else 1]:
            (_, received), (sent,) = pair(serve, use, *kind)
            measured.append((received + sent) / PLAIN * 1e6)
    more = (median_ratio(with_session, without) - 1) * 100
    note = f"{statistics.median(with_session):.2f} µs of work a message against {statistics.median(without):.2f} µs"
    return [Row("plain messages with the session layer idle cost more", more, "%", "<= 2", note)]


def rows() -> list[Row]:
    return [*requests(), *bulk(), *memory(), *idle(), *beside()]
