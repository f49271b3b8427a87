"""The connection to the broker, against a real nats-server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.broker import Broker
from tests.support.broker_users import GuardedBroker
from tests.support.ports import free_port
from tests.support.waiting import until

from oddwire.transports.nats.address import BrokerAddress
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.connection import BrokerConnection, Stored
from oddwire.transports.nats.errors import BrokerRefused, BrokerUnavailable, StreamFull, UnexpectedSequence


async def make_stream(connection: BrokerConnection, name: str, **settings: object) -> str:
    body = {"name": name, "subjects": [f"{name}.>"], "storage": "file", "allow_rollup_hdrs": True, **settings}
    await connection.api(f"STREAM.CREATE.{name}", body)
    return f"{name}.a"


async def test_what_is_appended_is_the_last_of_its_subject(connection: BrokerConnection) -> None:
    subject = await make_stream(connection, "one")
    assert await connection.last_of("one", subject) is None
    assert await connection.append(subject, b"first") == Stored(1, duplicate=False)
    await connection.append("one.b", b"other")
    await connection.append(subject, b"third", headers={"Some": "thing"})
    found = await connection.last_of("one", subject)
    assert found is not None
    assert (found.sequence, found.data, dict(found.headers)) == (3, b"third", {"Some": "thing"})
    found = await connection.next_of("one", subject, 1)
    assert found is not None
    assert found.data == b"first"
    found = await connection.next_of("one", subject, 2)
    assert found is not None
    assert found.sequence == 3
    assert await connection.next_of("one", subject, 4) is None


async def test_a_message_id_is_stored_once(connection: BrokerConnection) -> None:
    subject = await make_stream(connection, "twice")
    assert await connection.append(subject, b"it", message_id="1.2.3") == Stored(1, duplicate=False)
    assert await connection.append(subject, b"it", message_id="1.2.3") == Stored(1, duplicate=True)


async def test_who_expects_another_last_message_is_refused(connection: BrokerConnection) -> None:
    subject = await make_stream(connection, "fence")
    await connection.append(subject, b"", expected_last=0)
    with pytest.raises(UnexpectedSequence, match="wrong last sequence: 1"):
        await connection.append(subject, b"", expected_last=0)
    await connection.append("fence.other", b"", expected_last=0)
    assert (await connection.append(subject, b"", expected_last=1, rollup=True)).sequence == 3
    found = await connection.next_of("fence", subject, 0)
    assert found is not None
    assert found.sequence == 3, "the rollup deleted the one before"


async def test_a_full_stream_says_so(connection: BrokerConnection) -> None:
    subject = await make_stream(connection, "full", max_msgs=1, discard="new")
    await connection.append(subject, b"")
    with pytest.raises(StreamFull, match="maximum messages exceeded"):
        await connection.append(subject, b"")


async def test_answers_of_nobody_and_none_in_time(connection: BrokerConnection) -> None:
    with pytest.raises(BrokerUnavailable, match=r"nobody answers at ow\.nobody"):
        await connection.request("ow.nobody", b"")
    with pytest.raises(BrokerUnavailable, match=r"nobody answers at none\.a"):
        await connection.append("none.a", b"")
    deaf = await connection.client.subscribe("ow.deaf")
    with pytest.raises(BrokerUnavailable, match=r"no answer at ow\.deaf within 0\.05 s"):
        await connection.request("ow.deaf", b"", time_limit=0.05)
    await connection.end(deaf)


async def test_too_long_for_the_broker(connection: BrokerConnection) -> None:
    with pytest.raises(BrokerRefused, match="max_payload, 8388608"):
        await connection.request("ow.nobody", bytes(8 * 1024 * 1024 + 1))


async def test_a_request_fails_with_the_connection_and_later_ones_succeed(tmp_path: Path) -> None:
    seen: list[str] = []
    with Broker(tmp_path / "broker") as broker:
        connection = await BrokerConnection.open(broker.address)
        connection.on_lost.append(lambda: seen.append("lost"))
        connection.on_back.append(lambda: seen.append("back"))
        subject = await make_stream(connection, "kept")
        await connection.append(subject, b"before")
        await connection.client.subscribe("ow.deaf")
        asking = asyncio.create_task(connection.request("ow.deaf", b"", time_limit=600))
        await asyncio.sleep(0)
        broker.kill()
        with pytest.raises(BrokerUnavailable, match="the connection to the broker was lost"):
            await asking
        with pytest.raises(BrokerUnavailable, match="no connection to the broker"):
            await connection.append(subject, b"meanwhile")
        broker.start()
        await until(lambda: seen == ["lost", "back"])
        assert await connection.append(subject, b"after") == Stored(2, duplicate=False)
        await connection.aclose()
        await connection.aclose()


async def test_a_broker_that_is_not_there() -> None:
    port = free_port()
    with pytest.raises(BrokerUnavailable, match=f"no broker answers at nats://127.0.0.1:{port}: .*Connect call failed"):
        await BrokerConnection.open(BrokerAddress(url=f"nats://127.0.0.1:{port}"), patience=0.3)


async def test_a_broker_that_comes_later(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker")
    opening = asyncio.create_task(BrokerConnection.open(broker.address, patience=None))
    await asyncio.sleep(0.05)
    with broker:
        connection = await opening
        assert connection.is_connected
        await connection.aclose()


async def test_credentials_that_are_refused_are_said_at_once(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker", settings='authorization { user: "a", password: "secret" }') as broker:
        with pytest.raises(BrokerRefused, match=r"does not let us in: .*Authorization") as caught:
            await BrokerConnection.open(BrokerAddress(url=f"nats://a:wrong@127.0.0.1:{broker.port}"))
        assert "wrong" not in str(caught.value)
        connection = await BrokerConnection.open(BrokerAddress(url=f"nats://a:secret@127.0.0.1:{broker.port}"))
        await connection.aclose()


async def test_what_the_broker_does_not_permit_is_refused_at_once(tmp_path: Path) -> None:
    may = 'permissions { publish { allow: ["ow.mine"] }, subscribe { allow: ["_INBOX.>"] } }'
    settings = f'authorization {{ users [ {{ user: "a", password: "b", {may} }} ] }}'
    with Broker(tmp_path / "broker", settings=settings) as broker:
        connection = await BrokerConnection.open(BrokerAddress(url=f"nats://a:b@127.0.0.1:{broker.port}"))
        named = r"may not publish to .*info\.theirs: 'oddwire broker permissions' prints what"
        with pytest.raises(BrokerRefused, match=named):
            await connection.api("STREAM.INFO.THEIRS", time_limit=3600)
        with pytest.raises(BrokerRefused, match=r"may not publish to .*direct\.get\.kv_theirs"):
            await Bucket(connection, "THEIRS").all()
        with pytest.raises(BrokerUnavailable, match=r"nobody answers at ow\.mine"):
            await connection.request("ow.mine", b"")
        await connection.aclose()


async def test_a_certificate_that_is_not_trusted_says_which_option_is_missing(tmp_path: Path) -> None:
    with GuardedBroker(tmp_path, {}) as broker:
        address = broker.address_of("admin")
        with pytest.raises(BrokerRefused, match=r"is not to be trusted, unless broker-ca says .*certificate"):
            await BrokerConnection.open(type(address)(url=address.url, nkey=address.nkey))


async def test_the_end_of_a_connection_by_tls_is_not_remarked_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with GuardedBroker(tmp_path, {}) as broker:
        connection = await BrokerConnection.open(broker.address_of("admin"))
        broker.kill()
        await until(lambda: not connection.is_connected)
        await connection.aclose()
    assert not [record for record in caplog.records if record.name == "asyncio"]
