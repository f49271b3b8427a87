"""Brokers that will not do for a cluster, each with what is wrong and what would be right."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from nats.aio.msg import Msg
from tests.support.broker import Broker, in_effect

from oddwire.cluster.broker.checking import LEAST_PAYLOAD, check_broker
from oddwire.errors import TransportError
from oddwire.transports.nats.address import BrokerAddress
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerFailure, BrokerUnavailable


async def checked(broker: Broker) -> None:
    with broker:
        connection = await BrokerConnection.open(broker.address)
        try:
            await check_broker(connection)
        finally:
            await connection.aclose()


async def test_one_that_will_do(tmp_path: Path) -> None:
    await checked(Broker(tmp_path))


async def test_one_that_takes_small_messages(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match=r"at most 65536 bytes, and a cluster needs 1048576: raise max_payload"):
        await checked(Broker(tmp_path, max_payload="65536"))


async def test_one_without_jetstream(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match=r"has no JetStream for us .*: its configuration needs 'jetstream'"):
        await checked(_without_jetstream(tmp_path))


def _without_jetstream(folder: Path) -> Broker:
    broker = Broker(folder)
    broker.config.write_text(broker.config.read_text().partition("\njetstream")[0])
    return broker


async def test_one_that_hands_on_to_an_older_one(tmp_path: Path) -> None:
    with _without_jetstream(tmp_path) as broker:
        connection, older = await BrokerConnection.open(broker.address), await BrokerConnection.open(broker.address)

        async def answer(message: Msg) -> None:
            await older.publish(message.reply, b'{"memory": 0, "api": {"total": 0, "errors": 0}}')  # as 2.10 does

        await older.client.subscribe("$JS.API.INFO", cb=answer)
        await in_effect(older.client)
        with pytest.raises(TransportError, match=r"JetStream behind the broker at .* a nats-server before 2\.11\.0"):
            await check_broker(connection)
        await connection.aclose()
        await older.aclose()


class Connection:
    """A connection to a broker of this version, whose JetStream answers with these errors first."""

    max_payload = LEAST_PAYLOAD
    address = BrokerAddress(url="nats://me:secret@a:1")

    def __init__(self, version: str, *errors: BrokerFailure) -> None:
        self.client = SimpleNamespace(connected_server_version=version, _server_info={"jetstream": True})
        self.errors = [*errors]

    async def api(self, _: str) -> dict[str, object]:
        if self.errors:
            raise self.errors.pop(0)
        return {"api": {"level": 1}}


async def test_one_that_is_too_old() -> None:
    with pytest.raises(TransportError, match=r"the broker at nats://a:1 is .*2\.9\.0") as caught:
        await check_broker(Connection("2.9.0"))  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


async def test_one_whose_jetstream_is_starting_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    starting, silent = BrokerUnavailable("no leader", 10008), BrokerUnavailable("no answer")
    connection = Connection("2.12.0", starting, starting, silent)
    await check_broker(connection)  # type: ignore[arg-type]
    assert not connection.errors
    assert [record.message for record in caplog.records] == [
        "the broker at nats://a:1 is waited for: no leader",
        "the broker at nats://a:1 is waited for: no answer",
    ]
