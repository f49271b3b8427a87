"""A gateway between a peer in memory and the broker."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support.gateway_rig import Rig, new_key

from oddwire.cluster.gateway.gateway import Gateway
from oddwire.testing import RecordingSink
from oddwire.transports.base import Manifest
from oddwire.transports.memory import MemoryNetwork
from oddwire.transports.nats.connection import BrokerConnection


@pytest.fixture
async def rig(connection: BrokerConnection) -> AsyncIterator[Rig]:
    network = MemoryNetwork()
    gateway = Gateway(network.transport(new_key()), connection, partitions=4)
    peer, sink = network.transport(new_key()), RecordingSink()
    await peer.open(Manifest(), sink)
    await gateway.start()
    yield Rig(gateway, network, peer, sink, connection)
    await peer.aclose()
    await gateway.aclose()
