"""Fixtures of tests at a real broker, for the conftest of a folder of them: one nats-server for a module."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.broker import Broker

from oddwire.transports.nats.connection import BrokerConnection

__all__ = ["broker", "connection"]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A nats-server with JetStream, for a module."""
    folder: Path = tmp_path_factory.mktemp("broker")
    with Broker(folder) as running:
        yield running


@pytest.fixture
async def connection(broker: Broker) -> AsyncIterator[BrokerConnection]:
    """A connection to it."""
    opened = await BrokerConnection.open(broker.address)
    yield opened
    await opened.aclose()
