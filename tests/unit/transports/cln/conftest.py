"""A node for the transport under test: the other end of its stdin and stdout, and a socket with the node's RPC."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from oddwire.errors import NodeRefused
from oddwire.jsonrpc import JsonRpcServer, JsonSplitter, encode
from oddwire.testing.sinks import RecordingSink
from oddwire.transports.base import Manifest
from oddwire.transports.cln import ClnTransport

NODE_ID = "03" + "77" * 32
PEER = "02" + "11" * 32
DEADLINE = 20  # seconds; reached only by a test that hangs


def custommsg(number: int, payload: str, peer: str = PEER) -> bytes:
    """A hook call as lightningd writes it."""
    return (
        f'{{"jsonrpc":"2.0","id":"cln:custommsg#{number}","method":"custommsg",'
        f'"params":{{"payload":"{payload}","peer_id":"{peer}"}}}}\n\n'
    ).encode()


class FakeNode:
    """Says what a test has it say. ``heard`` is every document that came, ``answers`` those with an id, by it.

    Its RPC answers ``listpeers`` with ``peers``, ``sendcustommsg`` by keeping it in ``sent``, and other methods by
    ``methods``: a function of the parameters, whose exception is the error. Until ``gate`` is set, it answers nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.heard: list[dict[str, Any]] = []
        self.answers: dict[Any, dict[str, Any]] = {}
        self.peers: dict[str, dict[str, Any]] = {}
        self.sent: list[tuple[str, bytes]] = []
        self.asked: list[tuple[str, Any]] = []
        self.methods: dict[str, Callable[[Any], Any]] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.server = JsonRpcServer(folder / "rpc", self._answer)
        self.way, plugin = socket.socketpair()
        self.fd = plugin.detach()
        self.way.setblocking(False)
        self._changed = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.server.start()
        self._reader = asyncio.create_task(self._read())

    async def aclose(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        self.way.close()
        await self.server.aclose()

    # stdin and stdout

    async def write(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.way, data)

    async def ask(self, method: str, params: Any, key: Any = None) -> None:
        await self.write(
            encode({"jsonrpc": "2.0", "id": method if key is None else key, "method": method, "params": params})
        )

    async def tell(self, method: str, params: Any) -> None:
        await self.write(encode({"jsonrpc": "2.0", "method": method, "params": params}))

    async def request(self, method: str, params: Any, key: Any = None) -> dict[str, Any]:
        """Ask, and wait for the answer."""
        await self.ask(method, params, key)
        return await self.answer_to(method if key is None else key)

    async def answer_to(self, key: Any) -> dict[str, Any]:
        await self.until(lambda: key in self.answers)
        return self.answers.pop(key)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    @property
    def log(self) -> list[str]:
        return [doc["params"]["message"] for doc in self.heard if doc.get("method") == "log"]

    async def _read(self) -> None:
        loop, splitter = asyncio.get_running_loop(), JsonSplitter()
        try:
            while data := await loop.sock_recv(self.way, 65536):
                for document in splitter.feed(data):
                    self.heard.append(document)
                    if "id" in document:
                        self.answers[document["id"]] = document
                self._changed.set()
        except OSError:
            return

    # Its life as lightningd

    async def introduce(self, options: dict[str, Any] | None = None, *, wait: bool = False) -> dict[str, Any]:
        """Ask for the manifest, then send init; give the manifest."""
        manifest = await self.request("getmanifest", {"allow-deprecated-apis": False})
        configuration = {"lightning-dir": str(self.folder), "rpc-file": "rpc", "startup": True, "network": "regtest"}
        await self.ask("init", {"options": options or {}, "configuration": configuration})
        if wait:
            await self.answer_to("init")
        return manifest["result"]

    def has_peer(self, peer: str = PEER, features: str = "80") -> None:
        self.peers[peer] = {"id": peer, "connected": True, "netaddr": ["127.0.0.1:1"], "features": features}

    async def connects(self, peer: str = PEER) -> None:
        self.has_peer(peer)
        address = {"type": "ipv4", "address": "127.0.0.1", "port": 1}
        await self.tell("connect", {"connect": {"id": peer, "direction": "in", "address": address}})

    async def disconnects(self, peer: str = PEER) -> None:
        self.peers.pop(peer, None)
        await self.tell("disconnect", {"disconnect": {"id": peer}})

    # RPC

    async def _answer(self, request: Any, connection: Any) -> bytes:
        method, params = request["method"], request["params"]
        self.asked.append((method, params))
        self._changed.set()
        body: dict[str, Any]
        try:
            await self.gate.wait()
            body = {"result": self._result(method, params)}
        except Exception as error:
            body = {"error": error.to_json() if isinstance(error, NodeRefused) else {"code": -32603, "message": ""}}
        return encode({"jsonrpc": "2.0", "id": request["id"], **body})

    def _result(self, method: str, params: Any) -> Any:
        if method in self.methods:
            return self.methods[method](params)
        if method == "getinfo":
            here = {"type": "ipv4", "address": "127.0.0.1", "port": 9}
            return {
                "id": NODE_ID,
                "address": [here],
                "binding": [{**here, "address": "0.0.0.0"}, here, {"socket": "/x"}],
            }
        if method == "listpeers":
            wanted = params[0] if params else None
            return {"peers": [peer for key, peer in self.peers.items() if wanted in (None, key)]}
        if method == "sendcustommsg":
            self.sent.append((params["node_id"], bytes.fromhex(params["msg"])))
            return {"status": "Message sent to connectd for delivery"}
        return json.loads(json.dumps([method, params]))


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[FakeNode]:
    node = FakeNode(tmp_path)
    await node.start()
    yield node
    await node.aclose()


@pytest.fixture
async def opened(node: FakeNode) -> AsyncIterator[Callable[..., Any]]:
    """Opens a transport on the node: gives it and its sink."""
    transports: list[ClnTransport] = []

    async def open_one(manifest: Manifest | None = None, **options: Any) -> tuple[ClnTransport, RecordingSink]:
        options.setdefault("receive", "hook")
        transport = ClnTransport(stdin=node.fd, stdout=node.fd, version="v26.06", **options)
        transports.append(transport)
        sink = RecordingSink(patience=DEADLINE)
        introduced = asyncio.create_task(node.introduce())
        await transport.open(manifest or Manifest(type_ids=frozenset({0x8C01})), sink)
        await introduced
        await node.answer_to("init")
        return transport, sink

    yield open_one
    for transport in transports:
        await transport.aclose()
        transport.finish()
