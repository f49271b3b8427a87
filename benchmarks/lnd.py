"""The transport lnd on two real LNDs, against a client of the same API that does nothing else; where `lnd` is there.

Our program is beside the left LND, a bare client of grpc.aio beside each. Out of `send`: both send through the left
one, one call after the other, which is what order takes, and are done when the bare client at the right has counted
all. Into a handler: one LND sends to the other as fast as its API lets it, to our program at the left, and to the bare
client at the right; then a peer of ours, which is faster than LND, sends to each.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import Channel, Row, median_ratio, run_async
from benchmarks.hosted import Note, Peers, _text_of, payload_of
from oddwire import Application, Context, Extension

ROWS = ((100, 1000), (60_000, 200))
ROUNDS = 9  # more and shorter ones than elsewhere: five processes share the processors
AT_ONCE = 30  # calls, where order does not matter
GOALS = {
    "out of send": ">= 0.9",
    "from LND into a handler": ">= 0.9",
    # There the bare client has all of the processor, and only counts: it decodes nothing, and has no handler
    "from a peer into a handler": ">= 0.6",
}
CUSTOM = b"\x10\x81\x80\x02"  # a message's type, 0x8001, as its field
_spawn = multiprocessing.get_context("spawn")


# Programs, each a process -------------------------------------------------------------------------------


def ours(channel: Channel, rpc: str, tlscert: str, macaroon: str) -> None:
    run_async(_ours(channel, rpc, tlscert, macaroon))


async def _ours(channel: Channel, rpc: str, tlscert: str, macaroon: str) -> None:
    from oddwire.transports.lnd.transport import LndTransport

    extension = Extension("bench", version="1.0")
    arrivals = Arrivals()

    @extension.on(Note)
    async def note(context: Context, note: Note) -> None:
        arrivals.one_more()

    async with Application(extension, transport=LndTransport(rpc, tlscert=tlscert, macaroon=macaroon)) as app:
        channel.put("ready")
        while (command := await channel.aget()) != "end":
            what, peer, text, count = command
            if what == "peers":
                while len(app.peers) < count:
                    await asyncio.sleep(0.01)
                channel.put("there")
            elif what == "receive":
                await arrivals.wait_for(count, channel)
            else:
                to = app.peer(peer)
                channel.put("started")
                for _ in range(count):
                    await to.send(Note(text=text))


def bare_sender(channel: Channel, rpc: str, tlscert: str, macaroon: str) -> None:
    """Do not subscribe: LND would have to tell each message twice."""
    run_async(_bare(channel, rpc, tlscert, macaroon, counts=False))


def bare(channel: Channel, rpc: str, tlscert: str, macaroon: str) -> None:
    run_async(_bare(channel, rpc, tlscert, macaroon, counts=True))


async def _bare(channel: Channel, rpc: str, tlscert: str, macaroon: str, *, counts: bool) -> None:
    import grpc
    import grpc.aio

    metadata = (("macaroon", Path(macaroon).read_bytes().hex()),)
    arrivals = Arrivals()
    credentials = grpc.ssl_channel_credentials(Path(tlscert).read_bytes())
    async with grpc.aio.secure_channel(rpc, credentials) as way:

        async def count_all() -> None:
            stream: Any = way.unary_stream("/lnrpc.Lightning/SubscribeCustomMessages")(b"", metadata=metadata)  # type: ignore[arg-type]
            async for message in stream:
                if CUSTOM in message[:45]:
                    arrivals.one_more()

        counting = asyncio.create_task(count_all() if counts else asyncio.sleep(0))
        call: Any = way.unary_unary("/lnrpc.Lightning/SendCustomMessage")  # type: ignore[arg-type]
        info: Any = way.unary_unary("/lnrpc.Lightning/GetInfo")  # type: ignore[arg-type]
        await info(b"", metadata=metadata)
        channel.put("ready")
        while (command := await channel.aget()) != "end":
            what, peer, data, count = command
            if what == "receive":
                await arrivals.wait_for(count, channel)
            elif what == "flood":
                requests = iter([request_of(peer, data)] * count)
                channel.put("started")

                async def some(requests: Iterator[bytes] = requests) -> None:
                    for request in requests:
                        await call(request, metadata=metadata)

                await asyncio.gather(*(some() for _ in range(AT_ONCE)))
            else:
                request = request_of(peer, data)
                channel.put("started")
                for _ in range(count):
                    await call(request, metadata=metadata)
        counting.cancel()


def request_of(peer: str, data: bytes) -> bytes:
    return b"\x0a\x21" + bytes.fromhex(peer) + CUSTOM + b"\x1a" + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    head = b""
    while value > 127:
        head += bytes([value & 127 | 128])
        value >>= 7
    return head + bytes([value])


class Arrivals:
    """How many messages came, and when so many had."""

    def __init__(self) -> None:
        self._seen = 0
        self._wanted = 0
        self._all = asyncio.Event()

    def one_more(self) -> None:
        self._seen += 1
        if self._seen == self._wanted:
            self._all.set()

    async def wait_for(self, count: int, channel: Channel) -> None:
        """Say that counting has begun, and how long it was until so many more had come."""
        self._wanted = self._seen + count
        self._all.clear()
        channel.put("counting")
        await self._all.wait()
        channel.put(time.perf_counter())  # the clock is one for all processes


# The rows -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(program: Any, lnd: Any) -> Iterator[Channel]:
    mine, theirs = _spawn.Pipe()
    arguments = (lnd.rpc, str(lnd.tlscert), str(lnd.small_macaroon))
    process = _spawn.Process(target=_enter, args=(program, theirs, arguments), daemon=True)
    process.start()
    channel = Channel(mine)
    try:
        channel.get()
        yield channel
        channel.put("end")
        process.join(30)
    finally:
        process.kill()


def _enter(program: Any, connection: Any, arguments: tuple[str, ...]) -> None:
    program(Channel(connection), *arguments)


def measured() -> list[Row]:
    from tests.interop.lnd.lnd_node import Lnd, connect

    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        lnds = [Lnd(Path(folder) / name) for name in ("left", "right")]
        for lnd in lnds:
            stack.callback(lnd.end)
            lnd.start()
        asyncio.run(connect(*lnds))
        left, right = lnds
        peers = stack.enter_context(contextlib.closing(Peers()))
        with running(ours, left) as us, running(bare_sender, left) as sender, running(bare, right) as counter:
            ways = {id(channel): peers.connect(lnd.uri)[0] for channel, lnd in ((us, left), (counter, right))}
            us.put(("peers", "", "", 2))
            us.get()

            def receive(channel: Channel, payload: bytes, count: int) -> float:
                channel.put(("receive", "", "", count))
                channel.get()
                start = time.perf_counter()
                peers.pump((ways[id(channel)], payload, count))
                return count / (channel.get() - start)

            def send(channel: Channel, content: str | bytes, count: int) -> float:
                counter.put(("receive", "", "", count))
                counter.get()
                channel.put(("send", right.node_id, content, count))
                channel.get()
                start = time.perf_counter()
                return count / (counter.get() - start)

            def flood(sender: Channel, lnd: Any, receiver: Channel, data: bytes, count: int) -> float:
                receiver.put(("receive", "", "", count))
                receiver.get()
                sender.put(("flood", lnd.node_id, data, count))
                sender.get()
                start = time.perf_counter()
                return count / (receiver.get() - start)

            rows = []
            for size, count in ROWS:
                payload = payload_of(size)
                text = _text_of(payload)
                data = payload[2:]
                figures: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
                for number in range(ROUNDS + 1):
                    now = {
                        "out of send": (send(us, text, count), send(sender, data, count)),
                        "from LND into a handler": (
                            flood(counter, left, us, data, count),
                            flood(sender, right, counter, data, count),
                        ),
                        "from a peer into a handler": (
                            receive(us, payload, 2 * count),
                            receive(counter, payload, 2 * count),
                        ),
                    }
                    for name, rates in now.items():
                        for kept, rate in zip(figures[name], rates, strict=True):
                            if number:  # the first is to warm up
                                kept.append(rate)
                rows += [_row(f"{size} B {name}", each, GOALS[name]) for name, each in figures.items()]
            return rows


def _row(what: str, figures: tuple[list[float], list[float]], goal: str) -> Row:
    note = "{:.0f} messages/s against {:.0f}".format(*(statistics.median(each) for each in figures))
    return Row(f"lnd: {what}, against a bare client", median_ratio(*figures), "ratio", goal, note)


def rows() -> list[Row]:
    if shutil.which("lnd") is None:
        print("lnd: no lnd on the PATH, so its rows are not measured", file=sys.stderr)
        return []
    return measured()
