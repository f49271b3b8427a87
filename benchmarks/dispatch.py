"""Payload to handler with 10 000 registered types against 10: dispatch must not grow with types."""

from __future__ import annotations

import asyncio
import gc
import time
import warnings

from benchmarks.harness import ROUNDS, Row, median_ratio, run_async
from benchmarks.payloads import rates
from oddwire.app import Application, Context, Extension
from oddwire.proto import NodeId, PrivateKey
from oddwire.schema import Message, message, u64
from oddwire.session.constants import SESSION_TYPE
from oddwire.transports.base import Manifest, PeerInfo, Sink, Transport

MESSAGES = 60_000
PEER = NodeId(PrivateKey(b"\x07" * 32).public_key())


class Feed(Transport):
    """A transport that is fed by hand: what is measured is what comes after it."""

    sink: Sink

    async def open(self, manifest: Manifest, sink: Sink) -> None:
        self.sink = sink
        sink.peer_connected(PeerInfo(node_id=PEER))

    async def send(self, peer: NodeId, payload: bytes) -> None: ...

    def pause(self, peer: NodeId) -> None: ...

    def resume(self, peer: NodeId) -> None: ...

    async def aclose(self) -> None: ...


def build(types: int) -> tuple[Extension, list[Message], list[int]]:
    extension = Extension("bench", version="1.0")
    classes: list[type[Message]] = []
    seen = [0]
    odd = [type_id for type_id in range(0x8001, 0x10000, 2) if type_id != SESSION_TYPE]
    for index, type_id in enumerate(odd[:types]):
        namespace = {"__annotations__": {"number": u64}, "__module__": __name__, "__qualname__": f"Type{index}"}
        classes.append(message(type_id)(type(f"Type{index}", (Message,), namespace)))

    async def handle(context: Context, received) -> None:  # type: ignore[no-untyped-def]  # any of them
        seen[0] += 1

    for cls in classes:
        extension.on(cls)(handle)
    # Ten types carry the traffic in both cases, spread over all there are
    step = max(1, types // 10)
    return extension, [cls(number=7) for cls in classes[::step][:10]], seen  # type: ignore[call-arg]


def measure(types: int) -> float:
    async def main() -> float:
        extension, samples, seen = build(types)
        feed = Feed()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ten thousand types meet those known in the wild
            app = Application(extension, transport=feed)
        async with app:
            payloads = [app.registry.encode(sample) for sample in samples]
            received = feed.sink.payload_received
            gc.collect()  # what the measurement before left behind
            start = time.perf_counter()
            for _ in range(MESSAGES // 1000):
                for _ in range(100):
                    for payload in payloads:
                        received(PEER, payload)
                await asyncio.sleep(0)
            while seen[0] < MESSAGES:
                await asyncio.sleep(0)
            return MESSAGES / (time.perf_counter() - start)

    return float(run_async(main()))


def rows() -> list[Row]:
    measure(10)  # warm
    few, many = [], []
    for _ in range(ROUNDS):
        few.append(measure(10))
        many.append(measure(10_000))
    return [Row("dispatch, 10 000 types, against 10", median_ratio(many, few), "ratio", ">= 0.95", rates(many, few))]
