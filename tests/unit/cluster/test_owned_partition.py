from __future__ import annotations

import json

import pytest
from tests.support.lease_buckets import PATIENT, lease_buckets
from tests.support.waiting import until
from tests.support.worker_rig import KEYS, worker_rig

from oddwire.errors import StoreError, TransportError
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.subjects import LEASES


@pytest.fixture
async def connection(connection):
    async with lease_buckets(connection, PATIENT) as opened:
        yield opened


@pytest.fixture
async def rig(connection):
    async with worker_rig(connection, PATIENT) as made:
        yield made


async def test_a_lost_lease_cuts_the_program_off(rig, connection):
    worker, _ = rig.worker("a")
    await until(lambda: rig.owned(worker) == KEYS)
    app, stopped = rig.apps[1], []
    transport = app.transport
    app.cut_off, cut_off = (lambda: stopped.append(1) or cut_off()), app.cut_off

    await Bucket(connection, LEASES).put(KEYS[1], json.dumps({"worker": "thief", "token": "y"}).encode())
    await until(lambda: ("a", "lost", 1, "it is thief's") in rig.events)
    await until(lambda: KEYS[1] not in worker._tasks)

    assert stopped
    assert rig.stores[1].closed
    assert rig.stores[1].lost_by == transport.lost_by
    assert transport.lost_by == "the partition is lost: it is thief's"
    assert rig.owned(worker) == [KEYS[0], KEYS[2], KEYS[3]]


async def test_a_store_that_is_fenced_cuts_the_program_off_and_it_is_taken_anew(rig):
    worker, _ = rig.worker("a")
    await until(lambda: rig.owned(worker) == KEYS)
    store, app = rig.stores[2], rig.apps[2]

    for call in store.on_fenced:
        call(StoreError("the log has another owner", path="x", reason="fenced"))

    await until(lambda: rig.apps[2] is not app and rig.owned(worker) == KEYS)
    assert ("a", "lost", 2, "the log has another owner") in rig.events
    assert store.closed


async def test_a_take_that_fails_is_told_and_tried_again(rig):
    rig.fences.wrong[2] = TransportError("no log")
    worker, _ = rig.worker("a")

    await until(lambda: len([each for each in rig.events if each[1:3] == ("failed", 2)]) >= 2)
    assert "no log; tried again in" in next(reason for *_, partition, reason in rig.events if partition == 2)
    assert KEYS[2] in worker._record()["failing"]

    del rig.fences.wrong[2]
    await until(lambda: rig.owned(worker) == KEYS)


async def test_a_program_that_ends_by_itself_is_started_anew(rig):
    worker, _ = rig.worker("a")
    await until(lambda: rig.owned(worker) == KEYS)
    term = rig.fences.terms[3]

    rig.apps[3].stop()
    await until(lambda: rig.fences.terms[3] > term and rig.owned(worker) == KEYS)

    assert ("a", "failed", 3, "its program has ended: an extension stopped it") in rig.events


async def test_a_gateway_that_begins_anew_is_followed(rig):
    worker, _ = rig.worker("a")
    await until(lambda: rig.owned(worker) == KEYS)
    for transport in rig.transports:
        transport.run = 6  # and the gateway's lease says 7

    await until(lambda: all(transport.lost_by == "the gateway began a new run" for transport in rig.transports[:4]))
