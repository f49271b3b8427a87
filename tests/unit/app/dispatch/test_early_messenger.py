from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from oddwire.app import AppContext, Application, Context, Extension, Peer
from oddwire.errors import ExtensionError, LocalProtocolError, TransportError
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message
from oddwire.transports.memory import MemoryNetwork

ALICE = NodeId("02" + "aa" * 32)


@message(0x8C01)
class Note(Message):
    text: str


async def drain(app: Application) -> None:
    async for _ in app.peer(ALICE).stream(Note(text=""), Note):
        pass


NEED_PEERS: dict[str, Callable[[Application], Awaitable[object]]] = {}


def needs_peers(function: Callable[[Application], Awaitable[object]]) -> None:
    NEED_PEERS[function.__name__] = function


@needs_peers
async def peers(app: Application) -> object:
    return app.peers


@needs_peers
async def connect(app: Application) -> object:
    return await app.connect(f"{ALICE}@127.0.0.1:9735")


@needs_peers
async def disconnect(app: Application) -> object:
    return await app.disconnect(ALICE)


@needs_peers
async def call(app: Application) -> object:
    return await app.call("test-method")


@needs_peers
async def counters(app: Application) -> object:
    return app.counters


@needs_peers
async def counters_of(app: Application) -> object:
    return app.counters_of("test")


@needs_peers
async def send(app: Application) -> object:
    return await app.peer(ALICE).send(Note(text=""))


@needs_peers
async def request(app: Application) -> object:
    return await app.peer(ALICE).request(Note(text=""), Note)


@needs_peers
async def stream(app: Application) -> object:
    return await drain(app)


def make() -> Extension:
    extension = Extension("test", version="1.0")
    extension.register(Note)
    return extension


@pytest.mark.parametrize("name", NEED_PEERS)
async def test_what_needs_peers_says_where_it_stands(name: str) -> None:
    extension, use, told = make(), NEED_PEERS[name], []

    @extension.rpc("test-method")
    async def method(context: AppContext) -> None: ...

    @extension.on_startup
    async def begin(context: AppContext) -> None:
        with pytest.raises(LocalProtocolError) as caught:
            await use(context.app)
        told.append(str(caught.value))

    app = Application(extension, transport=MemoryNetwork().transport())
    with pytest.raises(LocalProtocolError, match=r"not started: 'async with app:' or 'await app.start\(\)' starts"):
        await use(app)
    async with app:
        pass
    assert len(told) == 1
    assert told[0].startswith("the application is still starting: there are no peers before its on_startup hooks")
    assert "Do this in on_ready, or for each peer in on_connect" in told[0]
    assert told[0].endswith("in the store may be called now: peer.deliver(), send(again=...), settle() and pending()")


async def test_reliable_messages_sent_on_startup_go_out_once_the_peer_is_there() -> None:
    network = MemoryNetwork()
    taker, sender, taken, handles = make(), make(), [], []

    @taker.on(Note, reliable=True)
    async def take(context: Context, note: Note) -> None:
        taken.append(note.text)

    async with Application(taker, transport=network.transport(), store=":memory:") as other:

        @sender.on_startup
        async def begin(context: AppContext) -> None:
            peer = context.app.peer(other.node_id)  # type: ignore[arg-type]
            handles.extend([peer, await peer.deliver(Note(text="early"))])
            assert not peer.connected
            assert peer.info is None
            assert peer.extensions == {}
            assert not await peer.wait_for_hello()
            assert not peer.supports("test")
            with pytest.raises(ExtensionError):
                peer.version_of("tset")

        async with Application(sender, transport=network.transport(), store=":memory:") as app:
            await app.connect(other.uris[0])
            peer, receipt = handles
            await receipt.delivered()
            assert taken == ["early"]
            # The handle stays good
            assert peer == app.peers[0]
            assert peer.connected
            assert peer.version_of("test") == "1.0"
            await peer.deliver(Note(text="late"))
            await peer.send(Note(text="plain"))


async def test_without_a_store_a_reliable_message_says_so_on_startup_too() -> None:
    extension = make()

    @extension.on_startup
    async def begin(context: AppContext) -> None:
        with pytest.raises(LocalProtocolError, match="no store"):
            await context.app.peer(ALICE).deliver(Note(text=""))

    async with Application(extension, transport=MemoryNetwork().transport()):
        pass


async def test_closing_and_closed_are_told() -> None:
    extension, network, told = make(), MemoryNetwork(), []

    @extension.rpc("test-method")
    async def method(context: AppContext) -> int:
        return len(context.app.peers)

    @extension.on_shutdown
    async def end(context: AppContext) -> None:
        assert context.app.peers == []
        assert await context.app.call("test-method") == 0
        with pytest.raises(LocalProtocolError, match="the application is closing"):
            await context.app.connect(f"{ALICE}@x")
        told.append(True)

    app: Any = Application(extension, transport=network.transport())
    async with app:
        peer: Peer = app.peer(ALICE)
    assert told == [True]
    for doing in (app.connect(f"{ALICE}@x"), app.call("test-method")):
        with pytest.raises(LocalProtocolError, match="the application is closed"):
            await doing
    with pytest.raises(LocalProtocolError, match="starts once; this one is closed"):
        await app.start()
    with pytest.raises(TransportError, match="no connection to"):
        await peer.send(Note(text=""))


async def test_one_that_never_started_is_closed() -> None:
    app = Application(make(), transport=MemoryNetwork().transport())
    await app.aclose()
    with pytest.raises(LocalProtocolError, match="the application is closed"):
        app.peer(ALICE)


async def test_starting_twice_at_once_is_told() -> None:
    extension = make()

    @extension.on_startup
    async def begin(context: AppContext) -> None:
        with pytest.raises(LocalProtocolError, match="starts once; this one is starting"):
            await context.app.start()

    async with Application(extension, transport=MemoryNetwork().transport()):
        pass
