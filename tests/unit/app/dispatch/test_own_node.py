"""The handle of one's own node refuses what would go nowhere."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from oddwire.app import AppContext, Application, Extension, Peer
from oddwire.errors import ExtensionError, LocalProtocolError, PeerNotConnected
from oddwire.proto.keys import PrivateKey
from oddwire.schema import Message, message
from oddwire.transports.bolt8.transport import Bolt8Transport
from oddwire.transports.memory import MemoryNetwork


@message(0x8C01)
class Note(Message):
    text: str = ""


def make() -> Extension:
    extension = Extension("test", version="1.0")
    extension.register(Note)
    return extension


def transport_of(kind: str) -> Any:
    return MemoryNetwork().transport() if kind == "memory" else Bolt8Transport(PrivateKey(b"\x11" * 32))


async def refuses(peer: Peer) -> None:
    with pytest.raises(
        LocalProtocolError, match=f"^{peer} is this node itself, .* delivered to it would wait for ever"
    ):
        await peer.deliver(Note())
    for ask in (
        lambda: peer.send(Note()),
        lambda: peer.send(Note(), force=True),
        lambda: peer.send_raw(0x8C05, b""),
        lambda: peer.request(Note(), Note),
        lambda: anext(peer.stream(Note(), Note)),
    ):
        with pytest.raises(PeerNotConnected, match=f"^{peer} is this node itself, which has no connection") as raised:
            await ask()
        assert raised.value.node_id == str(peer)
    async with aclosing(peer.stream(Note(), Note)) as parts:
        with pytest.raises(PeerNotConnected, match="this node itself"):
            await anext(parts)
    assert not peer.connected
    assert peer.info is None
    assert peer.extensions == {}
    assert not peer.supports("test")
    assert peer.version_of("test") is None
    assert not await peer.wait_for_hello()
    with pytest.raises(ExtensionError, match="is loaded; there are"):
        peer.supports("other")
    with pytest.raises(PeerNotConnected, match="this node itself"):
        peer._messenger.something_else(1, two=2)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["memory", "bolt8"])
@pytest.mark.parametrize("form", [str, bytes, lambda node_id: node_id])
async def test_it_refuses_all_that_it_is_asked_for(kind: str, form: Any) -> None:
    async with Application(make(), transport=transport_of(kind), store=":memory:") as app:
        assert app.node_id is not None
        peer = app.peer(form(app.node_id))
        await refuses(peer)
        assert peer == Peer(app.peer(b"\2" * 33)._messenger, app.node_id)


async def test_it_refuses_during_the_start_too_where_the_node_is_known() -> None:
    extension, asked = make(), []

    @extension.on_startup
    async def startup(context: AppContext) -> None:
        node_id = context.app.transport.node_id
        assert node_id is not None
        await refuses(context.app.peer(node_id))
        asked.append(node_id)

    async with Application(extension, transport=MemoryNetwork().transport(), store=":memory:") as app:
        assert asked == [app.node_id]


async def test_it_is_not_there_before_the_start() -> None:
    transport = MemoryNetwork().transport()
    with pytest.raises(LocalProtocolError, match="the application is not started"):
        Application(make(), transport=transport).peer(transport.node_id)
