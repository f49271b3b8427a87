from __future__ import annotations

import asyncio

from tests.support.messages import Note
from tests.support.waiting import until

from oddwire.app import Application, Context, Extension
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Limits
from oddwire.testing import ScriptedTransport

ALICE = NodeId("02" + "aa" * 32)
BOB = NodeId("03" + "bb" * 32)


def note(number: int) -> bytes:
    return b"\x8c\x05" + number.to_bytes(8, "big")


class Server:
    def __init__(self) -> None:
        self.extension = Extension("test", version="1.0")
        self.notes: list[tuple[NodeId, int]] = []

        @self.extension.on(Note)
        async def noted(context: Context, request: Note) -> None:
            self.notes.append((context.peer.node_id, request.number))


async def test_an_application_limits_all_that_a_peer_sends() -> None:
    server = Server()
    transport = ScriptedTransport()
    async with Application(server.extension, transport=transport, limits=Limits(messages_per_second=50)) as app:
        for node_id in (ALICE, BOB):
            transport.connect_peer(node_id)
        for number in range(60):
            transport.receive(ALICE, note(number))
        transport.receive(BOB, note(1))
        await until(lambda: len(server.notes) == 61)
        assert ("pause", BOB) not in transport.flow
        assert app.counters.throttled["messages_per_second"] > 0
        transport.lose_peer(ALICE)
        transport.connect_peer(ALICE)
        transport.receive(ALICE, note(99))
        await until(lambda: (ALICE, 99) in server.notes)


async def test_without_a_rate_nothing_is_metered() -> None:
    server, transport = Server(), ScriptedTransport()
    async with Application(server.extension, transport=transport, limits=Limits(requests=1)) as app:
        assert transport._sink is app._dispatcher


async def test_a_host_that_stops_is_heard_through_the_meter() -> None:
    transport = ScriptedTransport()
    app = Application(Server().extension, transport=transport, limits=Limits(bytes_per_second=1000))
    running = asyncio.create_task(app.run_until_stopped(signals=False))
    await until(lambda: transport._sink is not None)
    transport._sink.host_stopping("the node ends")  # type: ignore[union-attr]
    await running
