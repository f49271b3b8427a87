from __future__ import annotations

import json

import pytest
from tests.support.lease_buckets import lease_buckets

from oddwire.cluster.overview import read_overview
from oddwire.proto.keys import NodeId, PrivateKey
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.subjects import LEASES, META, in_stream, in_subject, job_key, node_key, partition_key

NODE = NodeId(PrivateKey(b"\x01" * 32).public_key())
OTHER = NodeId(PrivateKey(b"\x02" * 32).public_key())


@pytest.fixture
async def connection(connection):
    async with lease_buckets(connection) as opened:
        yield opened


async def put(connection, bucket, key, **fields):
    await Bucket(connection, bucket).put(key, json.dumps(fields).encode())


async def test_a_cluster_as_its_broker_shows_it(connection):
    await put(connection, META, node_key(NODE), partitions=3)
    await put(connection, LEASES, node_key(NODE), host="east", pid=7, run=1, peers=2)
    versions = {"oddwire": "1", "quote": "2"}
    await put(
        connection, LEASES, "worker.a", id="a", host="h", pid=8, state="running", partitions={"x": 4}, versions=versions
    )
    await put(connection, LEASES, partition_key(NODE, 0), worker="a", term=4, state="owned", since=100.5)
    former = {"worker": "b", "ran_out": True}
    await put(connection, LEASES, partition_key(NODE, 2), worker="a", term=5, state="owned", since=90, former=former)
    await put(connection, LEASES, job_key("quote", "poll"), worker="a")
    await connection.api(
        f"STREAM.CREATE.{in_stream(NODE)}", {"name": in_stream(NODE), "subjects": [in_subject(NODE, "*")]}
    )
    try:
        for _ in range(3):
            await connection.append(in_subject(NODE, 1), b"x")
        overview = await read_overview(connection)
    finally:
        await connection.api(f"STREAM.DELETE.{in_stream(NODE)}")

    [worker] = overview.workers
    assert (worker.id, worker.host, worker.pid, worker.partitions, worker.versions) == ("a", "h", 8, 1, versions)
    [node] = overview.nodes
    assert [(each.worker, each.term, each.state, each.waiting) for each in node.partitions] == [
        ("a", 4, "owned", 0),
        (None, 0, "free", 3),
        ("a", 5, "owned", 0),
    ]
    assert overview.unowned == 1
    assert overview.jobs == {"quote.poll": "a"}
    assert overview.fail_over is not None
    assert (overview.fail_over.partition, overview.fail_over.former, overview.fail_over.at) == (2, "b", 90.0)
    assert json.loads(json.dumps(overview.to_values()))["nodes"][0]["gateway"]["host"] == "east"


async def test_what_others_have_written_badly_is_shown_as_far_as_it_can_be(connection):
    await put(connection, META, node_key(NODE), partitions=2)
    await put(connection, META, node_key(OTHER), partitions="many")
    await put(connection, META, "node.xyz", partitions=1)
    await put(connection, LEASES, partition_key(NODE, 1), worker="a", since=10**400)
    await put(connection, LEASES, partition_key(OTHER, 1), worker="a", since=float("inf"), former={"ran_out": True})
    stream = {"name": in_stream(NODE), "subjects": [in_subject(NODE, "*")]}
    await connection.api(f"STREAM.CREATE.{in_stream(NODE)}", stream)
    await connection.append(in_subject(NODE, "x"), b"x")
    await put(connection, LEASES, "worker.a", id=3, partitions=[], versions=[], failing="x", pid="7")
    await put(connection, LEASES, partition_key(NODE, 0), worker=None, former=3, since="x")
    await put(connection, LEASES, "part.nonsense", former={"ran_out": True})

    try:
        overview = await read_overview(connection)
    finally:
        await connection.api(f"STREAM.DELETE.{in_stream(NODE)}")

    [worker] = overview.workers
    assert (worker.id, worker.pid, worker.partitions, worker.failing) == ("", 0, 0, 0)
    partitions = {node.node: [(each.since, each.waiting) for each in node.partitions] for node in overview.nodes}
    assert partitions == {str(NODE): [(0.0, 0), (0.0, 0)], str(OTHER): []}
    assert overview.fail_over is not None
    assert overview.fail_over.at == 0.0
    json.dumps(overview.to_values(), allow_nan=False)
