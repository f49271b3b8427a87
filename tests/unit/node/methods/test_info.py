"""``getinfo``, ``listconfigs``, ``setconfig``, ``getlog``, ``notifications`` and ``stop``."""

from __future__ import annotations

import asyncio

import pytest

from oddwire.errors import NodeRefused


async def test_getinfo(client, node) -> None:
    info = await client.call("getinfo")
    assert info["id"] == node.node_id
    assert info["alias"] == f"oddwire-{node.node_id[2:10]}"
    assert info["color"] == node.node_id[:6]
    assert (info["num_peers"], info["num_active_channels"], info["blockheight"]) == (0, 0, 0)
    assert info["binding"][0]["port"] == int(node.uris[0].rpartition(":")[2])
    assert info["version"].startswith("v26.06.6-oddwire-")


async def test_an_address_for_websocket(start_node, client_of) -> None:
    node = await start_node(listen=["127.0.0.1:0", "ws://127.0.0.1:0"])
    tcp, websocket = (await (await client_of(node)).call("getinfo"))["binding"]
    assert tcp["type"] == "ipv4"
    port = int(node.uris[1].rpartition(":")[2])
    assert websocket == {"type": "websocket", "subtype": "ipv4", "address": "127.0.0.1", "port": port}


async def test_listconfigs(start_node, client_of) -> None:
    client = await client_of(await start_node(alias="mine"))
    configs = (await client.call("listconfigs"))["configs"]
    assert configs["alias"] == {"value_str": "mine", "source": "cmdline"}
    assert configs["addr"] == {"values_str": ["127.0.0.1:0"], "sources": ["cmdline"]}
    assert "proxy" not in configs
    assert await client.call("listconfigs", ["alias"]) == {"configs": {"alias": configs["alias"]}}
    assert await client.call("listconfigs", ["proxy"]) == {"configs": {}}
    assert configs["rpc-file"] == {"value_str": "lightning-rpc", "source": "default"}
    assert await client.call("check", ["listconfigs", "alias"]) == {"command_to_check": "listconfigs"}
    with pytest.raises(NodeRefused, match="config: Unknown config option"):
        await client.call("check", ["listconfigs", "nothing"])
    with pytest.raises(NodeRefused, match="config: Unknown config option"):
        await client.call("listconfigs", ["nothing"])


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (["alias", "x"], "config: Not a dynamic config option"),
        (["nothing", "x"], "config: Unknown config option"),
    ],
)
async def test_what_cannot_be_set(client, params: list[str], text: str) -> None:
    with pytest.raises(NodeRefused, match=text):
        await client.call("setconfig", params)


async def test_listconfigs_shows_the_name_that_was_made(client, node) -> None:
    assert await client.call("listconfigs", ["alias"]) == {
        "configs": {"alias": {"value_str": node.alias, "source": "default"}}
    }


async def test_getlog(client, node) -> None:
    node.log("debug", "a detail")
    node.log("unusual", "a wonder")
    told = await client.call("getlog", ["unusual"])
    assert [line["log"] for line in told["log"]] == ["a wonder"]
    assert 0 < told["bytes_used"] < told["bytes_max"]
    assert "a detail" in [line["log"] for line in (await client.call("getlog", ["debug"]))["log"]]
    assert "a detail" not in [line["log"] for line in (await client.call("getlog"))["log"]]


async def test_notifications_are_each_connections_own(client, node, client_of) -> None:
    other = await client_of(node)
    await client.call("notifications", [True])
    await other.call("getinfo")
    assert sorted(connection.notifications for connection in node.rpc.connections) == [False, True]
    await client.call("notifications", {"enable": False})
    assert {connection.notifications for connection in node.rpc.connections} == {False}


async def test_stop(client, node, client_of) -> None:
    other = await client_of(node)
    await other.connect()
    stopping = asyncio.create_task(client.call("stop"))
    await node.run_until_stopped()
    closing = asyncio.create_task(node.aclose())
    assert await stopping == {"result": "Shutdown complete"}
    await closing
    assert not node.rpc_path.exists()


async def test_nothing_is_begun_while_it_ends(client, node) -> None:
    await client.connect()
    node.commands.closing = True
    with pytest.raises(NodeRefused, match="shutting down") as caught:
        await client.call("getinfo")
    assert caught.value.code == -5
