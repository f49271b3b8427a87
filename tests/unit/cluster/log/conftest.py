"""Partitions' logs: in memory, and at a real nats-server."""

from __future__ import annotations

import itertools

import pytest
from tests.support.partition_logs import MemoryPlace, create_log_streams

from oddwire.cluster.log.jetstream import JetStreamLog
from oddwire.cluster.log.subject import LogPlace
from oddwire.proto.keys import NodeId
from oddwire.transports.nats.connection import BrokerConnection

NODE = NodeId(b"\x02" + b"\x11" * 32)
_partitions = itertools.count()


@pytest.fixture
async def jetstream(connection: BrokerConnection) -> LogPlace:
    """A log at the broker, a new one for each test."""
    await create_log_streams(connection, NODE)
    return JetStreamLog(connection, NODE, next(_partitions))


@pytest.fixture(params=["memory", "jetstream"])
def place(request: pytest.FixtureRequest) -> LogPlace:
    """A log, in memory and then at the broker."""
    if request.param == "memory":
        return MemoryPlace()
    found: LogPlace = request.getfixturevalue("jetstream")
    return found
