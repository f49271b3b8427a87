"""The lease of a node: taken, kept, lost, and never held twice."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.support.broker import Broker
from tests.support.gateway_rig import new_key
from tests.support.waiting import until

from oddwire.cluster.gateway.node_lease import NodeLease
from oddwire.cluster.lease_times import LeaseTimes
from oddwire.errors import TransportError
from oddwire.proto.keys import NodeId
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.subjects import node_key

SHORT = LeaseTimes(ttl=1.0, renew=0.05, margin=0.3, watchdog=0.3)


@pytest.fixture
async def bucket(connection: BrokerConnection) -> Bucket:
    made = Bucket(connection, "SHORT", max_age=1.0)
    await made.create_bucket()
    return made


@pytest.fixture
def node() -> NodeId:
    return NodeId(new_key().public_key())


def lease_of(bucket: Bucket, node: NodeId, **options: object) -> NodeLease:
    return NodeLease(bucket, node, lambda: {"peers": 3}, times=SHORT, **options)  # type: ignore[arg-type]


async def test_it_says_who_has_it_and_in_which_run(bucket: Bucket, node: NodeId) -> None:
    lease = lease_of(bucket, node)
    assert not lease.is_held
    run = await lease.take()
    found = await bucket.get(node_key(node))
    assert found is not None
    values = json.loads(found.data)
    assert (values["run"], values["peers"]) == (run, 3)
    assert lease.is_held
    await lease.release()
    assert not lease.is_held
    assert await bucket.get(node_key(node)) is None


async def test_runs_rise(bucket: Bucket, node: NodeId) -> None:
    lease = lease_of(bucket, node)
    first = await lease.take()
    await lease.release()
    assert await lease.take() > first
    await lease.release()


async def test_one_that_is_renewed_is_not_had(bucket: Bucket, node: NodeId) -> None:
    lease, other = lease_of(bucket, node), lease_of(bucket, node)
    await lease.take()
    keeping = asyncio.create_task(lease.keep())
    with pytest.raises(TransportError, match="has a gateway already"):
        await other.take()
    keeping.cancel()
    await lease.release()


async def test_one_that_is_left_is_waited_for(bucket: Bucket, node: NodeId) -> None:
    lease, other = lease_of(bucket, node), lease_of(bucket, node)
    first = await lease.take()
    assert await other.take() > first
    await lease.keep()
    assert not lease.is_held
    assert other.is_held
    await other.release()


async def test_who_waits_for_it_has_it_when_it_is_free(bucket: Bucket, node: NodeId) -> None:
    lease, other = lease_of(bucket, node), lease_of(bucket, node)
    await lease.take()
    keeping, waiting = asyncio.create_task(lease.keep()), asyncio.create_task(other.take(wait=True))
    found = await bucket.get(node_key(node))
    assert found is not None

    async def renewed() -> None:
        while (now := await bucket.get(node_key(node))) is not None and now.revision == found.revision:
            await asyncio.sleep(0.01)

    await renewed()
    assert not waiting.done()
    keeping.cancel()
    await lease.release()
    assert await waiting
    await other.release()


async def test_a_place_that_cannot_have_two_is_taken_over_at_once(bucket: Bucket, node: NodeId) -> None:
    lease, other = lease_of(bucket, node, place="here"), lease_of(bucket, node, place="here")
    first = await lease.take()
    assert await other.take() > first
    third = lease_of(bucket, node, place="there")
    waiting = asyncio.create_task(third.take(wait=True))
    await other.release()
    assert await waiting
    await third.release()


async def test_a_renewal_whose_answer_was_lost_is_ours(bucket: Bucket, node: NodeId) -> None:
    lease = lease_of(bucket, node)
    await lease.take()
    found = await bucket.get(node_key(node))
    assert found is not None
    await bucket.update(node_key(node), found.data, found.revision)  # as ours would be
    keeping = asyncio.create_task(lease.keep())
    before = found.revision + 1

    async def later() -> bool:
        now = await bucket.get(node_key(node))
        return now is not None and now.revision > before

    while not await later():
        await asyncio.sleep(0.01)
    assert lease.is_held
    keeping.cancel()
    await lease.release()


async def test_it_is_given_up_though_the_last_renewal_had_no_answer(bucket: Bucket, node: NodeId) -> None:
    lease = lease_of(bucket, node)
    await lease.take()
    found = await bucket.get(node_key(node))
    assert found is not None
    await bucket.update(node_key(node), found.data, found.revision)
    await lease.release()
    assert await bucket.get(node_key(node)) is None


async def test_without_a_broker_it_runs_out(tmp_path, node: NodeId) -> None:
    with Broker(tmp_path) as broker:
        connection = await BrokerConnection.open(broker.address)
        bucket = Bucket(connection, "SHORT", max_age=1.0)
        await bucket.create_bucket()
        lease = lease_of(bucket, node)
        await lease.take()
        broker.freeze()
        assert (await lease.keep()).startswith("its lease has run out")
        await until(lambda: not lease.is_held)
        broker.thaw()
        await connection.aclose()
