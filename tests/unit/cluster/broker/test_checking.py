"""Brokers that will not do for a cluster, each with what is wrong and what would be right."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.support.broker import Broker

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
    broker = Broker(tmp_path)
    broker.config.write_text(broker.config.read_text().partition("\njetstream")[0])
    with pytest.raises(TransportError, match=r"has no JetStream for us .*: its configuration needs 'jetstream'"):
        await checked(broker)


class Connection:
    """A connection to a broker of this version, whose JetStream answers with these errors first."""

    max_payload = LEAST_PAYLOAD
    address = BrokerAddress(url="nats://me:secret@a:1")

    def __init__(self, version: str, *errors: BrokerFailure) -> None:
        self.client = SimpleNamespace(connected_server_version=version, _server_info={"jetstream": True})
        self.errors = [*errors]

    async def api(self, _: str) -> None:
        if self.errors:
            raise self.errors.pop(0)


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
