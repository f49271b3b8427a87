"""Nodes, their plugins, and LDK: messages from ``sendcustommsg`` on one to the hook of a plugin on another."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import until

from oddwire.jsonrpc import JsonRpcClient
from oddwire.node.node import Node
from oddwire.node.node_log import Log

LIMIT = 30  # seconds; reached only by what hangs

# A plugin without any library: it keeps what it hears, and tells when asked by its method `heard`.
PLUGIN = """#!{python}
import json, sys
heard, asked = [], []
manifest = {manifest}
manifest["rpcmethods"] = [
    {{"name": "heard{suffix}", "usage": "count", "description": "wait for so many events and give them"}},
    {{"name": "hold{suffix}", "usage": "", "description": "answer no more hooks until asked again"}},
]
held, holding = [], False

def say(document):
    sys.stdout.write(json.dumps({{"jsonrpc": "2.0", **document}}) + "\\n\\n")
    sys.stdout.flush()

def answer_asked():
    for request in list(asked):
        if len(heard) >= request["count"]:
            asked.remove(request)
            events, heard[:request["count"]] = heard[:request["count"]], []
            say({{"id": request["id"], "result": {{"events": events}}}})

for line in sys.stdin:
    if not line.strip():
        continue
    message = json.loads(line)
    method, key, params = message["method"], message.get("id"), message.get("params")
    if method == "getmanifest":
        say({{"id": key, "result": manifest}})
    elif method == "init":
        say({{"id": key, "result": {{}}}})
    elif method == "heard{suffix}":
        asked.append({{"id": key, "count": params[0]}})
    elif method == "hold{suffix}":
        holding = not holding
        for request in held:
            say({{"id": request, "result": {{"result": "continue"}}}})
        held.clear()
        say({{"id": key, "result": {{}}}})
    elif method == "shutdown":
        sys.exit()
    else:
        heard.append([method if key is None else "hook " + method, params])
        if method == "peer_connected":
            params["hook id"] = key
        if key is not None:
            if method == "peer_connected" and {refuse!r}:
                say({{"id": key, "result": {{"result": "disconnect", "error_message": "not you"}}}})
            elif holding:
                held.append(key)
            else:
                say({{"id": key, "result": {{"result": "continue"}}}})
    answer_asked()
"""


@pytest.fixture
def write_plugin(tmp_path: Path):
    def write(name: str = "plugin", *, suffix: str = "", refuse: bool = False, **manifest: Any) -> Path:
        path = tmp_path / f"{name}.py"
        manifest = {"options": [], "subscriptions": [], "hooks": [], "dynamic": True, **manifest}
        path.write_text(PLUGIN.format(python=sys.executable, manifest=manifest, suffix=suffix, refuse=refuse))
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def start(peers, tmp_path: Path):
    async def start(name: str, *plugins: Path, **options: Any) -> tuple[Node, JsonRpcClient]:
        node = Node(tmp_path / name, listen=["127.0.0.1:0"], plugins=plugins, log=Log(level="debug"), **options)
        await peers.enter_async_context(node)
        return node, await peers.enter_async_context(JsonRpcClient(node.rpc_path))

    return start


async def events(client: JsonRpcClient, count: int, suffix: str = "") -> list[Any]:
    """Wait until the plugin has heard of so many events, and give them."""
    return (await client.call(f"heard{suffix}", [count], timeout=LIMIT))["events"]


def hook(node: Node, payload: str) -> list[Any]:
    return ["hook custommsg", {"peer_id": node.node_id, "payload": payload}]


async def test_from_a_call_on_one_node_to_a_hook_on_the_other(start, write_plugin) -> None:
    plugin = write_plugin(hooks=[{"name": "custommsg"}], subscriptions=["custommsg", "connect", "disconnect"])
    one, one_rpc = await start("one")
    two, two_rpc = await start("two", plugin)
    await one_rpc.call("connect", [two.uris[0]])
    [[topic, told]] = await events(two_rpc, 1)
    assert topic == "connect"
    assert (told["connect"]["id"], told["connect"]["direction"]) == (one.node_id, "in")
    await one_rpc.call("sendcustommsg", [two.node_id, "8001aabb"])
    message = {"peer_id": one.node_id, "payload": "8001aabb"}
    assert await events(two_rpc, 2) == [["custommsg", {"custommsg": message}], ["hook custommsg", message]]
    await one_rpc.call("disconnect", [two.node_id])
    assert await events(two_rpc, 1) == [["disconnect", {"disconnect": {"id": one.node_id}}]]


async def test_many_messages_in_order(start, write_plugin) -> None:
    one, one_rpc = await start("one")
    two, two_rpc = await start("two", write_plugin(hooks=[{"name": "custommsg"}]))
    await one_rpc.call("connect", [two.uris[0]])
    count = 1000
    await asyncio.gather(*(one_rpc.call("sendcustommsg", [two.node_id, f"8001{n:08x}"]) for n in range(count)))
    assert await events(two_rpc, count) == [hook(one, f"8001{n:08x}") for n in range(count)]


async def test_one_message_a_peer_at_a_time_and_peers_side_by_side(start, write_plugin) -> None:
    two, two_rpc = await start("two", write_plugin(hooks=[{"name": "custommsg"}]))
    senders = [await start(name) for name in ("one", "three")]
    for _, rpc in senders:
        await rpc.call("connect", [two.uris[0]])
    await two_rpc.call("hold")
    for _, rpc in senders:
        for number in range(3):
            await rpc.call("sendcustommsg", [two.node_id, f"8001{number:02x}"])
    first = await events(two_rpc, 2)
    assert all(hook(node, "800100") in first for node, _ in senders)
    # Nothing more is read from either while its hook is not answered, not even a ping
    ping = asyncio.create_task(senders[0][1].call("ping", [two.node_id]))
    assert await two_rpc.call("getinfo")
    assert not ping.done()
    await two_rpc.call("hold")
    assert len(await events(two_rpc, 4)) == 4
    assert await ping == {"totlen": 132}


async def test_even_types_are_welcome_while_a_plugin_lists_them(start, write_plugin) -> None:
    hooks = [{"name": "custommsg"}]
    one, one_rpc = await start("one")
    two, two_rpc = await start("two", write_plugin("watch", hooks=hooks))
    listing = write_plugin("lists", suffix="2", custommessages=[0x8002])

    async def send_even(payload: str) -> None:
        await one_rpc.call("connect", [two.uris[0]])
        await one_rpc.call("sendcustommsg", [two.node_id, payload])

    await send_even("8002aa")
    await until(lambda: not two.peers and not one.peers)
    assert any("Invalid unknown even msg 8002aa" in line["log"] for line in two.log.lines("unusual"))

    await two_rpc.call("plugin", ["start", str(listing)])
    await send_even("8002bb")
    assert await events(two_rpc, 1) == [hook(one, "8002bb")]
    await send_even("8004cc")  # another
    await until(lambda: not two.peers and not one.peers)

    await two_rpc.call("plugin", ["stop", str(listing)])
    await send_even("8002dd")
    await until(lambda: not two.peers and not one.peers)
    await send_even("8001ee")
    assert await events(two_rpc, 1) == [hook(one, "8001ee")]


async def test_a_plugin_may_refuse_a_peer(start, write_plugin) -> None:
    one, one_rpc = await start("one")
    two, two_rpc = await start("two", write_plugin(hooks=[{"name": "peer_connected"}], refuse=True))
    await one_rpc.call("connect", [two.uris[0]])
    [[name, params]] = await events(two_rpc, 1)
    assert name == "hook peer_connected"
    assert params.pop("hook id").startswith("cln:peer_connected#")
    address = params["peer"].pop("addr")
    assert address.startswith("127.0.0.1:")
    assert params == {"peer": {"id": one.node_id, "direction": "in", "features": "20000000a202"}}
    await until(lambda: not one.peers and not two.peers)
    # The one who is asked to connect learns that its own plugin did not want it
    with pytest.raises(Exception, match="disconnected during connection") as caught:
        await two_rpc.call("connect", [one.uris[0]])
    assert caught.value.code == 402
    [[name, params]] = await events(two_rpc, 1)
    assert params["peer"]["direction"] == "out"
    assert re.fullmatch(r"oddwire:connect#\d+/cln:peer_connected#\d+", params["hook id"])


async def test_while_the_hook_is_asked_a_peer_can_be_sent_to(start, write_plugin) -> None:
    one, one_rpc = await start("one")
    two, two_rpc = await start("two", write_plugin(hooks=[{"name": "peer_connected"}]))
    await two_rpc.call("hold")
    await one_rpc.call("connect", [two.uris[0]])
    await events(two_rpc, 1)
    listed = {"id": one.node_id, "connected": False, "num_channels": 0, "features": ""}
    assert await two_rpc.call("listpeers") == {"peers": [listed]}
    answer = await two_rpc.call("sendcustommsg", [one.node_id, "8001aa"])
    assert answer == {"status": "Message sent to connectd for delivery"}
    await two_rpc.call("hold")
    await until(lambda: next(iter(two.peers)).state == "connected")


async def test_feature_bits_of_plugins_are_announced(start, write_plugin) -> None:
    bits = {"init": f"{1 << 513:x}".zfill(130), "node": f"{1 << 515:x}".zfill(130)}
    _, one_rpc = await start("one")
    two, two_rpc = await start("two", write_plugin(featurebits=bits, dynamic=False))
    connected = await one_rpc.call("connect", [two.uris[0]])
    assert int(connected["features"], 16) == 1 << 513 | int("20000000a202", 16)
    info = await two_rpc.call("getinfo")
    assert int(info["our_features"]["node"], 16) == 1 << 515 | int("20000000a202", 16)


async def test_lines_of_the_log_reach_plugins(start, write_plugin) -> None:
    _, one_rpc = await start("one")
    two, two_rpc = await start("two", write_plugin(subscriptions=["warning"]))
    await one_rpc.call("connect", [two.uris[0]])
    await one_rpc.call("sendcustommsg", [two.node_id, "8002aa"])
    [[topic, told]] = await events(two_rpc, 1)
    assert topic == "warning"
    warning = told["warning"]
    assert (warning["level"], warning["source"]) == ("warn", "connectd")
    assert warning["log"] == "Invalid unknown even msg 8002aa"


@pytest.mark.interop
@pytest.mark.parametrize("we_dial", [True, False], ids=["dialing", "dialed"])
async def test_ldk_as_third_peer(start, start_ldk, write_plugin, we_dial: bool) -> None:
    ldk = await start_ldk(types=[32769])
    await ldk.listen()
    plugin = write_plugin(hooks=[{"name": "custommsg"}], subscriptions=["connect"])
    node, rpc = await start("node", plugin)
    other, other_rpc = await start("other")
    await other_rpc.call("connect", [node.uris[0]])
    if we_dial:
        connected = await rpc.call("connect", [ldk.uri])
        assert connected["direction"] == "out"
    else:
        await ldk.connect(node.uris[0])
    await ldk.event("connected", peer=node.node_id)
    await events(rpc, 2)
    assert {peer["id"] for peer in (await rpc.call("listpeers"))["peers"]} == {ldk.node_id, other.node_id}
    await rpc.call("sendcustommsg", [ldk.node_id, "8001" + "ab" * 50])
    assert await ldk.received() == bytes.fromhex("8001" + "ab" * 50)
    await ldk.send(node.node_id, bytes.fromhex("8001cdcd"))
    await other_rpc.call("sendcustommsg", [node.node_id, "8001efef"])
    heard = await events(rpc, 2)
    assert {name for name, _ in heard} == {"hook custommsg"}
    assert {(params["peer_id"], params["payload"]) for _, params in heard} == {
        (ldk.node_id, "8001cdcd"),
        (other.node_id, "8001efef"),
    }
    assert (await rpc.call("ping", [ldk.node_id]))["totlen"] == 132
    # LDK's even types: it hangs up on those it does not know
    await rpc.call("sendcustommsg", [ldk.node_id, "9c42"])
    await until(lambda: len(node.peers) == 1)
    assert [peer["id"] for peer in (await rpc.call("listpeers"))["peers"]] == [other.node_id]
