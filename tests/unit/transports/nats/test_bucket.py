"""Buckets at a real nats-server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.broker import Broker
from tests.support.waiting import until, until_answered

from oddwire.transports.nats.bucket import Bucket, Value
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerDenied, BrokerRefused, BrokerUnavailable, UnexpectedSequence


async def test_compare_and_set(connection: BrokerConnection) -> None:
    bucket = Bucket(connection, "SETS")
    await bucket.create_bucket()
    await bucket.create_bucket()
    assert await bucket.get("a.b") is None
    first = await bucket.create("a.b", b"1")
    with pytest.raises(UnexpectedSequence):
        await bucket.create("a.b", b"2")
    second = await bucket.update("a.b", b"2", first)
    with pytest.raises(UnexpectedSequence):
        await bucket.update("a.b", b"3", first)
    assert await bucket.get("a.b") == Value(b"2", second)
    with pytest.raises(UnexpectedSequence):
        await bucket.delete("a.b", first)
    await bucket.delete("a.b", second)
    assert await bucket.get("a.b") is None
    third = await bucket.create("a.b", b"4")
    fourth = await bucket.put("a.c", b"5")
    await bucket.put("c.d", b"6")
    await bucket.delete("c.d")
    assert await bucket.all() == {"a.b": Value(b"4", third), "a.c": Value(b"5", fourth)}
    assert await bucket.all("c.") == {}


async def test_values_that_expire(connection: BrokerConnection) -> None:
    bucket = Bucket(connection, "SHORT", max_age=1.0)
    await bucket.create_bucket()
    with pytest.raises(BrokerRefused, match="time to live of 1 s, and should have 10 s"):
        await Bucket(connection, "SHORT", max_age=10.0).create_bucket()
    await bucket.create("a", b"1")

    async def is_gone() -> bool:
        return await bucket.get("a") is None

    await until_answered(is_gone)
    assert await bucket.all() == {}
    await bucket.create("a", b"2")


async def test_the_first_revision_of_one_that_is_made(connection: BrokerConnection) -> None:
    bucket = Bucket(connection, "LATER")
    await bucket.create_bucket(first=1000)
    await bucket.create_bucket(first=2000)
    assert await bucket.create("a", b"1") == 1000


async def test_more_replicas_of_one_that_is_there_are_asked_for(connection: BrokerConnection) -> None:
    bucket = Bucket(connection, "ONCE")
    await bucket.create_bucket()
    await bucket.create_bucket(replicas=1)
    refused = ""
    try:
        await bucket.create_bucket(replicas=3)
    except BrokerRefused as error:  # as the broker is one server alone, which those of 2.11 let pass
        refused = error.reason
    found = (await connection.api("STREAM.INFO.KV_ONCE"))["config"]["num_replicas"]
    assert found == 3 or refused.startswith("STREAM.UPDATE.KV_ONCE: replicas > 1 not supported")


@pytest.mark.parametrize(
    "headers", [{"Status": "503"}, {"Status": "204"}, {"Nats-Sequence": "x"}, {"Nats-Subject": "x"}]
)
async def test_a_value_with_the_headers_of_an_answer_is_a_value(
    connection: BrokerConnection, headers: dict[str, str]
) -> None:
    bucket = Bucket(connection, f"HEADERS_{''.join(headers.values())}_{len(''.join(headers))}")
    await bucket.create_bucket()
    first = (await connection.append(f"$KV.{bucket.name}.a", b"1", headers=headers)).sequence
    second = await bucket.put("b", b"2")
    assert await bucket.all() == {"a": Value(b"1", first), "b": Value(b"2", second)}


async def test_more_keys_than_the_broker_answers_for_at_once(connection: BrokerConnection) -> None:
    bucket = Bucket(connection, "MANY")
    await bucket.create_bucket()
    for number in range(1499):
        await connection.publish(f"$KV.MANY.part.{number}", b"%d" % number)
    await bucket.put("node.1", b"n")
    await bucket.put("part.gone", b"")
    await bucket.delete("part.gone")
    found = await bucket.all()
    assert {key: value.data for key, value in found.items()} == {
        **{f"part.{number}": b"%d" % number for number in range(1499)},
        "node.1": b"n",
    }
    assert found["part.7"] == await bucket.get("part.7")
    assert {*await bucket.all("part.")} == {*found} - {"node.1"}
    assert {*await bucket.all("node.")} == {"node.1"}


async def reading(bucket: Bucket, connection: BrokerConnection) -> asyncio.Task[dict[str, Value]]:
    """Begin to read a bucket of a broker that does not answer."""
    task = asyncio.create_task(bucket.all())
    await until(lambda: connection.on_denied)
    return task


async def test_a_connection_that_is_lost_while_a_bucket_is_read(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        connection = await BrokerConnection.open(broker.address)
        bucket = Bucket(connection, "LOST")
        await bucket.create_bucket()
        broker.freeze()
        task = await reading(bucket, connection)
        broker.kill()
        with pytest.raises(BrokerUnavailable, match="connection to the broker was lost"):
            await task
        assert not connection.on_denied
        assert not connection.on_lost
        await connection.aclose()


async def test_a_login_that_may_not_read_a_bucket_is_told_at_once(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        connection = await BrokerConnection.open(broker.address)
        bucket = Bucket(connection, "DENIED")
        await bucket.create_bucket()
        broker.freeze()
        task = await reading(bucket, connection)
        (denied,) = connection.on_denied
        error = BrokerDenied("this login may not")
        assert not denied("$js.api.direct.get.kv_other", error)  # somebody else's
        assert denied("$js.api.direct.get.kv_denied", error)
        with pytest.raises(BrokerDenied):
            await task
        broker.thaw()
        await connection.aclose()


async def test_no_such_bucket(connection: BrokerConnection) -> None:
    with pytest.raises((BrokerRefused, BrokerUnavailable)):
        await Bucket(connection, "NONE").get("a")
    with pytest.raises(BrokerUnavailable):
        await Bucket(connection, "NONE").put("a", b"")
    with pytest.raises(BrokerUnavailable, match="bucket NONE is not there"):
        await Bucket(connection, "NONE").all()
