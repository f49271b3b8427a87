"""filedrop as a plugin: between embedded nodes, and with Core Lightning at either end or both."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import subprocess
import sys

import pytest
from tests.support.waiting import until_answered

from oddwire.jsonrpc import JsonRpcClient

pytestmark = pytest.mark.interop

SIZE = 8_000_000  # more than is sent at once to a lightningd, which takes 1 MB a second
CLN = pytest.mark.cln


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """The file that `oddwire plugin` writes."""
    path = tmp_path_factory.mktemp("plugin") / "filedrop"
    command = [sys.executable, "-m", "oddwire.cli.main", "plugin", "filedrop", "-o", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


@pytest.fixture(
    params=["nn", pytest.param("ll", marks=CLN), pytest.param("ln", marks=CLN), pytest.param("nl", marks=CLN)],
    ids={"nn": "nodes", "ll": "lightningds", "ln": "lightningd to node", "nl": "node to lightningd"}.get,
)
async def nodes(request, start, plugin, tmp_path):
    """A sender and a receiver, connected."""
    kinds = {"n": start.node, "l": start.lightningd}
    sender = kinds[request.param[0]](plugin)
    receiver = kinds[request.param[1]](plugin, options=[f"--filedrop-dir={tmp_path / 'in'}"])
    await connect(sender, receiver)
    return sender, receiver


async def connect(sender, receiver):
    await sender.connect(receiver.uri)
    await receiver.until_connected(sender.node_id)


async def until_state(node, wanted):
    async def there():
        files = await node.call("filedrop-status")
        return files[0] if files and files[0]["state"] == wanted else None

    return await until_answered(there)


async def test_a_file_arrives_though_both_are_killed(nodes, tmp_path):
    sender, receiver = nodes
    path = tmp_path / "data.bin"
    path.write_bytes(os.urandom(SIZE))
    sent = await sender.call("filedrop-send", receiver.node_id, str(path))
    assert (sent["state"], sent["size"]) == ("offered", SIZE)
    await until_state(receiver, "offered")
    await receiver.call("filedrop-accept", 1)
    for victim in (receiver, sender):

        async def begun():
            return (await receiver.call("filedrop-status"))[0]["done"] > 0

        await until_answered(begun)
        victim.kill()
        victim.start()
        await connect(sender, receiver)
    done = await until_state(receiver, "received")
    assert done["path"] == str(tmp_path / "in" / "data.bin")
    assert (tmp_path / "in" / "data.bin").read_bytes() == path.read_bytes()
    await until_state(sender, "received")


async def test_the_caller_sees_how_far_it_is(nodes, tmp_path):
    sender, receiver = nodes
    path = tmp_path / "data.bin"
    path.write_bytes(os.urandom(SIZE))
    shown = []
    socket = sender.network_folder / "lightning-rpc"
    async with JsonRpcClient(socket, on_notification=lambda *happened: shown.append(happened)) as client:
        await client.call("notifications", [True])
        sending = asyncio.create_task(client.call("filedrop-send", [receiver.node_id, str(path), True]))
        await until_state(receiver, "offered")
        await receiver.call("filedrop-accept", 1)
        assert (await sending)["state"] == "received"
    assert {method for method, _ in shown} == {"progress"}
    assert all(0 <= params["num"] < params["total"] == SIZE for _, params in shown)
    assert len({params["num"] for _, params in shown}) > 1


async def test_a_terminal_has_a_bar(nodes, tmp_path):
    sender, receiver = nodes
    path = tmp_path / "data.bin"
    path.write_bytes(os.urandom(SIZE))
    here, there = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "oddwire.cli.main",
        "call",
        "--lightning-dir",
        str(sender.folder),
        "--network",
        "regtest",
    ]
    process = await asyncio.create_subprocess_exec(
        *command,
        *("filedrop-send", receiver.node_id, str(path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=there,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(there)
    output, _ = await process.communicate()
    drawn = b""
    with contextlib.suppress(OSError):  # EIO: nobody has the terminal any more
        while data := os.read(here, 65536):
            drawn += data
    os.close(here)
    assert process.returncode == 0, drawn
    assert json.loads(output)["size"] == SIZE
    assert b"filedrop-send" in drawn
    assert b"100%" in drawn
