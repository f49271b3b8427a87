"""A gateway between a peer in memory and a broker, for tests."""

from __future__ import annotations

from typing import NamedTuple

from tests.support.owners import OwnerDouble

from oddwire.cluster.gateway.gateway import Gateway
from oddwire.proto.keys import NodeId, PrivateKey
from oddwire.testing import RecordingSink
from oddwire.transports.memory import MemoryNetwork, MemoryTransport
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.subjects import partition_of


class Rig(NamedTuple):
    """A gateway, and a peer whose partition is ``k``."""

    gateway: Gateway
    network: MemoryNetwork
    peer: MemoryTransport
    sink: RecordingSink
    connection: BrokerConnection

    @property
    def node(self) -> NodeId:
        return self.gateway.node_id

    @property
    def me(self) -> NodeId:
        return self.peer.node_id

    @property
    def k(self) -> int:
        return partition_of(self.me, self.gateway.partitions)

    def owner(self, term: int = 1) -> OwnerDouble:
        return OwnerDouble(self.connection, self.node, self.k, term)

    async def connect(self) -> None:
        await self.peer.connect(self.gateway.transport.uris[0])


_keys = iter(range(1000, 100_000))


def new_key() -> PrivateKey:
    """A key that no other test uses: those of a module share a broker."""
    return PrivateKey(next(_keys).to_bytes(32, "big"))
