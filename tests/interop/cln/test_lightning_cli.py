"""Core Lightning's `lightning-cli` at the socket of the embedded node."""

from __future__ import annotations

import asyncio
import json

import pytest

pytestmark = [pytest.mark.cln, pytest.mark.interop]

STRANGER = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"  # 2 G, which nobody has as node id
LIMIT = 60  # seconds; reached only by what hangs
SENT = {"status": "Message sent to connectd for delivery"}


@pytest.fixture
def node(start):
    return start.node("collector", "greeter")


@pytest.fixture
def run(node):
    """Run ``lightning-cli`` with these arguments; gives its exit code and what it printed."""

    async def run(*arguments):
        process = await asyncio.create_subprocess_exec(
            "lightning-cli",
            f"--lightning-dir={node.folder}",
            "--network=regtest",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(LIMIT):
            output, _ = await process.communicate()
        return process.returncode, output.decode()

    return run


@pytest.fixture
def ask(run):
    """Run ``lightning-cli`` for its result."""

    async def ask(*arguments):
        code, output = await run(*arguments)
        assert code == 0, output
        return json.loads(output)

    return ask


async def test_getinfo(node, ask):
    info = await ask("getinfo")
    assert info == await node.call("getinfo")
    assert info["id"] == node.node_id


async def test_connect_listpeers_sendcustommsg_ping_disconnect(node, ask, run, lightningd):
    peer = lightningd.node_id
    assert (await ask("connect", lightningd.uri))["id"] == peer
    (listed,) = (await ask("listpeers"))["peers"]
    assert (listed["id"], listed["connected"]) == (peer, True)
    assert await ask("sendcustommsg", peer, "8001aabb") == SENT
    assert await ask("-k", "sendcustommsg", f"node_id={peer}", "msg=8001ccdd") == SENT
    # Digits alone go out as a number
    assert await ask("sendcustommsg", peer, "80019999") == SENT
    assert await ask("-k", "sendcustommsg", f"node_id={peer}", "msg=80010000") == SENT
    await lightningd.until_connected(node.node_id)
    sent = ["8001aabb", "8001ccdd", "80019999", "80010000"]
    assert [payload.hex() for payload in await lightningd.taken(node.node_id, 4)] == sent
    assert await ask("ping", peer) == {"totlen": 132}
    assert await ask("disconnect", peer) == {}
    code, output = await run("sendcustommsg", peer, "8001")
    assert code == 1
    assert json.loads(output) == {"code": -32600, "message": f"No such peer: {peer}"}


async def test_a_message_of_65535_bytes(node, ask, lightningd):
    await ask("connect", lightningd.uri)
    payload = "8001" + "ab" * 65533  # the longest there is; Linux takes an argument two bytes longer, no more
    assert await ask("sendcustommsg", lightningd.node_id, payload) == SENT
    assert (await lightningd.taken(node.node_id))[0].hex() == payload


async def test_help(run, ask):
    code, output = await run("help")
    assert code == 0
    lines = output.splitlines()
    for line in ("sendcustommsg node_id msg", "connect id [host] [port]", "greeter-add a [b]"):
        assert any(each.strip() == line for each in lines), (line, output)
    code, output = await run("help", "nosuch")
    assert code == 1
    assert "Unknown command nosuch" in output
    assert (await ask("-J", "help", "getinfo"))["help"] == [{"command": "getinfo "}]


async def test_check(run, ask):
    assert await ask("check", "getinfo") == {"command_to_check": "getinfo"}
    code, output = await run("check", "sendcustommsg", STRANGER, "8001")
    assert (code, json.loads(output)["code"]) == (1, -32600)
    code, output = await run("nosuch")
    assert (code, json.loads(output)) == (1, {"code": -32601, "message": "Unknown command 'nosuch'"})


async def test_plugins(node, run, ask):
    plugins = (await ask("plugin", "list"))["plugins"]
    assert [plugin["name"].rpartition("/")[2] for plugin in plugins] == ["collector.py", "greeter.py"]
    greeter = plugins[1]["name"]
    assert await ask("greeter-add", "1", "2") == {"sum": 3}
    assert await ask("-k", "greeter-add", "a=1") == {"sum": 11}
    assert (await ask("plugin", "stop", "greeter.py"))["result"] == "Successfully stopped greeter.py."
    code, _ = await run("greeter-add", "1", "2")
    assert code == 1
    await ask("plugin", "-k", "subcommand=start", f"plugin={greeter}", "greeting=hi")
    assert (await ask("listconfigs", "greeting"))["configs"]["greeting"]["value_str"] == "hi"


async def test_what_a_method_says_meanwhile_is_shown(run):
    code, output = await run("greeter-later")
    assert code == 0
    lines = output.splitlines()
    assert lines[0] == "# half way"
    assert json.loads("".join(lines[1:])) == {"later": True}


async def test_datastore(ask, run):
    key = '["a","b"]'
    kept = {"key": ["a", "b"], "generation": 0, "hex": "grüezi".encode().hex(), "string": "grüezi"}
    assert await ask("datastore", key, "grüezi") == kept
    code, output = await run("datastore", key, "again")
    assert (code, json.loads(output)) == (1, {"code": 1202, "message": "Key already exists"})
    assert await ask("listdatastore", key) == {"datastore": [kept]}
    assert await ask("deldatastore", key) == kept
    assert await ask("listdatastore") == {"datastore": []}


async def test_a_filter_and_the_ways_to_print(node, run, ask):
    assert await ask("--filter={'id':true,'binding':[{'port':true}]}".replace("'", '"'), "getinfo") == {
        "id": node.node_id,
        "binding": [{"port": int(node.address.rpartition(":")[2])}],
    }
    _, raw = await run("-R", "getinfo")
    _, json_output = await run("-J", "getinfo")
    assert json.loads(raw) == json.loads(json_output)
    code, flat = await run("-F", "getinfo")
    assert code == 0
    assert f"id={node.node_id}" in flat.splitlines()


async def test_stop(node, ask):
    assert await ask("stop") == {"result": "Shutdown complete"}
    async with asyncio.timeout(LIMIT):
        assert await asyncio.to_thread(node.process.wait) == 0
