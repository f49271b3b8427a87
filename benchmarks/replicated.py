"""Commits of a store that is kept in a partition's log: what one takes, beside an append to the same broker."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

from tests.support.broker import Broker
from tests.support.partition_logs import create_log_streams

from oddwire.cluster.log.replicated_store import ReplicatedStore
from oddwire.proto.keys import NodeId
from oddwire.session.store.unit import Store
from oddwire.session.store.value_encoding import keep
from oddwire.transports.nats.connection import BrokerConnection

NODE = NodeId(b"\x02" + b"\x11" * 32)
COMMITS = 500
EACH = 8  # units of work that share a commit
KEYS = 5000


async def commit_times(
    connection: BrokerConnection, folder: Path, *, commits: int = COMMITS, each: int = EACH
) -> list[float]:
    """Return the seconds of each commit of a new partition's store, from the writes of its units to the log's ack."""
    await create_log_streams(connection, NODE)
    log = ReplicatedStore.of_partition(connection, NODE, int.from_bytes(os.urandom(3), "big"), folder)
    await log.take()
    await log.catch_up()
    store, times = Store(log.path, log=log), list[float]()
    async with store.unit("bench") as unit:
        values = await unit.enter()
        for number in range(KEYS):
            values[b"order/%d" % number] = keep("order", os.urandom(60))
    await unit.durable()

    async def write(extension: int) -> None:
        async with store.unit(f"bench{extension}") as unit:
            (await unit.enter())[b"order/%d" % random.randrange(KEYS)] = keep("order", os.urandom(60))
        await unit.durable()

    for _ in range(commits):
        began = time.perf_counter()
        await asyncio.gather(*(write(number) for number in range(each)))
        times.append(time.perf_counter() - began)
    await store.aclose()
    await log.aclose()
    return times


async def append_times(connection: BrokerConnection, *, size: int, count: int = COMMITS) -> list[float]:
    """Return the seconds of each of so many appends of ``size`` bytes, one after the other, to a stream."""
    await connection.api("STREAM.CREATE.BENCH", {"name": "BENCH", "subjects": ["bench"], "storage": "file"})
    times, last = list[float](), 0
    for _ in range(count):
        began = time.perf_counter()
        last = (await connection.append("bench", os.urandom(size), expected_last=last)).sequence
        times.append(time.perf_counter() - began)
    return times


def said(times: list[float]) -> str:
    """Return median and 99th percentile, in milliseconds."""
    return f"{statistics.median(times) * 1e3:.2f} ms, p99 {sorted(times)[len(times) * 99 // 100] * 1e3:.2f} ms"


async def main() -> None:
    # Beside this file, not where temporary files are: there the disk may be no disk
    for sync in ("always", "2m"):
        with (
            tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder,
            Broker(Path(folder) / "broker", sync=sync) as broker,
        ):
            connection = await BrokerConnection.open(broker.address)
            print(f"sync_interval {sync}: an append of 2 kB {said(await append_times(connection, size=2000))}")
            for each in (1, EACH):
                times = await commit_times(connection, Path(folder) / "cache", each=each)
                print(f"  a commit of {each}: {said(times)}")
            await connection.aclose()


if __name__ == "__main__":
    asyncio.run(main())
