"""The node as the transport's sink: coming, going, and what is not welcome."""

from __future__ import annotations

import asyncio
import io
import os
import sys

import pytest
from tests.support.waiting import until

from oddwire.decoding.log_lines import LogReader
from oddwire.errors import ConnectionClosed
from oddwire.node.node_log import Log
from oddwire.proto import PrivateKey
from oddwire.proto.bolt1 import CHAINS, DEFAULT_NETWORK, Init
from oddwire.proto.keys import NodeId


async def test_coming_and_going(node, dial) -> None:
    peer = await dial(node)
    known = node.peers.get(NodeId(peer.id))
    assert (known.hex, known.state, known.info.direction) == (peer.id, "connected", "in")
    assert len(node.peers) == 1
    await peer.connection.aclose()
    await until(lambda: len(node.peers) == 0)
    assert node.peers.get(NodeId(peer.id)) is None
    assert not node.peers.is_known(NodeId(peer.id))


async def test_level_io_shows_each_message_as_lightningd_does(start_node, dial) -> None:
    out = io.StringIO()
    node = await start_node(log=Log(level="io", out=out))
    peer = await dial(node)
    await peer.send(b"\x8c\x11" + bytes(3000))
    await peer.send(bytes.fromhex("0012 0004 0000"))  # a ping
    found = LogReader()
    await until(lambda: "[OUT] 00130004" in out.getvalue())
    read = [each for line in out.getvalue().splitlines() for each in found.read(line)]
    assert {each.peer for each in read} == {peer.id}
    assert [(each.direction, each.payload[:2].hex(), len(each.payload)) for each in read][2:] == [
        ("in", "8c11", 3002),
        ("in", "0012", 6),
        ("out", "0013", 8),
    ]
    assert [(each.direction, each.payload[:2]) for each in read][:2] == [("out", b"\0\x10"), ("in", b"\0\x10")]


async def test_before_its_init_nobody_is_a_peer(node, dial) -> None:
    await dial(node, introduce=False)
    assert len(node.peers) == 0


@pytest.mark.parametrize("payload", ["8002", "8002" + "ab" * 1000, "fffe"])
async def test_unknown_even_types_get_a_warning_and_the_end(node, dial, payload: str) -> None:
    peer = await dial(node)
    await peer.send(bytes.fromhex(payload))
    warning = await peer.read()
    text = f"Invalid unknown even msg {payload}".encode()
    assert warning == b"\x00\x01" + bytes(32) + len(text).to_bytes(2, "big") + text
    with pytest.raises(ConnectionClosed):
        await peer.read()
    await until(lambda: len(node.peers) == 0)
    logged = text.decode() if len(text) <= 1024 else f"{text[:1024].decode()}... ({len(text) - 1024} more characters)"
    assert [line["log"] for line in node.log.lines("unusual")] == [logged]


async def test_the_longest_even_message_has_a_warning_that_fits(node, dial) -> None:
    peer = await dial(node)
    await peer.send(b"\x80\x02" + bytes(65533))
    warning = await peer.read()
    assert len(warning) == 65535
    assert warning[36:60] == b"Invalid unknown even msg"[:24]


async def test_odd_types_and_peer_storage_are_taken_silently(node, dial) -> None:
    peer = await dial(node)
    for payload in ("8001", "ffff", "0007", "0009", "4c4f00"):
        await peer.send(bytes.fromhex(payload))
    await peer.send(b"\x80\x02")
    assert (await peer.read())[:2] == b"\x00\x01"  # only the even one was answered
    assert [line["log"] for line in node.log.lines("unusual")] == ["Invalid unknown even msg 8002"]


async def test_a_peer_that_connects_anew_starts_anew(node, dial) -> None:
    key = PrivateKey(os.urandom(32))
    first = await dial(node, key)
    before = node.peers.get(NodeId(first.id))
    await dial(node, key)
    await until(lambda: node.peers.get(NodeId(first.id)) is not before)
    assert len(node.peers) == 1


async def test_what_waits_for_a_peer_goes_with_it(start_node, dial) -> None:
    node = await start_node("crowded", max_queued=1_000_000)
    peer = await dial(node)
    peer.connection.pause()
    outbox = node.peers.get(NodeId(peer.id)).backlog
    while not outbox.queued:
        outbox.send(b"\x80\x01" + bytes(60_000))
        await asyncio.sleep(0)
    peer.connection.abort("gone")
    await until(lambda: len(node.peers) == 0)
    assert outbox.queued == 0


SILENT = """#!{python} -IS
import json, sys
for line in sys.stdin:
    if line != "\\n":
        request = json.loads(line)
        hooks = [{{"name": "peer_connected"}}]
        manifest = {{"options": [], "rpcmethods": [], "hooks": hooks, "subscriptions": [], "dynamic": True}}
        if request["method"] != "peer_connected":
            result = manifest if request["method"] == "getmanifest" else {{}}
            print(json.dumps({{"jsonrpc": "2.0", "id": request["id"], "result": result}}), flush=True)
"""


async def test_who_goes_before_a_plugin_has_answered_leaves_no_question(start_node, dial, tmp_path) -> None:
    """Else ids that come and go would each leave one, with a plugin that takes its time."""
    plugin = tmp_path / "silent"
    plugin.write_text(SILENT.format(python=sys.executable))
    plugin.chmod(0o755)
    node = await start_node(plugins=[plugin])
    for _ in range(3):
        peer = await dial(node, introduce=False)
        await peer.send(Init(networks=(CHAINS[DEFAULT_NETWORK],)).encode())
        await until(lambda: len(node.peers) == 1)
        await until(lambda: any(task.get_name().startswith("admit ") for task in asyncio.all_tasks()))
        await peer.connection.aclose()
        await until(lambda: len(node.peers) == 0)
        await until(lambda: not any(task.get_name().startswith("admit ") for task in asyncio.all_tasks()))
