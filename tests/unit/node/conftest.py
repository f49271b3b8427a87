"""Nodes in this process, clients for them, and a peer that does as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import until

from oddwire.jsonrpc import JsonRpcClient
from oddwire.node.node import Node
from oddwire.node.node_log import Log
from oddwire.proto import PrivateKey, connect
from oddwire.proto.addresses import NodeUri
from oddwire.proto.bolt1 import CHAINS, Init
from oddwire.proto.connection import LightningConnection
from oddwire.proto.keys import PublicKey

LIMIT = 30  # seconds; reached only by what hangs


@pytest.fixture
async def stack() -> AsyncIterator[contextlib.AsyncExitStack]:
    async with contextlib.AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def start_node(stack: contextlib.AsyncExitStack, tmp_path: Path) -> Callable[..., Awaitable[Node]]:
    """Start a node that listens, in a folder of its own: ``await start_node("l1", alias=...)``."""

    async def start(name: str = "node", **options: Any) -> Node:
        options.setdefault("listen", ["127.0.0.1:0"])
        options.setdefault("log", Log(level="debug"))
        return await stack.enter_async_context(Node(tmp_path / name, **options))

    return start


@pytest.fixture
def client_of(stack: contextlib.AsyncExitStack) -> Callable[[Node], Awaitable[JsonRpcClient]]:
    async def client_of(node: Node) -> JsonRpcClient:
        return await stack.enter_async_context(JsonRpcClient(node.rpc_path))

    return client_of


@pytest.fixture
async def node(start_node: Callable[..., Awaitable[Node]]) -> Node:
    return await start_node()


@pytest.fixture
async def client(node: Node, client_of: Callable[[Node], Awaitable[JsonRpcClient]]) -> JsonRpcClient:
    return await client_of(node)


class RawPeer:
    """A peer made of BOLT 8 alone: what it sends and reads is up to the test."""

    def __init__(self, key: PrivateKey, connection: LightningConnection) -> None:
        self.id = key.public_key().hex()
        self.connection = connection

    async def send(self, payload: bytes) -> None:
        await self.connection.send_message(payload)

    async def read(self) -> bytes:
        """Read the next message of an application's, or a warning or error."""
        async with asyncio.timeout(LIMIT):
            while True:
                payload = await self.connection.read_message()
                if payload[:2] not in (b"\x00\x12", b"\x00\x13"):  # ping, pong
                    return payload


@pytest.fixture
def dial(stack: contextlib.AsyncExitStack) -> Callable[..., Awaitable[RawPeer]]:
    """Connect a bare peer to a node, and exchange init: ``await dial(node)``."""

    async def dial(node: Node, key: PrivateKey | None = None, *, introduce: bool = True) -> RawPeer:
        key = key or PrivateKey(os.urandom(32))
        uri = NodeUri.parse(node.uris[0])
        connection = await connect(key, PublicKey(uri.node_id), uri.host, uri.port)
        stack.push_async_callback(connection.aclose)
        peer = RawPeer(key, connection)
        init = await peer.read()
        assert init[:2] == b"\x00\x10"
        if introduce:
            await peer.send(Init(networks=(CHAINS[node.network],)).encode())
            await until(lambda: any(known.hex == peer.id and known.state == "connected" for known in node.peers))
        return peer

    return dial
