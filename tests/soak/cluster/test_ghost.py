"""What plays former owners counts refusals, and finds what is not refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.msg import Msg
from tests.soak.cluster.ghost import Ghosts
from tests.support.broker import Broker

from oddwire import NodeId, PrivateKey
from oddwire.transports.nats.address import BrokerAddress
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.packing import Accepted
from oddwire.transports.nats.subjects import LEASES, log_stream, log_subject, node_key, out_subject, partition_key

NODE = NodeId(PrivateKey(b"\5" * 32).public_key())


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[BrokerConnection]:
    with Broker(tmp_path / "nats") as broker:
        connection = await BrokerConnection.open(broker.address)
        await Bucket(connection, LEASES, max_age=10.0).create_bucket()
        stream = {"name": log_stream(NODE), "subjects": [log_subject(NODE, "*")]}
        await connection.api(f"STREAM.CREATE.{log_stream(NODE)}", stream)
        yield connection
        await connection.aclose()


async def two_owners(connection: BrokerConnection, *, fenced: bool) -> Ghosts:
    """Let a partition have an owner, and then another one, which has or has not put a record into the log."""
    bucket, ghosts = Bucket(connection, LEASES, max_age=10.0), Ghosts(BrokerAddress(url="nats://127.0.0.1:1"), NODE)
    await bucket.put(node_key(NODE), json.dumps({"run": 3}).encode())
    term = (await connection.append(log_subject(NODE, 5), b"fence")).sequence
    await bucket.put(partition_key(NODE, 5), json.dumps({"term": term}).encode())
    await ghosts.round(connection, bucket)
    assert not ghosts.counts
    if fenced:
        term = (await connection.append(log_subject(NODE, 5), b"fence")).sequence
    else:
        term += 1
    await bucket.put(partition_key(NODE, 5), json.dumps({"term": term}).encode())
    await ghosts.round(connection, bucket)
    return ghosts


async def gateway(connection: BrokerConnection, status: str) -> None:
    async def answer(message: Msg) -> None:
        await connection.publish(message.reply, Accepted(status=status).pack())

    await connection.client.subscribe(out_subject(NODE), cb=answer)


async def test_refusals_are_counted(connection: BrokerConnection) -> None:
    await gateway(connection, "stale")
    ghosts = await two_owners(connection, fenced=True)
    assert ghosts.counts == {"commits refused": 1, "sends refused: stale": 1}
    assert ghosts.faults == []


async def test_a_commit_and_a_send_that_are_taken_are_faults(connection: BrokerConnection) -> None:
    await gateway(connection, "")
    ghosts = await two_owners(connection, fenced=False)
    assert ghosts.counts == {}
    assert [fault.partition(" of the former term")[0] for fault in ghosts.faults] == ["a commit", "a send"]
