"""Brokers that will not do for a cluster, each with what is wrong and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.broker import Broker

from oddwire.cluster.broker.checking import check_broker
from oddwire.errors import TransportError
from oddwire.transports.nats.connection import BrokerConnection


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
