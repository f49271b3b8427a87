from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import until

from oddwire import Application
from oddwire.jsonrpc.client import JsonRpcClient
from oddwire.node.node import Node
from oddwire.proto import PrivateKey
from oddwire.transports import Bolt8Transport


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with Node(tmp_path / "node", network="regtest", listen=["127.0.0.1:0"]) as node:
        yield node


async def call(node: Node, method: str, **params: Any) -> Any:
    async with JsonRpcClient(node.rpc_path) as client:
        return await client.call(method, params)


async def test_it_tells_what_passes(node: Node) -> None:
    first = await call(node, "node-stats")
    assert (first["kind"], first["messages"], first["node_id"]) == ("node", [], node.node_id)
    watching = asyncio.create_task(call(node, "node-watch", wait=30))
    await until(lambda: node.insight.ring.is_kept)
    transport = Bolt8Transport(PrivateKey(bytes(31) + b"\x05"), network="regtest")
    async with Application(transport=transport, session=False) as app:
        peer = await app.connect(node.uris[0])
        (connected,) = (await watching)["events"]
        assert (connected["event"], connected["peer"]) == ("connected", str(app.node_id))
        await peer.send_raw(0x9001, b"odd")
        await call(node, "sendcustommsg", node_id=str(app.node_id), msg="9003aabb")
        await until(lambda: len(node.insight.stats()["messages"]) == 2)
        found = await call(node, "node-stats")
        rows = {(row["type"], row["direction"], row["outcome"]): row["bytes"] for row in found["messages"]}
        assert rows == {(0x9001, "received", "unknown"): 5, (0x9003, "sent", "ok"): 4}
        assert found["peers"][0]["id"] == str(app.node_id)
        for number in range(0xA001, 0xA001 + 400, 2):
            await peer.send_raw(number, b"")
        await until(lambda: sum(row["count"] for row in node.insight.stats()["messages"]) == 202)
        assert len(node.insight.stats()["messages"]) == 66
    await until(lambda: not len(node.peers))
    seen = await call(node, "node-watch", after=connected["n"])
    kinds = [event["event"] for event in seen["events"]]
    assert (kinds[0], kinds[-1], kinds.count("received")) == ("received", "disconnected", 201)
    assert seen["events"][0]["payload"] == "9001" + b"odd".hex()


async def test_parameters_that_will_not_do_are_refused(node: Node) -> None:
    with pytest.raises(Exception, match="wait: should be a number from 0 to 60"):
        await call(node, "node-watch", wait=100)
