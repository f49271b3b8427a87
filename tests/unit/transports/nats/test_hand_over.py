"""Applications that own a partition one after the other, while a peer sends: what each of them handles."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.broker import Broker
from tests.support.messages import Answer, Ask, Note
from tests.support.waiting import until

from oddwire import Receipt
from oddwire.app import Application, Context, Extension, Peer
from oddwire.cluster.gateway.gateway import Gateway
from oddwire.errors import ConnectionClosed, RemoteFailure
from oddwire.proto.keys import NodeId, PrivateKey
from oddwire.session.wire.frame_types import Code
from oddwire.transports.memory import MemoryNetwork
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.transport import NatsTransport

COUNT = 400
RELIABLE = 150


class Owner:
    """One owner's application, which logs the numbers that it has handled to the end."""

    def __init__(
        self,
        log: list[int],
        connection: BrokerConnection,
        node: NodeId,
        term: int,
        *,
        reliable: bool = False,
        **options: object,
    ) -> None:
        extension = Extension("test", version="1.0")
        self.begun: list[int] = []

        @extension.on(Note, reliable=reliable)
        async def noted(context: Context, request: Note) -> None:
            self.begun.append(request.number)
            await asyncio.sleep(0.001 if request.number % 10 == 0 else 0)
            log.append(request.number)
            if reliable:
                handled = await context.store.get("handled", [])
                await context.store.set("handled", [*handled, request.number])

        @extension.on(Ask)
        async def asked(context: Context, request: Ask) -> Answer:
            return Answer(number=request.number + 1)

        self.transport = NatsTransport(connection, node, 0, term=term)
        self.app = Application(extension, transport=self.transport, program=77, **options)  # type: ignore[arg-type]


class Cluster:
    def __init__(self, network: MemoryNetwork, connection: BrokerConnection, gateway: Gateway) -> None:
        self.network = network
        self.connection = connection
        self.gateway = gateway
        self.log: list[int] = []
        self.terms = 0

    def owner(self, *, reliable: bool = False, **options: object) -> Owner:
        self.terms += 1
        return Owner(self.log, self.connection, self.gateway.node_id, self.terms, reliable=reliable, **options)

    @asynccontextmanager
    async def peer(self, **options: object) -> AsyncIterator[Application]:
        extension = Extension("test", version="1.0")
        for known in (Note, Ask, Answer):
            extension.register(known)
        transport = self.network.transport(PrivateKey(os.urandom(32)))
        async with Application(extension, transport=transport, **options) as app:  # type: ignore[arg-type]
            await app.connect(f"{self.gateway.node_id}@memory")
            yield app


@pytest.fixture
async def cluster(broker: Broker) -> AsyncIterator[Cluster]:
    network = MemoryNetwork()
    ours, theirs = [await BrokerConnection.open(broker.address) for _ in range(2)]
    gateway = Gateway(network.transport(PrivateKey(os.urandom(32))), theirs, partitions=1, max_waiting=1 << 24)
    await gateway.start()
    yield Cluster(network, ours, gateway)
    await gateway.aclose()
    await ours.aclose()
    await theirs.aclose()


async def send_notes(app: Application, first: int = 0) -> None:
    (peer,) = app.peers
    for number in range(first, first + COUNT):
        await peer.send(Note(number=number))
        if number % 20 == 0:
            await asyncio.sleep(0.002)


async def test_a_rolling_deploy_loses_and_repeats_nothing(cluster: Cluster) -> None:
    async with cluster.peer() as peer:
        sending = asyncio.create_task(send_notes(peer))
        for share in range(1, 6):
            async with cluster.owner().app:
                await until(lambda share=share: len(cluster.log) >= share * COUNT // 6)  # type: ignore[misc]
        async with cluster.owner().app:
            await sending
            await until(lambda: len(cluster.log) >= COUNT)
        assert cluster.log == [*range(COUNT)]


async def test_a_lost_owner_loses_nothing_and_the_order_of_first_handlings_stays(cluster: Cluster) -> None:
    async with cluster.peer() as peer:
        sending = asyncio.create_task(send_notes(peer))
        for share in range(1, 5):
            owner = cluster.owner(grace=0.0)
            async with owner.app:
                await until(lambda share=share: len({*cluster.log}) >= share * COUNT // 6)  # type: ignore[misc]
                owner.transport.lost("its lease is over")
                begun = len(owner.begun)
            assert len(owner.begun) <= begun + 300, "only what it had in its queue"
        async with cluster.owner().app:
            await sending
            await until(lambda: len({*cluster.log}) >= COUNT)
        firsts = [*dict.fromkeys(cluster.log)]
        assert firsts == [*range(COUNT)]


async def ask(us: Peer, number: int) -> int:
    """Ask the owner, who may be a new one just now."""
    while True:
        try:
            return (await us.request(Ask(number=number), Answer, timeout=20)).number
        except ConnectionClosed:
            pass
        except RemoteFailure as error:
            # On a busy machine there may be no owner for longer than the second that a peer waits for the next
            if error.code != Code.UNKNOWN_MESSAGE:
                raise


async def test_reliable_messages_are_handled_once_and_requests_answered_whoever_owns_it(
    cluster: Cluster, tmp_path: Path
) -> None:
    async with cluster.peer(store=tmp_path / "peer.db") as peer:
        (us,) = peer.peers

        async def deliver() -> list[Receipt]:
            return [await us.deliver(Note(number=number)) for number in range(RELIABLE)]

        delivering = asyncio.create_task(deliver())
        for round_ in range(4):
            # One store, as the log of the partition would bring it
            owner = cluster.owner(reliable=True, store=tmp_path / "owner.db", grace=0.0 if round_ % 2 else 5.0)
            async with owner.app:
                assert await ask(us, round_) == round_ + 1
                begun = len(owner.begun)
                await until(lambda owner=owner, begun=begun: delivering.done() or len(owner.begun) > begun)  # type: ignore[misc]
                if round_ % 2:
                    owner.transport.lost("its lease is over")
        owner = cluster.owner(reliable=True, store=tmp_path / "owner.db")
        async with owner.app as app:
            for receipt in await delivering:
                await receipt.delivered()
            assert await app.resources.store("test").get("handled") == [*range(RELIABLE)]
