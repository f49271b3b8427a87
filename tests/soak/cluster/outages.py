"""What happens to several brokers, or to the way to one: events that are no end of a single process."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final

from tests.soak.cluster.processes import BrokerProgram
from tests.soak.reliable import Link
from tests.support.broker import Broker
from tests.support.ports import free_port

from oddwire import NodeId
from oddwire.transports.nats.address import BrokerAddress
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.subjects import in_stream

FAILOVER: Final = 8.0  # seconds, in which the brokers that are left surely have another leader


class Passive:
    """Something to which one kind of event can happen, and that is no process of its own."""

    name = ""

    def __init__(self) -> None:
        self.deaths: dict[int, int] = {}
        self.counts: Counter[str] = Counter()
        self.surprises: list[str] = []

    async def start(self) -> None:
        """Do nothing: others do."""

    async def end(self) -> None:
        """Do nothing: others do."""

    async def kill(self) -> None:
        raise NotImplementedError(f"{self.name} is not killed")

    async def restart(self) -> None:
        raise NotImplementedError(f"{self.name} is not restarted")

    async def freeze(self, seconds: float) -> None:
        raise NotImplementedError(f"{self.name} is not frozen for {seconds} s")


class Leader(Passive):
    """Whichever of several brokers decides at the moment about what a node receives."""

    name = "leader"

    def __init__(self, brokers: Sequence[BrokerProgram], node_id: NodeId) -> None:
        super().__init__()
        self._brokers = brokers
        self._node_id = node_id

    async def kill(self) -> None:
        """Kill it, and start it again once there must be another."""
        broker = await self._find()
        await asyncio.to_thread(broker.broker.kill)
        await asyncio.sleep(FAILOVER)
        await broker.start()

    async def freeze(self, seconds: float) -> None:
        """Kill it and one more, so that what is left decides nothing, and start them again after so long."""
        leader = await self._find()
        other = next(broker for broker in self._brokers if broker is not leader)
        for broker in (leader, other):
            await asyncio.to_thread(broker.broker.kill)
        await asyncio.sleep(seconds)
        await asyncio.gather(leader.start(), other.start())

    async def _find(self) -> BrokerProgram:
        connection = await BrokerConnection.open(
            BrokerAddress(url=",".join(broker.broker.url for broker in self._brokers))
        )
        try:
            info = await connection.api(f"STREAM.INFO.{in_stream(self._node_id)}")
        finally:
            await connection.aclose()
        [found] = [each for each in self._brokers if f"test-{each.broker.port}" == info["cluster"]["leader"]]
        return found


class Door(Passive):
    """The way from the gateway to the broker, which can be shut."""

    name = "door"

    def __init__(self, broker: Broker) -> None:
        super().__init__()
        self._link = Link(broker.port)
        self.port = free_port()
        self._server: asyncio.Server | None = None
        self._shut = False

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._shut:
            writer.transport.abort()
        else:
            await self._link.accept(reader, writer)

    async def freeze(self, seconds: float) -> None:
        """Cut it, and let nobody through for so long."""
        self._shut = True
        self._link.cut()
        await asyncio.sleep(seconds)
        self._shut = False

    async def end(self) -> None:
        if self._server is not None:
            self._server.close()
        self._link.cut()
