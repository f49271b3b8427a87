"""An extension wherever it runs (memory, bolt8, the embedded node, lightningd), and a plain peer that is connected."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from oddwire import Application
from oddwire.proto import NodeId, PrivateKey
from oddwire.transports import Manifest, Transport
from oddwire.transports.bolt8 import Bolt8Transport
from oddwire.transports.memory import MemoryNetwork

from .conftest import Recorder

LIMIT = 30  # seconds; reached only by what hangs
KINDS = ["memory", "bolt8", "node", pytest.param("lightningd", marks=pytest.mark.cln)]


class Stage:
    """Where the extension runs, and a plain peer in the test that is connected to it: it says no hello."""

    def __init__(self, node_id: str, transport: Transport, sink: Recorder, call: Callable[..., Awaitable[Any]]) -> None:
        self.call = call
        self.peer_id = str(transport.node_id)
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
async def inside(
    extension: Path, transport: Transport, peer: Transport, features: frozenset[int]
) -> AsyncIterator[Stage]:
    sink = Recorder()
    await peer.open(Manifest(features=features), sink)
    async with Application(str(extension), transport=transport, store=":memory:") as app:
        await peer.connect(app.uris[0])
        yield Stage(str(app.node_id), peer, sink, app.call)
    await peer.aclose()


@contextlib.asynccontextmanager
async def stage_of(
    kind: str, extension: Path, start_ours: Any, start: Any, features: frozenset[int] = frozenset()
) -> AsyncIterator[Stage]:
    """Run an extension where ``kind`` says, and connect a peer to it."""
    if kind == "memory":
        network = MemoryNetwork()
        peer: Transport = network.transport()
        async with inside(extension, network.transport(), peer, features) as stage:
            yield stage
    elif kind == "bolt8":
        ours, theirs = (Bolt8Transport(PrivateKey(os.urandom(32)), listen=["127.0.0.1:0"]) for _ in range(2))
        async with inside(extension, ours, theirs, features) as stage:
            yield stage
    else:
        daemon = getattr(start, kind)(extension)
        transport, sink = await start_ours(features=features)
        await transport.connect(daemon.uri, keep=False)
        await daemon.until_connected(str(transport.node_id))
        stage = Stage(daemon.node_id, transport, sink, daemon.call)
        stage.daemon = daemon  # type: ignore[attr-defined]
        yield stage
