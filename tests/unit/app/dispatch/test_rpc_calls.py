from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from oddwire.app import AppContext, Application, Extension
from oddwire.errors import ExtensionError, LocalProtocolError, NodeRefused, PeerNotConnected, RpcError, TransportError
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message
from oddwire.testing import ScriptedTransport
from oddwire.transports.base import HostMethod

G = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


@message(0x8C01)
class Quote(Message):
    millisats: int


extension = Extension("quote", version="1.0")


@extension.rpc("quote-ask")
async def ask(context: AppContext, node_id: NodeId, asset: str = "eur", *, times: int = 1) -> object:
    """Ask a peer."""
    assert type(node_id) is NodeId
    assert context.extension == "quote"
    return {"node": node_id, "asset": asset * times}


@extension.rpc("quote-do")
async def do(context: AppContext, what: str) -> object:
    match what:
        case "nothing":
            return None
        case "quote":
            return Quote(millisats=7)
        case "refuse":
            raise NodeRefused("no such channel", code=-42, data={"a": 1})
        case "answer":
            raise RpcError(1201, "the till has\tnot that much", data={"node": NodeId(G), "quote": Quote(millisats=7)})
        case "plainly":
            raise RpcError(-7, "no")
        case "wrong data":
            raise RpcError(1202, "no such order", data={"object": object()})
        case "peer":
            raise PeerNotConnected("no connection", node_id=G)
        case "value":
            raise ValueError("should be odd")
        case "foreign":
            raise ValueError("the peer says \x9b2J\n\u202e東京\ud800")
        case "silent":
            raise ValueError
        case "bug":
            raise KeyError("bug")
        case "exit":
            sys.exit(3)
        case "cancel":
            raise asyncio.CancelledError
        case "object":
            return object()
        case "itself":
            found: list[object] = []
            found.append(found)
            return found
        case "aclose":
            await context.app.aclose()
        case "hang":
            await asyncio.Event().wait()
    raise AssertionError(what)


@pytest.fixture
async def app() -> AsyncIterator[Application]:
    async with Application(extension, transport=ScriptedTransport()) as app:
        yield app


def method(app: Application, name: str) -> HostMethod:
    return next(method for method in app.manifest.rpc_methods if method.name == name)


async def test_the_host_is_told_of_the_methods(app: Application) -> None:
    assert [(m.name, m.usage, m.description) for m in app.manifest.rpc_methods] == [
        ("quote-ask", "node_id [asset] [times]", "Ask a peer."),
        ("quote-do", "what", ""),
    ]


async def test_the_host_gets_json(app: Application) -> None:
    assert await method(app, "quote-ask").call([G]) == {"node": G, "asset": "eur"}
    assert await method(app, "quote-ask").call({"node_id": G, "times": "2"}) == {"node": G, "asset": "eureur"}
    assert await method(app, "quote-do").call(["quote"]) == {"millisats": 7}
    assert await method(app, "quote-do").call(["nothing"]) == {}


@pytest.mark.parametrize(
    ("what", "code", "text", "logged"),
    [
        ("refuse", -42, "no such channel", False),
        ("answer", 1201, r"the till has\tnot that much", False),
        ("plainly", -7, "no", False),
        ("wrong data", 1202, "no such order", False),
        ("peer", -1, "no connection", False),
        ("value", -1, "should be odd", False),
        ("foreign", -1, r"the peer says \x9b2J\n\u202e東京\ud800", False),  # lightning-cli would print it as it is
        ("silent", -1, "ValueError", False),
        ("bug", -32603, "quote-do: internal error (see logs)", True),
        ("exit", -32603, "quote-do: internal error (see logs)", True),
        ("cancel", -32603, "quote-do: internal error (see logs)", True),
        ("object", -32603, "quote-do: internal error (see logs)", True),
        ("itself", -32603, "quote-do: internal error (see logs)", True),
        ("aclose", -1, "aclose would wait for the handler that called it: call stop() instead", False),
    ],
)
async def test_the_host_gets_codes(
    app: Application, caplog: pytest.LogCaptureFixture, what: str, code: int, text: str, logged: bool
) -> None:
    with pytest.raises(NodeRefused) as caught:
        await method(app, "quote-do").call([what])
    assert (caught.value.code, str(caught.value)) == (code, text)
    assert ("RPC method quote-do of 'quote' failed" in caplog.text) is logged
    if what == "itself":
        assert caplog.text.endswith("what the method returned: it is nested too deep, or in itself\n")
        assert caplog.text.count("\n") < 30
    if what == "refuse":
        assert caught.value.data == {"a": 1}
    if what == "answer":
        assert caught.value.to_json()["data"] == {"node": G, "quote": {"millisats": 7}}
    if what == "plainly":
        assert caught.value.to_json() == {"code": -7, "message": "no"}
    if what == "wrong data":
        assert caught.value.data is None
        assert "the data of its RpcError is left out: JSON cannot hold <object object" in caplog.text


async def test_a_cancelled_call_is_cancelled(app: Application) -> None:
    call = asyncio.create_task(method(app, "quote-do").call(["hang"]))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()


async def test_check_looks_at_the_parameters_alone(app: Application) -> None:
    method(app, "quote-do").check(["bug"])
    for params, text in [([], "missing required parameter: what"), (["a", "b"], "too many parameters")]:
        with pytest.raises(NodeRefused, match=text) as caught:
            method(app, "quote-do").check(params)
        assert caught.value.code == -32602


async def test_the_program_calls_by_the_same_rules(app: Application) -> None:
    expected = {"node": NodeId(G), "asset": "usd"}
    assert await app.call("quote-ask", G, "usd") == expected
    assert await app.call("quote-ask", NodeId(G), asset="usd") == expected
    assert await app.call("quote-ask", node_id=G, asset="usd") == expected
    assert await app.call("quote-do", "quote") == Quote(millisats=7)
    assert await app.call("quote-do", "nothing") is None
    for arguments, named, text in [
        (("x",), {}, "node_id: should be a node id: invalid token '\"x\"'"),
        ((G,), {"node_id": G}, "parameter node_id is given twice"),
        ((G,), {"aset": "usd"}, "unknown parameter: aset"),
        ((G, "usd", 1, 2), {"aset": "usd"}, "too many parameters: got 4, expected 3"),
        ((), {"asset": "usd"}, "missing required parameter: node_id"),
    ]:
        with pytest.raises(NodeRefused, match=text) as caught:
            await app.call("quote-ask", *arguments, **named)
        assert caught.value.code == -32602
    with pytest.raises(ExtensionError, match="no RPC method 'quote-aks' is loaded; there are: quote-ask, quote-do"):
        await app.call("quote-aks")


@pytest.mark.parametrize(
    ("what", "error"), [("value", ValueError), ("bug", KeyError), ("exit", SystemExit), ("wrong data", RpcError)]
)
async def test_the_program_gets_what_the_method_raises(app: Application, what: str, error: type[BaseException]) -> None:
    with pytest.raises(error):
        await app.call("quote-do", what)


async def test_nothing_is_called_before_the_start_or_without_a_host() -> None:
    app = Application(extension, transport=ScriptedTransport())
    with pytest.raises(LocalProtocolError, match="the application is not started"):
        await app.call("quote-ask", G)
    async with app:
        with pytest.raises(TransportError, match="ScriptedTransport has no host node to call 'getinfo' on"):
            await app.node.call("getinfo")
