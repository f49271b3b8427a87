"""Payload to handler with messages counted, against not: what counting costs, and that it costs nothing when off."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time

from benchmarks.dispatch import MESSAGES, PEER, Feed, build
from benchmarks.harness import ROUNDS, Row, median_ratio, run_async
from oddwire.app import Application


def measure(*, metrics: bool, stopped: bool = False) -> float:
    """Return microseconds of CPU for each message; ``stopped``: somebody has watched, and does so no more."""

    async def main() -> float:
        extension, samples, seen = build(10)
        feed = Feed()
        app = Application(extension, transport=feed, metrics=metrics)
        async with app:
            if stopped:
                await app.insight.ring.read()
                app.insight.ring.close()
            payloads = [app.registry.encode(sample) for sample in samples]
            received = feed.sink.payload_received
            gc.collect()
            start = time.process_time()
            for _ in range(MESSAGES // 1000):
                for _ in range(100):
                    for payload in payloads:
                        received(PEER, payload)
                await asyncio.sleep(0)
            while seen[0] < MESSAGES:
                await asyncio.sleep(0)
            return 1e6 * (time.process_time() - start) / MESSAGES

    return float(run_async(main()))


def rows() -> list[Row]:
    measure(metrics=False)  # warm
    off, on, stopped = [], [], []
    for _ in range(ROUNDS):
        off.append(measure(metrics=False))
        on.append(measure(metrics=True))
        stopped.append(measure(metrics=False, stopped=True))
    note = f"{statistics.median(off):.2f} us off, {statistics.median(on):.2f} us on, of CPU for each message"
    return [
        Row(
            "insight, a message that is not counted, against one that is",
            median_ratio(off, on),
            "ratio",
            ">= 0.5",
            note,
        ),
        Row("insight, nobody watches any more, against nobody did", median_ratio(off, stopped), "ratio", ">= 0.95"),
    ]
