"""``connect``, ``disconnect`` and ``listpeers``, with the answers lightningd was seen to give."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.waiting import until

from oddwire.errors import NodeRefused
from oddwire.proto import PrivateKey

STRANGER = PrivateKey(b"\7" * 32).public_key().hex()


async def refusal(client, method: str, params: Any) -> tuple[int, str]:
    with pytest.raises(NodeRefused) as caught:
        await client.call(method, params)
    return caught.value.code, str(caught.value)


@pytest.fixture
async def two(start_node):
    return await start_node("two")


async def test_every_way_to_name_a_node(client, two) -> None:
    host, port = two.uris[0].partition("@")[2].split(":")
    address = {"type": "ipv4", "address": host, "port": int(port)}
    expected = {"id": two.node_id, "features": "20000000a202", "direction": "out", "address": address}
    for params in (
        {"id": two.node_id, "host": host, "port": int(port)},
        [two.node_id, host, port],
        [two.uris[0]],
        [two.node_id, f"{host}:{port}"],
        [two.node_id, f"{host}:{port}", 1],  # as lightningd: that port is the one of a host without
        [two.node_id],
    ):
        assert await client.call("connect", params) == expected  # connected already, or again
        await client.call("disconnect", [two.node_id])
    for _ in range(2):
        assert await client.call("connect", [two.node_id]) == expected


async def test_a_node_that_listens_by_websocket(client, start_node) -> None:
    two = await start_node("two", listen=["127.0.0.1:0", "ws://127.0.0.1:0"])
    address = two.uris[1].partition("@")[2]
    port = int(address.rpartition(":")[2])
    for params in ([two.uris[1]], [two.node_id, address], [two.node_id, "ws://127.0.0.1", port], [two.node_id]):
        peer = await client.call("connect", params)
        assert peer["address"] == {"type": "ipv4", "address": "127.0.0.1", "port": port}
        await client.call("disconnect", [two.node_id])
    assert await refusal(client, "connect", [f"{two.node_id}@http://a:1"]) == (-32602, "malformed host @part")


async def test_many_at_once_make_one_connection(client, two) -> None:
    answers = await asyncio.gather(*(client.call("connect", [two.uris[0]]) for _ in range(10)))
    assert len({answer["address"]["port"] for answer in answers}) == 1
    assert len(two.peers) == 1


async def test_where_nobody_is(client, two) -> None:
    assert await refusal(client, "connect", [STRANGER]) == (400, "Unable to connect, no address known for peer")
    assert await refusal(client, "connect", [two.node_id, "127.0.0.1", 1]) == (
        401,
        "All addresses failed: 127.0.0.1:1: Connection establishment: Connection refused. ",
    )
    address = two.uris[0].partition("@")[2]
    assert await refusal(client, "connect", [f"{STRANGER}@{address}"]) == (
        401,
        f"All addresses failed: {address}: Cryptographic handshake: peer closed connection (wrong key?). ",
    )
    # What failed is not remembered
    assert (await refusal(client, "connect", [STRANGER]))[0] == 400


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ([], "missing required parameter: id"),
        (["x"], "id: should be a node id: invalid token (see logs for details)"),
        ([f"{STRANGER}@"], "malformed host @part"),
        ([f"{STRANGER}@127.0.0.1:0"], "malformed host @part"),
        ([f"{STRANGER}@[::1]:00"], "malformed host @part"),
        ([f"{STRANGER}@h", "h"], "Can't specify host as both xxx@yyy and separate argument"),
        ([f"{STRANGER}@h:1", None, 2], "Can't specify port as both xxx@yyy:port and separate argument"),
        ([STRANGER, None, 2], "Can't specify port without host"),
        ([STRANGER, "h", 0], "port: should be non-zero: invalid token (see logs for details)"),
        ([STRANGER, "h", 65536], "port: should be a 16-bit integer: invalid token (see logs for details)"),
    ],
)
async def test_what_makes_no_sense(client, params: list[Any], text: str) -> None:
    assert await refusal(client, "connect", params) == (-32602, text)


@pytest.mark.parametrize("host", ["", " ", "a b", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x", "[::1", "::1:x"])
async def test_a_host_that_is_none(client, host: str) -> None:
    code, text = await refusal(client, "connect", [STRANGER, host])
    assert code == -32602
    assert text.startswith("host: ")


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
async def test_a_name_that_cannot_be_resolved(client, host: str) -> None:
    code, text = await refusal(client, "connect", [f"{STRANGER}@{host}:1"])
    assert code == -1
    assert text.startswith(f"Host {host}:1 not valid: ")


async def test_oneself(client, node) -> None:
    code, text = await refusal(client, "connect", [node.uris[0]])
    assert code == -1
    assert "that is this node itself" in text


async def test_disconnect(client, two) -> None:
    assert await refusal(client, "disconnect", [two.node_id]) == (-32602, f"Unknown peer '{two.node_id}'")
    assert (await refusal(client, "disconnect", ["x"]))[1].startswith("id: invalid peer id: ")
    await client.call("connect", [two.uris[0]])
    await client.call("check", ["disconnect", two.node_id])
    # As lightningd: a text is no boolean
    assert (await refusal(client, "disconnect", [two.node_id, "true"]))[1].startswith(
        "force: should be 'true' or 'false'"
    )
    assert len((await client.call("listpeers"))["peers"]) == 1
    assert await client.call("disconnect", [two.node_id, True]) == {}
    assert await client.call("listpeers") == {"peers": []}


async def test_a_kept_node_is_known_while_it_is_away(start_node, client_of) -> None:
    two = await start_node("two")
    node = await start_node("keeper", connect=[two.uris[0], f"{STRANGER}@127.0.0.1:1"])
    client = await client_of(node)
    await until(lambda: len(node.peers) == 1)
    listed = {peer["id"]: peer for peer in (await client.call("listpeers"))["peers"]}
    assert listed[STRANGER] == {"id": STRANGER, "connected": False, "num_channels": 0, "features": ""}
    assert listed[two.node_id]["connected"]
    assert (await client.call("getinfo"))["num_peers"] == 2
    assert await refusal(client, "disconnect", [STRANGER]) == (-1, "Peer not connected")
    assert await refusal(client, "sendcustommsg", [STRANGER, "8001"]) == (-32600, "Peer is not connected")
    # Lost, it is dialed again; disconnected, it is not
    await next(iter(two.peers)).backlog._transport.disconnect(next(iter(two.peers)).info.node_id)
    await until(lambda: len(node.peers) == 0)
    await until(lambda: len(node.peers) == 1)
    await client.call("disconnect", [two.node_id])
    assert [peer["id"] for peer in (await client.call("listpeers"))["peers"]] == [STRANGER]


async def test_listpeers_with_what_the_log_says(client, two) -> None:
    await client.call("connect", [two.uris[0]])
    [peer] = (await client.call("listpeers", [two.node_id, "debug"]))["peers"]
    assert [line["log"] for line in peer["log"]] == ["Connect OUT"]
    assert (await client.call("listpeers", [STRANGER]))["peers"] == []
    assert (await refusal(client, "listpeers", [None, "loud"]))[1] == (
        "level: should be 'io', 'debug', 'info', or 'unusual': invalid token (see logs for details)"
    )
