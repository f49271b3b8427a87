"""A server whose methods are made for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from oddwire.jsonrpc import JsonRpcServer, RpcConnection, encode


class Methods:
    """``echo`` answers at once, ``wait`` when `release` is called, ``fail`` with an error, ``big`` with many bytes."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.seen: list[Any] = []
        self.waiting = 0

    def __call__(self, document: Any, connection: RpcConnection) -> bytes | Coroutine[Any, Any, bytes]:
        self.seen.append(document)
        key = document["id"]
        match document["method"]:
            case "wait":
                return self._wait(key)
            case "fail":
                error = {"code": -7, "message": "no", "data": {"why": 1}, "where": "here"}
                return encode({"jsonrpc": "2.0", "id": key, "error": error})
            case "big":
                return encode({"jsonrpc": "2.0", "id": key, "result": "x" * document["params"][0]})
            case "tell":
                connection.send(encode({"jsonrpc": "2.0", "method": "message", "params": {"id": key, "level": "info"}}))
            case "hang up":
                connection.abort()
        return encode({"jsonrpc": "2.0", "id": key, "result": document["params"]})

    async def _wait(self, key: Any) -> bytes:
        self.waiting += 1
        await self.gate.wait()
        return encode({"jsonrpc": "2.0", "id": key, "result": "waited"})


@pytest.fixture
def methods() -> Methods:
    return Methods()


@pytest.fixture
async def server(tmp_path: Path, methods: Methods) -> AsyncIterator[JsonRpcServer]:
    server = JsonRpcServer(tmp_path / "rpc", methods)
    await server.start()
    yield server
    methods.gate.set()
    await server.aclose()


@pytest.fixture
async def dial(
    server: JsonRpcServer,
) -> AsyncIterator[Callable[[], Coroutine[Any, Any, tuple[asyncio.StreamReader, asyncio.StreamWriter]]]]:
    """Open a bare connection to the server."""
    writers: list[asyncio.StreamWriter] = []

    async def dial() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(str(server.path), limit=1 << 24)
        writers.append(writer)
        return reader, writer

    yield dial
    for writer in writers:
        writer.transport.abort()
