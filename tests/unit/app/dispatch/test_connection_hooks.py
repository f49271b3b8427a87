"""What waits for on_connect, what does not, and who waits for whom."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from oddwire.app import Application, Context, Extension, Peer, hookimpl
from oddwire.app.dispatch.connection_hooks import Excuse, PendingHooks
from oddwire.errors import ConnectionClosed, RemoteFailure, ReplyTimeout
from oddwire.proto.keys import NodeId, PrivateKey
from oddwire.schema import Message, message, u64
from oddwire.session.limits import Limits
from oddwire.testing import ScriptedTransport
from oddwire.transports.bolt8.transport import Bolt8Transport
from oddwire.transports.memory import MemoryNetwork

ALICE = NodeId("02" + "aa" * 32)
LOOPS = ("asyncio",)


@message(0x8C01)
class Ask(Message):
    number: u64
    text: str = ""


@message(0x8C03)
class Answer(Message):
    number: u64


@message(0x8C05)
class Note(Message):
    number: u64
    text: str = ""


@message(0x8C07)
class Count(Message):
    number: u64


async def idle(turns: int = 50) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


def greeter(name: str = "test", reliable: bool = True) -> tuple[Extension, list[Any], asyncio.Event]:
    """An extension whose on_connect waits for an event, with what happens in order."""
    extension, log, gate = Extension(name, version="1.0"), [], asyncio.Event()

    @extension.on_connect
    async def connected(context: Context) -> None:
        log.append("begin")
        await gate.wait()
        log.append("end")

    @extension.on(Ask)
    async def answer(context: Context, request: Ask) -> Answer:
        log.append(("ask", request.number))
        return Answer(number=request.number)

    @extension.on(Count)
    async def count(context: Context, request: Count) -> AsyncIterator[Answer]:
        log.append(("count", request.number))
        for number in range(request.number):
            yield Answer(number=number)

    @extension.on(Note, reliable=reliable)
    async def note(context: Context, request: Note) -> None:
        log.append(("note", request.number, len(request.text)))

    @extension.on_disconnect
    async def disconnected(context: Context, reason: str) -> None:
        log.append("gone")

    return extension, log, gate


def speaker() -> Extension:
    extension = Extension("test", version="1.0")
    for known in (Ask, Answer, Note, Count):
        extension.register(known)
    return extension


def memory() -> Callable[[], Any]:
    network = MemoryNetwork()
    return network.transport


def bolt8() -> Callable[[], Any]:
    return lambda: Bolt8Transport(PrivateKey(secrets.token_bytes(32)), listen=["127.0.0.1:0"], network="regtest")


@pytest.fixture(params=[memory, bolt8])
def make_transport(request: pytest.FixtureRequest) -> Callable[[], Any]:
    return request.param()


async def test_all_kinds_of_messages_wait_and_are_handled_in_order(make_transport: Callable[[], Any]) -> None:
    extension, log, gate = greeter()
    async with (
        Application(extension, transport=make_transport(), store=":memory:") as server,
        Application(speaker(), transport=make_transport(), store=":memory:") as client,
    ):
        peer = await client.connect(server.uris[0])
        assert await peer.wait_for_hello()
        await peer.send(Note(number=1))
        request = asyncio.create_task(peer.request(Ask(number=2), Answer))

        async def read() -> list[int]:
            return [part.number async for part in peer.stream(Count(number=3), Answer)]

        stream = asyncio.create_task(read())
        receipt = await peer.deliver(Note(number=4))
        await peer.send(Note(number=5, text="x" * 100_000))
        large = asyncio.create_task(peer.request(Ask(number=6), Answer))
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert log == ["begin"]
        gate.set()
        assert (await request).number == 2
        assert await stream == [0, 1, 2]
        assert (await large).number == 6
        await receipt.delivered()
        while len(log) < 8:
            await asyncio.sleep(0.001)
    assert log[:2] == ["begin", "end"]
    assert [entry for entry in log if entry in (("note", 1, 0), ("note", 5, 100_000))] == [
        ("note", 1, 0),
        ("note", 5, 100_000),
    ]
    assert set(log[2:8]) == {
        ("note", 1, 0),
        ("ask", 2),
        ("count", 3),
        ("note", 4, 0),
        ("note", 5, 100_000),
        ("ask", 6),
    }


@pytest.mark.parametrize("way", ["request", "stream", "delivered"])
async def test_both_sides_may_ask_each_other_in_on_connect_at_once(way: str, make_transport: Callable[[], Any]) -> None:
    done: asyncio.Queue[str] = asyncio.Queue()

    def asker() -> Extension:
        extension = Extension("test", version="1.0")

        @extension.on_connect
        async def connected(context: Context) -> None:
            if way == "request":
                assert (await context.peer.request(Ask(number=1), Answer, timeout=None)).number == 1
            elif way == "stream":
                parts = [part.number async for part in context.peer.stream(Count(number=2), Answer, timeout=None)]
                assert parts == [0, 1]
            else:
                await (await context.peer.deliver(Note(number=1))).delivered()
            done.put_nowait("asked")

        @extension.on(Ask)
        async def answer(context: Context, request: Ask) -> Answer:
            return Answer(number=request.number)

        @extension.on(Count)
        async def count(context: Context, request: Count) -> AsyncIterator[Answer]:
            for number in range(request.number):
                yield Answer(number=number)

        @extension.on(Note, reliable=True)
        async def note(context: Context, request: Note) -> None: ...

        return extension

    async with (
        Application(asker(), transport=make_transport(), store=":memory:") as server,
        Application(asker(), transport=make_transport(), store=":memory:") as client,
    ):
        await client.connect(server.uris[0])
        async with asyncio.timeout(30):
            assert [await done.get(), await done.get()] == ["asked", "asked"]


async def test_one_side_asks_the_other_delivers() -> None:
    done: asyncio.Queue[str] = asyncio.Queue()

    def make(name: str) -> Extension:
        extension = Extension("test", version="1.0")

        @extension.on_connect
        async def connected(context: Context) -> None:
            if name == "asks":
                await context.peer.request(Ask(number=1), Answer, timeout=None)
            else:
                await (await context.peer.deliver(Note(number=1))).delivered()
            done.put_nowait(name)

        @extension.on(Ask)
        async def answer(context: Context, request: Ask) -> Answer:
            return Answer(number=request.number)

        @extension.on(Note, reliable=True)
        async def note(context: Context, request: Note) -> None: ...

        return extension

    network = MemoryNetwork()
    async with (
        Application(make("asks"), transport=network.transport(), store=":memory:") as server,
        Application(make("delivers"), transport=network.transport(), store=":memory:") as client,
    ):
        await client.connect(server.uris[0])
        async with asyncio.timeout(30):
            assert {await done.get(), await done.get()} == {"asks", "delivers"}


@pytest.mark.parametrize("way", ["request", "stream", "delivered"])
async def test_what_an_on_connect_asks_may_ask_back(way: str) -> None:
    server_side, client_side = Extension("test", version="1.0"), Extension("test", version="1.0")
    done: asyncio.Queue[object] = asyncio.Queue()

    @server_side.on_connect
    async def login(context: Context) -> None:
        if way == "delivered":
            await (await context.peer.deliver(Note(number=1))).delivered()
            done.put_nowait(1)
        elif way == "request":
            done.put_nowait((await context.peer.request(Ask(number=1), Answer, timeout=None)).number)
        else:
            stream = context.peer.stream(Count(number=1), Answer, timeout=None)
            done.put_nowait([part.number async for part in stream])

    @server_side.on(Answer)
    async def challenge(context: Context, request: Answer) -> Answer:
        return Answer(number=request.number + 1)

    @client_side.on(Ask)
    async def answer(context: Context, request: Ask) -> Answer:
        return await context.peer.request(Answer(number=5), Answer, timeout=None)

    @client_side.on(Count)
    async def count(context: Context, request: Count) -> AsyncIterator[Answer]:
        yield await context.peer.request(Answer(number=5), Answer, timeout=None)

    @client_side.on(Note, reliable=True)
    async def note(context: Context, request: Note) -> None:
        await context.peer.request(Answer(number=5), Answer, timeout=None)

    for known in (Ask, Count, Note):
        server_side.register(known)
    network = MemoryNetwork()
    async with (
        Application(server_side, transport=network.transport(), store=":memory:") as server,
        Application(client_side, transport=network.transport(), store=":memory:") as client,
    ):
        await client.connect(server.uris[0])
        async with asyncio.timeout(30):
            assert await done.get() == {"request": 6, "stream": [6], "delivered": 1}[way]
        queues = [*server._running().core.queues.values(), *client._running().core.queues.values()]
        await idle()
        assert not any(queue.may_ask_urgently for queue in queues)


async def test_an_on_connect_that_asks_ends_before_the_peers_own_requests() -> None:
    names: dict[Peer, int] = {}
    server_side, client_side = Extension("test", version="1.0"), Extension("test", version="1.0")
    asked = asyncio.Event()
    gate = asyncio.Event()

    @server_side.on_connect
    async def identify(context: Context) -> None:
        names[context.peer] = (await context.peer.request(Count(number=0), Answer)).number

    @server_side.on(Ask)
    async def order(context: Context, request: Ask) -> Answer:
        return Answer(number=names[context.peer])

    @client_side.on(Count)
    async def who(context: Context, request: Count) -> Answer:
        asked.set()
        await gate.wait()
        return Answer(number=7)

    server_side.register(Count)
    client_side.register(Ask)
    network = MemoryNetwork()
    async with (
        Application(server_side, transport=network.transport()) as server,
        Application(client_side, transport=network.transport()) as client,
    ):
        peer = await client.connect(server.uris[0])
        await asked.wait()
        request = asyncio.create_task(peer.request(Ask(number=1), Answer))
        await idle()
        gate.set()
        assert (await request).number == 7


async def test_a_request_of_the_peers_on_connect_waits_for_ours_that_waits_for_nothing_of_the_peer() -> None:
    extension, log, gate = greeter()
    other = speaker()
    answers: asyncio.Queue[int] = asyncio.Queue()

    @other.on_connect
    async def ask(context: Context) -> None:
        answers.put_nowait((await context.peer.request(Ask(number=1), Answer, timeout=None)).number)

    network = MemoryNetwork()
    async with (
        Application(extension, transport=network.transport(), store=":memory:") as server,
        Application(other, transport=network.transport()) as client,
    ):
        await client.connect(server.uris[0])
        await idle()
        assert log == ["begin"]
        gate.set()
        assert await answers.get() == 1


async def test_a_request_that_waits_can_be_cancelled_and_times_out() -> None:
    extension, log, gate = greeter()
    network = MemoryNetwork()
    async with (
        Application(extension, transport=network.transport(), store=":memory:") as server,
        Application(speaker(), transport=network.transport()) as client,
    ):
        peer = await client.connect(server.uris[0])
        assert await peer.wait_for_hello()
        with pytest.raises(ReplyTimeout):
            await peer.request(Ask(number=1), Answer, timeout=0.01)
        cancelled = asyncio.create_task(peer.request(Ask(number=2), Answer))
        await idle()
        cancelled.cancel()
        await idle()
        gate.set()
        assert (await peer.request(Ask(number=3), Answer)).number == 3
    assert [entry for entry in log if entry[0] == "ask"] == [("ask", 3)]


async def test_requests_that_wait_count_as_open_also_when_their_peer_gives_them_up() -> None:
    extension, log, gate = greeter()
    network = MemoryNetwork()
    limits = Limits(requests=4)
    async with (
        Application(extension, transport=network.transport(), store=":memory:", limits=limits) as server,
        Application(speaker(), transport=network.transport()) as client,
    ):
        peer = await client.connect(server.uris[0])
        assert await peer.wait_for_hello()
        for number in range(8):
            asking = asyncio.create_task(peer.request(Ask(number=number), Answer))
            await idle()
            asking.cancel()
            await idle()
        with pytest.raises(RemoteFailure, match="4 requests are handled at once"):
            await peer.request(Ask(number=8), Answer)
        assert server.counters.refused["requests"] == 1
        gate.set()
        await idle()
        assert (await peer.request(Ask(number=9), Answer)).number == 9
    assert [entry for entry in log if entry[0] == "ask"] == [("ask", 9)]


async def test_requests_that_wait_stop_the_transport_when_they_are_many_bytes() -> None:
    extension, _, gate = greeter()
    network = MemoryNetwork()
    async with (
        Application(extension, transport=network.transport(), store=":memory:") as server,
        Application(speaker(), transport=network.transport()) as client,
    ):
        peer = await client.connect(server.uris[0])
        assert await peer.wait_for_hello()
        requests = [
            asyncio.create_task(peer.request(Ask(number=number, text="x" * 60_000), Answer)) for number in range(64)
        ]
        await idle(300)
        [queue] = server._running().core.queues.values()
        assert queue.paused
        assert 1 << 20 < queue.held < 1 << 21
        gate.set()
        assert [(await request).number for request in requests] == [*range(64)]
        assert not queue.paused
        assert queue.held == 0


async def test_a_disconnect_and_a_new_connection_while_the_old_ones_on_connect_runs() -> None:
    extension, log, gate = greeter()
    network = MemoryNetwork()
    async with (
        Application(extension, transport=network.transport(), store=":memory:") as server,
        Application(speaker(), transport=network.transport()) as client,
    ):
        peer = await client.connect(server.uris[0])
        assert await peer.wait_for_hello()
        await peer.send(Note(number=1))
        lost = asyncio.create_task(peer.request(Ask(number=2), Answer))
        await idle()
        await client.disconnect(peer.node_id)
        with pytest.raises(ConnectionClosed):
            await lost
        peer = await client.connect(server.uris[0])
        assert await peer.wait_for_hello()
        await peer.send(Note(number=3))
        request = asyncio.create_task(peer.request(Ask(number=4), Answer))
        await idle()
        assert log == ["begin"]
        gate.set()
        assert (await request).number == 4
        await idle()
        assert log[:5] == ["begin", "end", ("note", 1, 0), "gone", "begin"]
        assert log[5] == "end"
        assert set(log[6:]) == {("note", 3, 0), ("ask", 4)}
        await client.disconnect(peer.node_id)
        while log[-1] != "gone":
            await asyncio.sleep(0.001)
        assert not server._running().core.queues


async def test_closing_while_hooks_hang_ends_them_and_says_farewell() -> None:
    extension, log, _ = greeter()
    network = MemoryNetwork()
    async with Application(speaker(), transport=network.transport()) as client:
        server = Application(extension, transport=network.transport(), store=":memory:", grace=0.05)
        async with server:
            peer = await client.connect(server.uris[0])
            assert await peer.wait_for_hello()
            await peer.send(Note(number=1))
            request = asyncio.create_task(peer.request(Ask(number=2), Answer))
            receipt = await asyncio.wait_for(idle(), 5)
            assert receipt is None
        with pytest.raises(ConnectionClosed):
            await request
    assert log == ["begin", "gone"]


async def test_what_an_on_connect_raises_holds_up_nothing() -> None:
    extension, log, _ = greeter()

    @extension.on_connect
    async def fail(context: Context) -> None:
        raise ZeroDivisionError

    extension._declarations.reverse()
    network = MemoryNetwork()
    async with (
        Application(extension, transport=network.transport(), store=":memory:") as server,
        Application(speaker(), transport=network.transport()) as client,
    ):
        peer = await client.connect(server.uris[0])
        assert (await peer.request(Ask(number=1), Answer)).number == 1
        await peer.send(Note(number=2))
        await idle()
        assert log == [("ask", 1), ("note", 2, 0)]


@pytest.mark.asyncio(loop_factories=["jumping"])
async def test_one_that_hangs_is_named_and_keeps_only_its_own_extension(caplog: pytest.LogCaptureFixture) -> None:
    hanging, log, _ = greeter("hanging", reliable=False)
    healthy = Extension("healthy", version="1.0")
    seen: list[Any] = []

    @healthy.on_connect
    async def connected(context: Context) -> None:
        seen.append("connected")

    @healthy.on(Answer)
    async def take(context: Context, request: Answer) -> None:
        seen.append(request.number)

    @healthy.on_disconnect
    async def disconnected(context: Context, reason: str) -> None:
        seen.append("gone")

    transport = ScriptedTransport()
    async with Application(hanging, healthy, transport=transport, session=False, grace=0.1) as app:
        encode = app.registry.encode
        transport.connect_peer(ALICE)
        transport.receive(ALICE, encode(Ask(number=1)))
        transport.receive(ALICE, encode(Answer(number=2)))
        await idle()
        assert (log, seen) == (["begin"], ["connected", 2])
        transport.lose_peer(ALICE)
        transport.connect_peer(ALICE)
        transport.receive(ALICE, encode(Answer(number=3)))
        await idle()
        assert (log, seen) == (["begin"], ["connected", 2, "gone", "connected", 3])
        assert not [each for each in caplog.records if each.levelno > logging.DEBUG]
        await asyncio.sleep(131)
        told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert len(told) == 1
        start = f"on_connect connected of 'hanging' with {ALICE} has not ended after 10 s: "
        start += "what this peer sends it waits for it; "
        assert told[0].startswith(start + f"it waits at {__file__}:")
    assert log == ["begin", "gone"]


@pytest.mark.asyncio(loop_factories=["jumping"])
async def test_a_farewell_that_hangs_is_named_and_keeps_only_its_own_extension(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log: list[str] = []

    def make(name: str, hangs: bool) -> Extension:
        extension = Extension(name, version="1.0")

        @extension.on_connect
        async def connected(context: Context) -> None:
            log.append(f"{name} connected")

        @extension.on_disconnect
        async def disconnected(context: Context, reason: str) -> None:
            if hangs:
                await asyncio.Event().wait()
            log.append(f"{name} gone")

        return extension

    transport = ScriptedTransport()
    hooks = (make("one", True), make("two", False))
    async with Application(*hooks, transport=transport, session=False, grace=0.1):
        transport.connect_peer(ALICE)
        await idle()
        transport.lose_peer(ALICE)
        transport.connect_peer(ALICE)
        await idle()
        assert log == ["one connected", "two connected", "two gone", "two connected"]
        await asyncio.sleep(13)
        [record] = caplog.records
        start = f"on_disconnect disconnected of 'one' with {ALICE} has not ended after 10 s"
        assert record.getMessage().startswith(f"{start}: its next on_connect for this peer waits for it; it waits at ")


async def test_a_plugin_without_messages_greets_for_all() -> None:
    gate = asyncio.Event()

    class Doorkeeper:
        name = "doorkeeper"

        @hookimpl
        async def peer_connected(self) -> None:
            await gate.wait()

    extension, log, own = greeter(reliable=False)
    own.set()
    transport = ScriptedTransport()
    async with Application(Doorkeeper(), extension, transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        transport.receive(ALICE, app.registry.encode(Note(number=1)))
        await idle()
        assert log == ["begin", "end"]
        gate.set()
        await idle()
        assert log == ["begin", "end", ("note", 1, 0)]


async def test_a_concurrent_handler_and_a_guarded_one_wait_too() -> None:
    gate = asyncio.Event()
    log: list[int] = []
    extension = Extension("test", version="1.0", allow=lambda peer: True)

    @extension.on_connect
    async def connected(context: Context) -> None:
        await gate.wait()

    @extension.on(Note, concurrent=True)
    async def note(context: Context, request: Note) -> None:
        log.append(request.number)

    @extension.on(Ask)
    async def answer(context: Context, request: Ask) -> Answer:
        log.append(request.number)
        return Answer(number=request.number)

    network = MemoryNetwork()
    async with (
        Application(extension, transport=network.transport()) as server,
        Application(speaker(), transport=network.transport()) as client,
    ):
        peer = await client.connect(server.uris[0])
        await peer.send(Note(number=1))
        request = asyncio.create_task(peer.request(Ask(number=2), Answer))
        await idle()
        assert log == []
        gate.set()
        assert (await request).number == 2
        await idle()
    assert sorted(log) == [1, 2]


async def test_after_the_greeting_nothing_is_left_of_it() -> None:
    extension, _, gate = greeter(reliable=False)
    gate.set()
    transport = ScriptedTransport()
    async with Application(extension, transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        await idle()
        [queue] = app._running().core.queues.values()
        assert queue.pending_hooks is None
        assert not queue.needs_slow_path
        assert not queue.hooks


def test_what_has_no_excuse_waits() -> None:
    pending = PendingHooks({}, frozenset())
    assert not pending.holds(1)
    assert not pending.holds(1, Excuse.URGENT)
