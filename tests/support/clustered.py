"""A node with a gateway, and the owner of its only partition, as one transport: for the transport kit and its like."""

from __future__ import annotations

from oddwire.cluster.gateway.gateway import Gateway
from oddwire.proto.keys import NodeId
from oddwire.transports.base import Manifest, PeerInfo, Sink, Transport
from oddwire.transports.nats.address import BrokerAddress
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.transport import NatsTransport


class Clustered(Transport):
    """Hands everything to a `NatsTransport`, whose gateway has ``node`` for its transport. Both have a connection."""

    shared = True

    def __init__(self, node: Transport, broker: BrokerAddress) -> None:
        self.node = node
        self._broker = broker
        self._connections: list[BrokerConnection] = []
        self.gateway: Gateway | None = None
        self.owner: NatsTransport | None = None

    @property
    def uris(self) -> list[str]:
        return [*self.node.uris]

    async def open(self, manifest: Manifest, sink: Sink) -> None:
        assert self.node.node_id is not None
        try:
            for _ in range(2):
                self._connections.append(await BrokerConnection.open(self._broker))
            self.gateway = Gateway(self.node, self._connections[0], partitions=1, max_waiting=16 << 20)
            await self.gateway.start()
            self.owner = NatsTransport(self._connections[1], self.node.node_id, 0, term=1)
            await self.owner.open(manifest, sink)
        except BaseException:
            await self.aclose()
            raise

    @property
    def ours(self) -> NatsTransport:
        assert self.owner is not None
        return self.owner

    async def send(self, peer: NodeId, payload: bytes) -> None:
        await self.ours.send(peer, payload)

    def send_nowait(self, peer: NodeId, payload: bytes) -> bool:
        return self.ours.send_nowait(peer, payload)

    def pause(self, peer: NodeId) -> None:
        self.ours.pause(peer)

    def resume(self, peer: NodeId) -> None:
        self.ours.resume(peer)

    async def connect(self, uri: str) -> PeerInfo:
        return await self.ours.connect(uri)

    async def disconnect(self, peer: NodeId, reason: str = "") -> None:
        await self.ours.disconnect(peer, reason)

    def warn(self, peer: NodeId, text: str) -> None:
        self.ours.warn(peer, text)

    async def aclose(self) -> None:
        """Close the owner, then the gateway with its node: the peers see that one go."""
        if self.owner is not None:
            await self.owner.aclose()
        if self.gateway is not None:
            await self.gateway.aclose()
        while self._connections:
            await self._connections.pop().aclose()
