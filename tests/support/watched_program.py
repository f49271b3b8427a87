"""A program that is watched, as far as its socket shows: scripted answers of its ``stats`` and ``watch``."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any

from oddwire.jsonrpc import JsonRpcServer, encode

__all__ = ["ALICE", "BOB", "WatchedProgram"]

ALICE = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
BOB = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"
NO_METHOD = -32601


class WatchedProgram:
    """Serves the two methods at ``path`` as an async context, with numbers that a test sets and events that it adds."""

    def __init__(
        self, path: str | os.PathLike[str], *, pid: int = 1, prefix: str = "oddwire", name: str = "talk"
    ) -> None:
        self.path = path
        self.pid = pid
        self.counts: dict[tuple[int, str, str], list[int]] = {}
        self.peers: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.more: dict[str, Any] = {}
        """What answers of ``stats`` have in addition, or instead."""
        self.forgotten = 0
        """How many events, the first, are not kept any more."""
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self._prefix, self._name = prefix, name
        self._began = time.monotonic()
        self._changed = asyncio.Event()
        self._server = JsonRpcServer(path, self._handle)

    async def __aenter__(self) -> WatchedProgram:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.stop_listening()
        for connection in list(self._server.connections):
            connection.abort()
        await self._server.aclose()

    def connect(self, peer: str, **more: Any) -> None:
        self.peers[peer] = {"id": peer, "address": "127.0.0.1:9735", "direction": "in", "connected": 1.5, **more}
        self.add({"event": "connected", "peer": peer, "address": "127.0.0.1:9735"})

    def message(
        self, direction: str, payload: str, name: str = "", fields: Any = None, peer: str = ALICE, **more: Any
    ) -> None:
        """Let a message pass: an event, and counted."""
        data = bytes.fromhex(payload)
        type_id = int.from_bytes(data[:2], "big")
        entry = self.counts.setdefault((type_id, name, direction), [0, 0])
        entry[0] += 1
        entry[1] += len(data)
        if peer in self.peers:
            self.peers[peer][direction] = self.peers[peer].get(direction, 0) + 1
        known = {} if not name else {"schema": name, "message": fields}
        self.add({"event": direction, "peer": peer, "type": type_id, "payload": data.hex(), **known, **more})

    def add(self, event: dict[str, Any]) -> None:
        self.events.append({"n": len(self.events) + 1, "time": time.time(), **event})
        self._changed.set()

    def stats(self) -> dict[str, Any]:
        return {
            "program": self._name,
            "kind": "run",
            "pid": self.pid,
            "oddwire": "0.1.0",
            "node_id": BOB,
            "uptime": time.monotonic() - self._began,
            "time": time.time(),
            "extensions": [{"name": "chat", "version": "1.0"}],
            "messages": [
                {
                    "extension": name.partition(".")[0],
                    "type": type_id,
                    "message": name or None,
                    "direction": direction,
                    "outcome": "ok",
                    "count": count,
                    "bytes": size,
                }
                for (type_id, name, direction), (count, size) in self.counts.items()
            ],
            "peers": [*self.peers.values()],
            "peers_total": len(self.peers),
            "queues": {"messages": 3, "bytes": 2048, "tasks": 1},
            "outbox": [{"extension": "chat", "waiting": 2, "bytes": 100}],
            "limits": {},
            **self.more,
        }

    def _handle(self, request: Any, _connection: Any) -> Any:
        method, params = request["method"], request.get("params") or {}
        self.asked.append((method, params))
        if method == f"{self._prefix}-stats":
            return encode({"jsonrpc": "2.0", "id": request["id"], "result": self.stats()})
        if method == f"{self._prefix}-watch":
            return self._watch(request["id"], params)
        error = {"code": NO_METHOD, "message": f"Unknown command '{method}'"}
        return encode({"jsonrpc": "2.0", "id": request["id"], "error": error})

    async def _watch(self, ident: Any, params: Mapping[str, Any]) -> bytes:
        after = params.get("after", len(self.events))
        deadline = time.monotonic() + params.get("wait", 0)
        while len(self.events) <= after and (left := deadline - time.monotonic()) > 0:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                break
        begin = max(after, self.forgotten)
        events = self.events[begin : begin + params.get("limit", 1000)]
        result = {"events": events, "next": begin + len(events), "missed": begin - after, "node_id": BOB}
        return encode({"jsonrpc": "2.0", "id": ident, "result": result})
