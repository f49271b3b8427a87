from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
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
    """Handles notes, each when its number is let go, or at once if it is not held."""

    def __init__(self, *, concurrent: bool = False) -> None:
        self.extension = Extension("test", version="1.0")
        self.log: list[object] = []
        self.held: dict[int, asyncio.Event] = {}

        @self.extension.on(Note, concurrent=concurrent)
        async def noted(context: Context, request: Note) -> None:
            self.log.append(request.number)
            if request.number in self.held:
                await self.held[request.number].wait()
                self.log.append(-request.number)
            if request.number == 13:
                raise ValueError("no thirteens")

    def hold(self, number: int) -> asyncio.Event:
        self.held[number] = asyncio.Event()
        return self.held[number]

    def note(self, what: object) -> Callable[[], None]:
        return lambda: self.log.append(what)


@pytest.fixture
def transport() -> ScriptedTransport:
    return ScriptedTransport()


def settled(transport: ScriptedTransport, peer: NodeId, call: Callable[[], object]) -> None:
    assert transport._sink is not None
    transport._sink.settled(peer, call)


async def idle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def test_it_is_called_behind_what_came_before_and_before_what_comes_after(transport: ScriptedTransport) -> None:
    server = Server()
    go = server.hold(1)
    async with Application(server.extension, transport=transport, session=False):
        transport.connect_peer(ALICE)
        transport.connect_peer(BOB)
        transport.receive(ALICE, note(1))
        settled(transport, ALICE, server.note("one"))
        transport.receive(ALICE, note(2))
        transport.receive(ALICE, note(13))
        settled(transport, ALICE, server.note("failed too"))
        settled(transport, BOB, server.note("bob's"))
        await until(lambda: "bob's" in server.log)
        assert server.log == [1, "bob's"]
        go.set()
        await until(lambda: "failed too" in server.log)
        assert server.log == [1, "bob's", -1, "one", 2, 13, "failed too"]


async def test_concurrent_handlers_are_waited_for_and_keep_nothing_up(transport: ScriptedTransport) -> None:
    server = Server(concurrent=True)
    first, second = server.hold(1), server.hold(2)
    async with Application(server.extension, transport=transport, session=False):
        transport.connect_peer(ALICE)
        transport.receive(ALICE, note(1))
        settled(transport, ALICE, server.note("one"))
        transport.receive(ALICE, note(2))
        settled(transport, ALICE, server.note("both"))
        transport.receive(ALICE, note(3))
        await until(lambda: 3 in server.log)
        second.set()
        await until(lambda: -2 in server.log)
        await idle()
        assert "both" not in server.log
        first.set()
        await until(lambda: "both" in server.log)
        assert server.log.index("one") > server.log.index(-1)


async def test_a_peer_that_is_unknown_or_gone(transport: ScriptedTransport) -> None:
    server = Server()
    go = server.hold(1)
    async with Application(server.extension, transport=transport, session=False):
        settled(transport, BOB, server.note("unknown"))
        assert server.log == ["unknown"]
        transport.connect_peer(ALICE)
        transport.receive(ALICE, note(1))
        settled(transport, ALICE, server.note("before"))
        transport.lose_peer(ALICE)
        settled(transport, ALICE, server.note("after"))
        transport.connect_peer(ALICE)
        transport.receive(ALICE, note(2))
        settled(transport, ALICE, server.note("back"))
        await until(lambda: 1 in server.log)
        await idle()
        assert server.log == ["unknown", 1]
        go.set()
        await until(lambda: "back" in server.log)
        assert server.log == ["unknown", 1, -1, "before", "after", 2, "back"]


async def test_concurrent_handlers_of_a_peer_that_is_gone_for_good(transport: ScriptedTransport) -> None:
    server = Server(concurrent=True)
    go = server.hold(1)
    async with Application(server.extension, transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        transport.receive(ALICE, note(1))
        await until(lambda: 1 in server.log)
        transport.lose_peer(ALICE)
        await until(lambda: app._dispatcher is not None and not app._dispatcher._queues)
        settled(transport, ALICE, server.note("gone"))
        transport.connect_peer(ALICE)
        settled(transport, ALICE, server.note("back"))
        settled(transport, BOB, server.note("another's"))
        await idle()
        assert server.log == [1, "another's"]
        go.set()
        await until(lambda: {"gone", "back"} <= {*server.log})
        assert server.log[2] == -1
        assert app._dispatcher is not None
        assert app._dispatcher._settling._left == {}


async def test_messages_that_wait_for_on_connect_are_waited_for(transport: ScriptedTransport) -> None:
    server, greeted = Server(), asyncio.Event()

    @server.extension.on_connect
    async def greet(context: Context) -> None:
        await greeted.wait()

    async with Application(server.extension, transport=transport, session=False):
        transport.connect_peer(ALICE)
        await idle()
        transport.receive(ALICE, note(1))
        transport.receive(ALICE, note(2))
        settled(transport, ALICE, server.note("two"))
        transport.receive(ALICE, note(3))
        await idle()
        assert server.log == []
        greeted.set()
        await until(lambda: 3 in server.log)
        assert server.log == [1, 2, "two", 3]


async def test_what_a_message_stores_is_on_disk(transport: ScriptedTransport, tmp_path: Path) -> None:
    extension = Extension("test", version="1.0")
    durable: list[bool] = []

    @extension.on(Note, reliable=True)
    async def noted(context: Context, request: Note) -> None:
        await context.store.set("last", request.number)

    async with Application(extension, transport=transport, store=tmp_path / "store.db") as app:
        transport.connect_peer(ALICE)
        store = app.resources.delivery().store
        transport.receive(ALICE, note(1))
        settled(transport, ALICE, lambda: durable.append(not store._dirty and store._committer is None))
        await until(lambda: durable)
    assert durable == [True]


async def test_nothing_is_called_for_what_closing_cancels_or_drops(transport: ScriptedTransport) -> None:
    server = Server()
    server.hold(2)
    async with Application(server.extension, transport=transport, session=False, grace=0.05):
        transport.connect_peer(ALICE)
        transport.receive(ALICE, note(1))
        settled(transport, ALICE, server.note("one"))
        transport.receive(ALICE, note(2))
        settled(transport, ALICE, server.note("two"))
        transport.receive(ALICE, note(3))
        settled(transport, ALICE, server.note("three"))
        await until(lambda: 2 in server.log)
    assert server.log == [1, "one", 2]


async def test_what_ends_within_the_grace_is_told(transport: ScriptedTransport) -> None:
    server = Server(concurrent=True)
    go = server.hold(2)
    async with Application(server.extension, transport=transport, session=False):
        transport.connect_peer(ALICE)
        transport.receive(ALICE, note(2))
        transport.receive(ALICE, note(3))
        settled(transport, ALICE, server.note("three"))
        asyncio.get_running_loop().call_soon(go.set)
    assert {*server.log[:-1]} == {2, -2, 3}
    assert server.log[-1] == "three"


async def test_it_goes_through_the_meter_and_one_that_raises_harms_nobody(
    transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    limits = Limits(messages_per_second=1000)

    def fail() -> None:
        raise RuntimeError("a transport's fault")

    async with Application(server.extension, transport=transport, session=False, limits=limits):
        transport.connect_peer(ALICE)
        settled(transport, ALICE, fail)
        settled(transport, ALICE, server.note("next"))
        await until(lambda: "next" in server.log)
    assert "a transport's fault" in caplog.text
