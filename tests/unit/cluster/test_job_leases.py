from __future__ import annotations

import asyncio
import json

import pytest
from tests.support.lease_buckets import lease_buckets
from tests.support.waiting import until
from tests.support.worker_rig import KEYS, worker_rig

from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.subjects import LEASES, job_key


@pytest.fixture
async def connection(connection):
    async with lease_buckets(connection) as opened:
        yield opened


@pytest.fixture
async def rig(connection):
    async with worker_rig(connection) as made:
        yield made


async def test_jobs_of_the_cluster_run_once_and_move_when_their_partition_is_given_up(rig, connection):
    running, ran = set(), []

    @rig.extension.task(scope="cluster")
    async def poll(context):
        here = context.app
        running.add(here)
        ran.append(here)
        try:
            await asyncio.Event().wait()
        finally:
            running.discard(here)

    @rig.extension.every(0.01, scope="cluster", at_start=True)
    async def beat(context):
        beats.append(context.app)

    beats = []
    first, ended = rig.worker("a")
    await until(lambda: rig.owned(first) == KEYS and len(beats) > 4)
    assert len(running) == len(ran) == 1
    assert len(set(map(id, beats))) == 1
    second, _ = rig.worker("c")
    await until(lambda: rig.owned(second))

    first.stop()
    await ended
    await until(lambda: running and rig.owned(second) == KEYS)

    assert len(running) == 1
    there = await Bucket(connection, LEASES).all("job.")
    assert json.loads(there[job_key("quote", "poll")].data)["worker"] == "c"


async def test_a_job_is_taken_over_when_its_lease_is_lost(rig, connection):
    cancelled, ran = [], []

    @rig.extension.task(scope="cluster")
    async def poll(context):
        ran.append(context.app)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(context.app)
            raise

    rig.worker("a")
    await until(lambda: ran)

    await Bucket(connection, LEASES).put(job_key("quote", "poll"), json.dumps({"worker": "thief"}).encode())
    await until(lambda: cancelled)
    await until(lambda: len(ran) == 2)  # the thief's lease has run out


async def test_a_job_that_returns_is_not_run_by_others(rig):
    ran = []

    @rig.extension.task(scope="cluster")
    async def once(context):
        ran.append(context.app)

    worker, _ = rig.worker("a")
    await until(lambda: rig.owned(worker) == KEYS and ran)
    seen = worker.leases.seen
    await until(lambda: job_key("quote", "once") in seen.fields)

    assert len(ran) == 1
