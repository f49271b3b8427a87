from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from oddwire.app import AppContext, Application, Context, Extension, HostNode, Peer
from oddwire.proto.keys import NodeId
from oddwire.schema import Message
from oddwire.testing import ScriptedTransport
from oddwire.transports.host import HostTransport

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
        for thing in (peer, AppContext(app, "test"), Context(app, "test", peer)):
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
    assert context.logger.name == "oddwire.extension.test"
    assert repr(context) == f"<Context of 'test' with {ALICE}>"


async def test_a_context_without_a_peer_says_how_to_get_one() -> None:
    context: Any = AppContext(Application(transport="memory"), "test")
    with pytest.raises(AttributeError, match=r"this context has no peer: context\.app\.peer\(node_id\) returns one"):
        _ = context.peer
    assert not hasattr(context, "peer")
    assert repr(context) == "<AppContext of 'test'>"


async def test_a_context_says_what_is_the_applications() -> None:
    """Who writes ``async def begin(app)`` for a hook is told."""
    app = Application(transport=ScriptedTransport())
    for context in (AppContext(app, "test"), Context(app, "test", Peer(None, ALICE))):  # type: ignore[arg-type]
        with pytest.raises(
            AttributeError, match=r"a context has no 'connect', its application has: context\.app\.connect$"
        ):
            context.connect  # type: ignore[attr-defined]  # noqa: B018
        with pytest.raises(AttributeError, match=r"^a context has no 'piers'$"):
            context.piers  # type: ignore[attr-defined]  # noqa: B018


async def test_send_says_what_is_reliable() -> None:
    transport = ScriptedTransport()
    async with Application(transport=transport) as app:
        for reliable in (True, False):
            with pytest.raises(TypeError, match=r"'await peer\.deliver\(message\)' is, and returns a Receipt"):
                app.peer(ALICE).send(Message(), reliable=reliable)  # type: ignore[arg-type]


async def test_a_context_has_the_applications_node_and_options() -> None:
    extension = Extension("test", version="1.0")

    @extension.option("test-volume")
    def volume(value: int = 7) -> int:
        return value

    async with Application(extension, transport=ScriptedTransport()) as app:
        context = AppContext(app, "test")
        assert context.node is app.node
        assert context.options is app.options
        assert context.options["test-volume"] == 7


class Hosted(HostTransport, ScriptedTransport):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    async def call(
        self,
        method: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        self.calls.append((method, params, timeout))
        return {"id": 7}


async def test_a_host_node_is_called_by_position_or_by_name() -> None:
    transport = Hosted()
    node = HostNode(transport)
    assert await node.call("getinfo") == {"id": 7}
    await node.call("connect", ["x@y"], timeout=3)
    await node.call("listpeerchannels", id=ALICE)
    await node.call("pay", {"timeout": 5, "label": b"\xff"})
    assert transport.calls == [
        ("getinfo", {}, None),
        ("connect", ["x@y"], 3),
        ("listpeerchannels", {"id": str(ALICE)}, None),
        ("pay", {"timeout": 5, "label": "ff"}, None),
    ]
    with pytest.raises(TypeError, match="parameters in one place, params or keywords"):
        await node.call("pay", [1], label="x")
    with pytest.raises(TypeError, match="params should be a list or a dict, not 'x@y'"):
        await node.call("connect", "x@y")
    with pytest.raises(TypeError, match="JSON cannot hold"):
        await node.call("pay", [object()])
    assert repr(node) == "<HostNode behind Hosted>"


@pytest.mark.parametrize("timeout", ["x", float("nan"), -1.0, True, b"5"])
async def test_a_time_that_is_none_is_refused_at_once(timeout: Any) -> None:
    transport = ScriptedTransport()
    async with Application(transport=transport) as app:
        transport.connect_peer(ALICE)
        peer = app.peer(ALICE)
        for call in (peer.request, peer.stream):
            with pytest.raises((TypeError, ValueError), match=r"timeout should be a number of seconds, 0 or more"):
                call(Message(), Message, timeout=timeout)
        with pytest.raises((TypeError, ValueError), match=r"call\('getinfo'\): timeout should be a number of seconds"):
            await app.node.call("getinfo", timeout=timeout)


@pytest.mark.parametrize("credit", ["x", 0, -1, 1.5, True])
async def test_a_credit_that_is_none_is_refused_at_once(credit: Any) -> None:
    transport = ScriptedTransport()
    async with Application(transport=transport) as app:
        with pytest.raises((TypeError, ValueError), match="credit should be a number of parts, 1 or more"):
            app.peer(ALICE).stream(Message(), Message, credit=credit)
