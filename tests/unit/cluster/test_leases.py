from __future__ import annotations

import asyncio
import json

import pytest
from tests.support.lease_buckets import QUICK, lease_buckets
from tests.support.waiting import until

from oddwire.cluster.lease_values import parsed
from oddwire.cluster.leases import Leases
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.subjects import LEASES


@pytest.fixture
async def connection(connection):
    async with lease_buckets(connection) as opened:
        yield opened


@pytest.fixture
async def make(connection):
    made = []

    async def open_leases(**more):
        leases = Leases(connection, Bucket(connection, LEASES, max_age=QUICK.ttl), times=QUICK, **more)
        made.append(leases)
        await leases.open()
        return leases

    yield open_leases
    for leases in made:
        await leases.aclose()


async def test_a_lease_is_one_holders_and_says_what_its_holder_says(make, connection):
    first, second = await make(), await make()

    lease = await first.take("part.x.1", lambda: {"worker": "a"})

    assert lease.holds
    assert await second.take("part.x.1", lambda: {"worker": "b"}) is None
    await until(lambda: second.seen.fields.get("part.x.1", {}).get("worker") == "a")


async def test_a_lease_is_renewed_and_outlives_its_time(make, connection):
    leases, bucket = await make(), Bucket(connection, LEASES)
    number = iter(range(1000))
    lease = await leases.take("x", lambda: {"number": next(number)})
    first = lease.revision

    renewals = round(QUICK.ttl / QUICK.renew) + 1
    await until(lambda: lease.clock.deadline > QUICK.ttl and lease.revision > first + renewals)

    assert lease.holds
    assert (await bucket.get("x")).revision == lease.revision


async def test_what_is_given_back_can_be_taken_at_once_and_who_waits_is_told(make):
    first, second = await make(), await make()
    lease = await first.take("x", dict)
    await until(lambda: "x" in second.seen.fields)
    waiting = asyncio.create_task(second.until_free("x"))

    await first.release(lease)
    await waiting

    assert second.seen.gone["x"][1]  # it was removed, and has not run out
    taken = await second.take("x", dict)
    assert taken.holds
    assert not lease.holds
    assert not lease.lost.done()


async def test_a_lease_that_is_not_renewed_runs_out_for_others(make, connection):
    leases = await make()
    await Bucket(connection, LEASES).put("x", json.dumps({"worker": "dead"}).encode())
    await until(lambda: "x" in leases.seen.fields)
    assert await leases.take("x", dict) is None

    await leases.until_free("x")

    assert leases.seen.gone["x"] == ({"worker": "dead"}, False)
    await until_taken(leases, "x")


async def until_taken(leases, key):
    while await leases.take(key, dict) is None:  # the broker's own clock, some milliseconds later
        await asyncio.sleep(0.01)


async def test_a_lease_that_is_anothers_now_is_lost(make, connection):
    leases, bucket = await make(), Bucket(connection, LEASES)
    lease = await leases.take("x", dict)

    await bucket.put("x", json.dumps({"worker": "thief", "token": "other"}).encode())

    assert await lease.lost == "it is thief's"
    assert not lease.holds
    await leases.release(lease)
    assert parsed((await bucket.get("x")).data)["worker"] == "thief"  # not removed by us


async def test_a_lease_that_has_run_out_at_the_broker_is_lost(make, connection):
    leases, bucket = await make(), Bucket(connection, LEASES)
    lease = await leases.take("x", dict)

    await bucket.delete("x")

    assert await lease.lost == "it has run out"


async def test_a_renewal_whose_answer_was_lost_is_recognised(make, connection):
    leases, bucket = await make(), Bucket(connection, LEASES)
    lease = await leases.take("x", lambda: {"worker": "a"})
    stored = await bucket.put("x", json.dumps({"worker": "a", "token": leases.token}).encode())

    await until(lambda: lease.revision > stored)

    assert lease.holds


async def test_a_lease_whose_taking_had_no_answer_is_taken_all_the_same(make, connection):
    leases, other, bucket = await make(), await make(), Bucket(connection, LEASES)
    await bucket.put("x", json.dumps({"worker": "a", "token": leases.token}).encode())

    assert await other.take("x", dict) is None
    lease = await leases.take("x", dict)
    assert lease.holds
    assert lease.revision == (await bucket.get("x")).revision
    assert await leases.take("x", dict) is None  # it is held


async def test_giving_back_works_though_the_last_renewal_had_no_answer(make, connection):
    leases, bucket = await make(), Bucket(connection, LEASES)
    lease = await leases.take("x", lambda: {"worker": "a"})
    await bucket.put("x", json.dumps({"worker": "a", "token": leases.token}).encode())

    await leases.release(lease)

    assert await bucket.get("x") is None


async def test_without_a_broker_a_lease_is_lost_at_its_deadline_and_nothing_seen_is_fresh(make, broker):
    leases = await make()
    lease = await leases.take("x", dict)
    broker.freeze()
    try:
        assert await lease.lost == "it was not renewed in time"
        assert not leases.is_fresh
    finally:
        broker.thaw()

    await until(lambda: leases.is_fresh)


async def test_what_a_process_has_left_in_its_place_is_removed_by_the_next_one_there(make, connection):
    dead = await make(place="here")
    other = await make(place="there")
    mine, others = await dead.take("x", dict), await other.take("y", dict)
    for task in dead._tasks:
        task.cancel()
    leases = await make(place="here")

    await leases.bury()

    assert (await Bucket(connection, LEASES).all()).keys() == {"y"}
    taken = await leases.take("x", dict)
    await leases.bury()
    assert taken.holds
    assert others.holds
    mine.released = True


async def test_who_is_in_no_place_removes_nothing(make, connection):
    first, second = await make(), await make()
    await first.take("x", dict)

    await second.bury()

    assert (await Bucket(connection, LEASES).all()).keys() == {"x"}


async def test_the_end_gives_back_everything(connection, make):
    leases, bucket = await make(), Bucket(connection, LEASES)
    for key in ("x", "y"):
        await leases.take(key, dict)

    await leases.aclose()
    await leases.aclose()

    assert await bucket.all() == {}
