"""Whatever bytes a peer sends to a JSON-RPC server, each gets at most one answer, a right one, and harms nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.waiting import until

from oddwire import Application, Context, Extension, as_text, subtype, u64
from oddwire.app import PeerRpc
from oddwire.proto.keys import NodeId
from oddwire.testing import ScriptedTransport

ALICE = NodeId("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
TYPE = 37913
END = "the end"


@subtype
class Part:
    name: str
    amount: Annotated[u64, as_text] = 0


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
method = st.sampled_from(["echo", "typed", "note", "rpc.discover", ""]) | plain
identity = st.sampled_from(["1", 7, -1, None, True, 1.5]) | plain
params = st.fixed_dictionaries({}, optional={"what": plain, "part": plain, "parts": plain, "x": plain}) | plain
objects = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.sampled_from(["2.0", "2.0", "2.0", "1.0", 2.0, None]),
        "method": method,
        "id": identity,
        "params": params,
        "result": plain,
        "error": plain,
    },
)
requests = st.fixed_dictionaries({"jsonrpc": st.just("2.0"), "method": method, "id": identity, "params": params})
texts = (objects | requests | st.lists(requests, max_size=2) | plain).map(json.dumps).map(str.encode)


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    text = bytearray(draw(texts))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        text[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(text)


payloads = st.lists(st.binary(max_size=20) | texts | changed(), max_size=8)


def server() -> Extension:
    extension = Extension("server", version="1.0")
    rpc = PeerRpc(extension, TYPE)

    @rpc.method("echo", by_position=True)
    async def echo(context: Context, what: Any = None) -> Any:
        return what

    @rpc.method("typed")
    async def typed(context: Context, part: Part, parts: tuple[Part, ...] = ()) -> list[Part]:
        return [part, *parts]

    @rpc.notification("note")
    async def note(context: Context, what: Any) -> None: ...

    return extension


def run(story: Callable[[Application, ScriptedTransport], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        transport = ScriptedTransport()
        async with Application(server(), transport=transport, session=False) as app:
            transport.connect_peer(ALICE)
            await story(app, transport)

    asyncio.run(whole())


def expected_id(body: bytes) -> object:
    """Return the id that an answer should have, if it is not null."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document.get("id") if isinstance(document, dict) else None


@settings(max_examples=100, deadline=None)
@given(bodies=payloads)
def test_any_bytes(bodies: list[bytes]) -> None:
    async def story(app: Application, transport: ScriptedTransport) -> None:
        for body in bodies:
            before = len(transport.sent)
            transport.receive(ALICE, TYPE.to_bytes(2, "big") + body)
            end = {"jsonrpc": "2.0", "method": "echo", "id": END, "params": [END]}
            transport.receive(ALICE, TYPE.to_bytes(2, "big") + json.dumps(end).encode())
            await until(lambda: any(END.encode() in payload for _, payload in transport.sent[before:]))  # noqa: B023
            for _ in range(5):
                await asyncio.sleep(0)
            documents = [json.loads(payload[2:]) for _, payload in transport.sent[before:]]
            answers = [document for document in documents if document["id"] != END]
            assert len(answers) <= 1
            assert {"jsonrpc": "2.0", "id": END, "result": END} in documents
            for answer in answers:
                assert answer["jsonrpc"] == "2.0"
                assert answer.keys() in ({"jsonrpc", "id", "result"}, {"jsonrpc", "id", "error"})
                assert answer["id"] in (None, expected_id(body))
                if "error" in answer:
                    assert answer["error"]["code"] in (-32700, -32601, -32602)
                    assert isinstance(answer["error"]["message"], str)
        assert app.counters.failed == {}
        assert len(app.peers) == 1
        assert transport.hangups == []

    run(story)
