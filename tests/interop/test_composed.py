"""One extension of several modules, with all that docs/composing.md is about, wherever it runs: the same tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from oddwire import Application, RpcError
from oddwire.proto import NodeId, PrivateKey
from oddwire.transports import Manifest, Transport
from oddwire.transports.bolt8 import Bolt8Transport
from oddwire.transports.memory import MemoryNetwork

from .conftest import Recorder

pytestmark = pytest.mark.interop

EXTENSION = Path(__file__).parent / "extensions" / "composed.py"
LIMIT = 30  # seconds; reached only by what hangs


def order(number: int) -> bytes:
    return struct.pack(">HI", 0x8D31, number)


def ordered(number: int) -> bytes:
    return struct.pack(">HI", 0x8D33, number)


def ping(number: int) -> bytes:
    return struct.pack(">HI", 0x8D35, number)


def offer(number: int) -> bytes:
    return struct.pack(">HI", 0x8D36, number)


class Stage:
    """Where the extension runs, and a plain peer in the test that is connected to it: it says no hello."""

    def __init__(self, node_id: str, transport: Transport, sink: Recorder, call: Callable[..., Awaitable[Any]]) -> None:
        self.call = call
        self._node_id = NodeId(node_id)
        self._transport = transport
        self._sink = sink

    async def send(self, *payloads: bytes) -> None:
        for payload in payloads:
            await self._transport.send(self._node_id, payload)

    async def received(self, count: int) -> list[bytes]:
        """Wait for so many messages; the session's greetings and peer storage are left out."""
        found: list[bytes] = []
        async with asyncio.timeout(LIMIT):
            while len(found) < count:
                _, payload = await self._sink.payloads.get()
                if payload[:2] not in (b"\xc0\xdd", b"\x00\x07"):
                    found.append(payload)
        return found


@contextlib.asynccontextmanager
async def inside(transport: Transport, peer: Transport, features: frozenset[int]) -> AsyncIterator[Stage]:
    sink = Recorder()
    await peer.open(Manifest(features=features), sink)
    async with Application(str(EXTENSION), transport=transport) as app:
        await peer.connect(app.uris[0])
        yield Stage(str(app.node_id), peer, sink, app.call)
    await peer.aclose()


@contextlib.asynccontextmanager
async def stage_of(kind: str, start_ours: Any, start: Any, features: frozenset[int]) -> AsyncIterator[Stage]:
    if kind == "memory":
        network = MemoryNetwork()
        peer: Transport = network.transport()
        async with inside(network.transport(), peer, features) as stage:
            yield stage
    elif kind == "bolt8":
        ours, theirs = (Bolt8Transport(PrivateKey(os.urandom(32)), listen=["127.0.0.1:0"]) for _ in range(2))
        async with inside(ours, theirs, features) as stage:
            yield stage
    else:
        daemon = getattr(start, kind)(EXTENSION)
        transport, sink = await start_ours(features=features)
        await transport.connect(daemon.uri, keep=False)
        await daemon.until_connected(str(transport.node_id))
        stage = Stage(daemon.node_id, transport, sink, daemon.call)
        stage.daemon = daemon  # type: ignore[attr-defined]
        yield stage


KINDS = ["memory", "bolt8", "node", pytest.param("lightningd", marks=pytest.mark.cln)]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_plain_peer_meets_all_of_it(kind: str, start_ours: Any, start: Any) -> None:
    async with stage_of(kind, start_ours, start, frozenset({641})) as stage:
        # Middleware of the extension and of its router, around a router's handler
        await stage.send(order(1), order(404), order(2))
        assert await stage.received(2) == [ordered(2), ordered(3)]
        # Odd and even types without a schema; the even one is no reason to hang up, and what is in no range is ignored
        await stage.send(b"\x90\x01abc", b"\x90\x11no", b"\x90\x02abc", b"\x90\x0f")
        assert await stage.received(3) == [b"\x90\x01cba", b"\x90\x02cba", b"\x90\x0f"]
        # A handler with a rate, whose answer is of an even type that is known; a plain peer shows nothing of it
        await stage.send(*map(ping, range(6)))
        assert await stage.received(6) == [*map(offer, range(6))]
        told = await stage.call("composed-journal")
        routed = [entry for entry in told["journal"] if entry != "router: Ping"]
        assert routed == ["router: Order", "reply 1", "router: Order", "reply 2", *range(6)]
        assert told["throttled"] == {"rate": 4}


@pytest.mark.parametrize("kind", KINDS)
async def test_an_even_type_without_a_schema_goes_to_none_that_does_not_show_it(
    kind: str, start_ours: Any, start: Any
) -> None:
    async with stage_of(kind, start_ours, start, frozenset()) as stage:
        await stage.send(b"\x90\x02abc", b"\x90\x01abc")
        assert await stage.received(1) == [b"\x90\x01cba"]


@pytest.mark.parametrize("kind", ["memory", "bolt8"])
async def test_a_program_gets_the_error_as_it_was_raised(kind: str, start_ours: Any, start: Any) -> None:
    async with stage_of(kind, start_ours, start, frozenset()) as stage:
        with pytest.raises(RpcError) as caught:
            await stage.call("composed-pay", 5)
        found = caught.value.code, caught.value.text, caught.value.data
        assert found == (1201, "the till has not that much", {"missing": 5, "who": ["alice", None]})


@pytest.mark.parametrize("kind", ["node", pytest.param("lightningd", marks=pytest.mark.cln)])
async def test_a_client_of_the_node_gets_its_code_text_and_data(kind: str, start: Any) -> None:
    daemon = getattr(start, kind)(EXTENSION)
    expected = {
        "code": 1201,
        "message": "the till has not that much",
        "data": {"missing": 5, "who": ["alice", None]},
    }
    with pytest.raises(Exception, match="the till has not that much") as caught:
        await daemon.call("composed-pay", 5)
    assert caught.value.error == expected  # type: ignore[attr-defined]
    command = [sys.executable, "-m", "oddwire", "call", "--rpc-file", str(daemon.rpc.socket_path), "composed-pay", "5"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)) == (1, expected)
