from __future__ import annotations

import logging

import pytest

from oddwire.app import Application, Context, Extension
from oddwire.errors import LocalProtocolError
from oddwire.testing import ScriptedTransport
from oddwire.transports.base import NodeId

ALICE = NodeId("02" + "aa" * 32)
BOB = NodeId("03" + "bb" * 32)


async def test_peers_are_equal_if_they_are_the_same_node() -> None:
    transport = ScriptedTransport()
    async with Application(transport=transport) as app:
        assert app.peer(ALICE) == app.peer(str(ALICE))
        assert app.peer(ALICE) != app.peer(BOB)
        assert app.peer(ALICE) != ALICE
        assert len({app.peer(ALICE), app.peer(ALICE), app.peer(BOB)}) == 2


async def test_peers_print_well() -> None:
    transport = ScriptedTransport()
    async with Application(transport=transport) as app:
        peer = app.peer(ALICE)
        assert str(peer) == str(ALICE)
        assert repr(peer) == f"<Peer {ALICE} not connected>"
        transport.connect_peer(ALICE)
        assert repr(peer) == f"<Peer {ALICE} connected>"


async def test_peers_and_contexts_hold_nothing_else() -> None:
    transport = ScriptedTransport()
    async with Application(transport=transport) as app:
        peer = app.peer(ALICE)
        for thing in (peer, Context(app, "test", peer)):
            assert not hasattr(thing, "__dict__")


async def test_a_context_knows_where_it_belongs() -> None:
    seen: list[Context] = []
    extension = Extension("test", version="1.0")

    @extension.on_connect
    async def connected(context: Context) -> None:
        seen.append(context)

    transport = ScriptedTransport()
    async with Application(extension, transport=transport) as app:
        transport.connect_peer(ALICE)
    [context] = seen
    assert context.app is app
    assert context.extension == "test"
    assert context.peer.node_id == ALICE
    assert context.logger is logging.getLogger("oddwire.extension.test")
    assert repr(context) == f"<Context of 'test' with {ALICE}>"


async def test_a_context_without_a_peer_says_how_to_get_one() -> None:
    context = Context(Application(transport="memory"), "test")
    with pytest.raises(LocalProtocolError, match="an RPC method has no peer of its own"):
        _ = context.peer
    assert repr(context) == "<Context of 'test' with no peer>"
