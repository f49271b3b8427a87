from __future__ import annotations

import asyncio
import json

import pytest
from tests.support.lease_buckets import QUICK, lease_buckets
from tests.support.waiting import until
from tests.support.worker_rig import KEYS, NODE, Rig, worker_rig

from oddwire.cluster.rendezvous import best
from oddwire.cluster.watchdog import Watchdog
from oddwire.cluster.worker import Worker, worker_name
from oddwire.errors import TransportError
from oddwire.proto.keys import NodeId, PrivateKey
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.subjects import LEASES, META, node_key, worker_key


@pytest.fixture
async def connection(connection):
    async with lease_buckets(connection) as opened:
        yield opened


@pytest.fixture
async def rig(connection):
    async with worker_rig(connection) as made:
        yield made


async def test_a_lone_worker_takes_all_partitions_and_gives_them_back_at_its_end(rig, connection):
    started, ended = [], []

    @rig.extension.on_startup
    async def start(context):
        started.append(context)

    @rig.extension.on_shutdown
    async def end(context):
        ended.append(context)

    worker, running = rig.worker("a")

    await until(lambda: rig.owned(worker) == KEYS)
    assert sorted(rig.fences.taken) == [0, 1, 2, 3]
    assert len(started) == 4  # startup hooks run once for each partition
    there = await Bucket(connection, LEASES).all()
    assert {json.loads(there[key].data)["worker"] for key in KEYS} == {"a"}

    worker.stop()
    await running

    assert len(ended) == 4
    assert (await Bucket(connection, LEASES).all()).keys() == {node_key(NODE)}
    assert {what for _, what, *_ in rig.events} == {"taken", "given"}


async def test_two_workers_share_and_one_that_comes_later_gets_what_is_its(rig):
    first, _ = rig.worker("a")
    await until(lambda: rig.owned(first) == KEYS)
    second, _ = rig.worker("c")
    shares = {name: [key for key in KEYS if best(key, ["a", "c"]) == name] for name in ("a", "c")}

    await until(lambda: rig.owned(first) == shares["a"] and rig.owned(second) == shares["c"])

    assert ("a", "given", "worker c should have it") in {(name, what, reason) for name, what, _, reason in rig.events}


async def test_what_a_worker_gives_up_at_its_end_the_other_takes(rig):
    first, running = rig.worker("a")
    second, _ = rig.worker("c")
    await until(lambda: sorted(rig.owned(first) + rig.owned(second)) == KEYS)
    await until(lambda: second.leases.seen.fields.keys() >= set(KEYS))

    first.stop()
    await running
    await until(lambda: rig.owned(second) == KEYS)

    reasons = {reason for name, what, _, reason in rig.events if (name, what) == ("c", "taken")}
    assert any("after a, whose lease was given back" in reason for reason in reasons)


async def test_a_worker_that_is_gone_without_a_word_is_followed_when_its_leases_have_run_out(rig, connection):
    dead = {"id": "dead", "worker": "dead", "state": "running", "token": "x"}
    leases = Bucket(connection, LEASES)
    for key in (worker_key("dead"), *KEYS):
        await leases.put(key, json.dumps(dead).encode())
    worker, _ = rig.worker("a")

    await until(lambda: rig.owned(worker) == KEYS)

    assert all("after dead, whose lease ran out" in reason for _, what, _, reason in rig.events if what == "taken")


async def test_a_worker_that_is_started_again_in_its_place_has_at_once_what_it_had(rig, connection):
    leases = Bucket(connection, LEASES)
    dead = {"id": "a", "worker": "a", "state": "running", "token": "x", "place": "here"}
    for key in (worker_key("a"), *KEYS):
        await leases.put(key, json.dumps(dead).encode())
    other, _ = rig.worker("c")
    await until(lambda: other.leases.seen.fields.keys() >= set(KEYS))
    mine = [key for key in KEYS if best(key, ["a", "c"]) == "a"]

    worker, _ = rig.worker("a", place="here")
    await until(lambda: rig.owned(worker) == mine and sorted(rig.owned(other) + mine) == KEYS)

    assert len(rig.fences.taken) == 4  # and none of them twice


async def test_what_one_worker_cannot_take_another_does(rig):
    first, _ = rig.worker("a")
    mine = next(number for number in range(4) if best(KEYS[number], ["a", "c"]) == "a")
    rig.fences.wrong[mine] = TransportError("no log")
    await until(lambda: ("a", "failed") in {each[:2] for each in rig.events})
    others = Rig(rig.connection)
    second, running = others.worker("c")
    try:
        await until(lambda: KEYS[mine] in others.owned(second))
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert first.ownership.standing(KEYS[mine]).name in ("APART", "TAKING")


async def test_without_a_gateway_nothing_is_taken(connection, rig):
    rig.tasks[0].cancel()
    await until(lambda: rig.tasks[0].done())
    await Bucket(connection, LEASES).delete(node_key(NODE))
    worker, _ = rig.worker("a")
    await until(lambda: worker._partitions and worker.leases.seen.fields)
    await until(lambda: worker_key("a") in worker.leases.seen.fields)

    assert worker.ownership.next_time(1e9) is None
    assert rig.fences.taken == []


async def test_only_the_nodes_that_it_is_for(rig):
    other = NodeId(PrivateKey(b"\x02" * 32).public_key())
    worker, _ = rig.worker("a", nodes=[other])
    second, _ = rig.worker("c")

    await until(lambda: rig.owned(second) == KEYS)  # though some are a's, if it were for it

    assert rig.owned(worker) == []
    assert worker._record()["nodes"] == [str(other)]


async def test_what_others_have_written_badly_stops_nobody(rig, connection):
    leases = Bucket(connection, LEASES)
    bad = {"id": "x", "state": "running", "failing": [[1], {}], "nodes": [{}], "worker": [], "partitions": 3}
    await leases.put(worker_key("x"), json.dumps(bad).encode())
    await leases.put(KEYS[0], json.dumps({**bad, "former": [], "since": "now"}).encode())
    await leases.put("part.nonsense", b"[" * 100_000)
    other = NodeId(PrivateKey(bytes([9]) * 32).public_key())
    await Bucket(connection, META).put("node.xyz", b"{}")
    await Bucket(connection, META).put(node_key(other), b'{"partitions": 1e999}')
    worker, _ = rig.worker("a")

    await until(lambda: rig.owned(worker) == KEYS)  # the first of them once its lease has run out


async def test_a_name_in_use_is_refused_after_a_while(rig, connection, caplog):
    _, running = rig.worker("a")
    keep = Bucket(connection, LEASES)
    await until(lambda: running)
    second = Worker(connection, rig.parts(), name="a", times=QUICK, watchdog=Watchdog(lambda _: None))
    await keep.put(worker_key("a"), b'{"id": "a", "token": "z"}')

    async def hold():
        while True:
            await keep.put(worker_key("a"), b'{"id": "a", "token": "z"}')
            await asyncio.sleep(QUICK.renew)

    holding = asyncio.create_task(hold())
    try:
        with pytest.raises(TransportError, match="there is a worker called 'a' already: give this one another --id"):
            await second.run()
    finally:
        holding.cancel()
    assert "there is a worker called 'a': waiting whether it is alive" in caplog.messages


def test_a_workers_name_is_a_key_and_its_alone():
    name = worker_name()

    assert name != worker_name()
    assert "." not in name
    assert name.replace("-", "").isalnum()
