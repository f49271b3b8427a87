"""Hundreds of fail-overs, after each of which the next owner has exactly what counts."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.support.broker import Broker
from tests.support.failovers import Failovers
from tests.support.partition_logs import MemoryPlace, create_log_streams

from oddwire.cluster.log.jetstream import JetStreamLog
from oddwire.cluster.log.subject import LogPlace
from oddwire.proto.keys import NodeId
from oddwire.transports.nats.connection import BrokerConnection

NODE = NodeId(b"\x02" + b"\x33" * 32)


async def test_the_next_owner_has_what_counts(tmp_path: Path) -> None:
    failovers = Failovers(MemoryPlace(max_message=4000), tmp_path, 1)
    await failovers.run(100)
    for what in ("no cache", "damaged cache", "handed over", "frozen", "killed idle", "done", "not done", "refused"):
        assert failovers.seen[what] > 4, failovers.seen


async def test_the_next_owner_has_what_counts_at_a_real_broker(tmp_path: Path, jetstream: LogPlace) -> None:
    failovers = Failovers(jetstream, tmp_path, 1)
    await failovers.run(30)
    assert failovers.seen["refused"] > 15, failovers.seen


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
async def test_a_thousand_times_the_next_owner_has_what_counts(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    place = MemoryPlace(max_message=chance.choice([1000, 4000, 1 << 20]))
    after = chance.choice([1000, 20_000, 200_000])
    failovers = Failovers(place, tmp_path, seed, trouble=chance.choice([0, 0.02, 0.2]), snapshot_after=after)
    await failovers.run(1000)
    assert failovers.seen["refused"] > 500, failovers.seen


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
async def test_the_broker_is_killed_meanwhile(tmp_path: Path, seed: int) -> None:
    with Broker(tmp_path / "broker") as broker:
        connection = await BrokerConnection.open(broker.address)
        await create_log_streams(connection, NODE)

        async def kill() -> None:
            broker.kill()
            broker.start()

        failovers = Failovers(JetStreamLog(connection, NODE, seed), tmp_path, seed, hiccup=kill)
        await failovers.run(300)
        assert failovers.seen["refused"] > 150, failovers.seen
        await connection.aclose()
