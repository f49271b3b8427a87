"""commando with Core Lightning: ours runs commands on it, it runs commands on ours, and ours inside it."""

from __future__ import annotations

import asyncio
import json
import os

import pytest

from oddwire.app import Application
from oddwire.errors import RemoteRpcError, ReplyTimeout
from oddwire.proto import PrivateKey
from oddwire.transports.bolt8.transport import Bolt8Transport
from oddwire_extensions.commando import call, extension

pytestmark = [pytest.mark.cln, pytest.mark.interop]


@pytest.fixture
async def app(peers):
    """An application with the extension, which listens."""
    key = PrivateKey(os.urandom(32))
    transport = Bolt8Transport(key, network="regtest", listen=["127.0.0.1:0"])
    return await peers.enter_async_context(Application(extension, transport=transport, store=":memory:"))


async def rune_of(daemon, *restrictions, method="createrune"):
    return (await daemon.call(method, restrictions=[*restrictions]))["rune"]


# Ours runs commands on lightningd ---------------------------------------------------------------------


async def test_getinfo_of_lightningd(lightningd, app):
    peer = await app.connect(lightningd.uri)
    rune = await rune_of(lightningd, ["method=getinfo"])
    info = await call(peer, "getinfo", rune=rune)
    assert info["id"] == lightningd.node_id
    assert info["network"] == "regtest"
    assert await call(peer, "getinfo", rune=rune, filter={"id": True}) == {"id": lightningd.node_id}
    assert (await app.call("commando-call", lightningd.node_id, "getinfo", {}, rune))["id"] == lightningd.node_id


async def test_many_at_the_same_time(lightningd, app):
    peer = await app.connect(lightningd.uri)
    rune = await rune_of(lightningd)
    methods = ["getinfo", "listpeers", "listconfigs", "help"] * 8
    found = await asyncio.gather(*(call(peer, method, rune=rune) for method in methods))
    keys = {"getinfo": "id", "listpeers": "peers", "listconfigs": "configs", "help": "help"}
    assert all(keys[method] in result for method, result in zip(methods, found, strict=True))


async def test_commands_and_answers_of_many_pieces(lightningd, app):
    peer = await app.connect(lightningd.uri)
    rune = await rune_of(lightningd)
    values = [f"{number}" * 150_000 for number in range(4)]
    for number in range(4):  # each on its own, as lightningd keeps one command of a peer at a time
        await call(peer, "datastore", {"key": ["big", str(number)], "string": values[number]}, rune=rune)
    found = await call(peer, "listdatastore", {"key": ["big"]}, rune=rune)
    assert [each["string"] for each in found["datastore"]] == values
    assert len(json.dumps(found)) > 1_000_000
    await call(peer, "deldatastore", {"key": ["big", "0"]}, rune=rune)


async def test_several_long_commands_at_once_do_not_get_mixed_up(lightningd, app):
    peer = await app.connect(lightningd.uri)
    rune = await rune_of(lightningd)
    await asyncio.gather(
        *(
            call(peer, "datastore", {"key": ["at once", str(number)], "string": f"{number}" * 150_000}, rune=rune)
            for number in range(4)
        )
    )
    found = await call(peer, "listdatastore", {"key": ["at once"]}, rune=rune)
    assert [len(each["string"]) for each in found["datastore"]] == [150_000] * 4


async def test_lightningds_errors_keep_code_and_text(lightningd, app):
    peer = await app.connect(lightningd.uri)
    everything, some = await rune_of(lightningd), await rune_of(lightningd, ["method=getinfo"])
    for method, params, rune, code, text in (
        ("no-such-method", {}, everything, -32601, "Unknown command 'no-such-method'"),
        ("ping", {}, everything, -32602, "missing required parameter: id"),
        ("listpeers", {}, some, 19537, "Invalid rune: Not permitted: method is not equal to getinfo"),
        ("getinfo", {}, None, 19536, "Missing rune"),
        ("getinfo", {}, "x", 19536, "Invalid rune"),
    ):
        with pytest.raises(RemoteRpcError) as caught:
            await call(peer, method, params, rune=rune)
        assert (caught.value.code, str(caught.value)) == (code, text)


# lightningd runs commands on ours ---------------------------------------------------------------------


async def test_lightningd_runs_commands_on_an_embedded_node(start, lightningd):
    node = await asyncio.to_thread(start.node, "commanded")
    await lightningd.connect(node.uri)
    rune = await rune_of(node, ["method=getinfo", "method^list"], method="commando-createrune")
    info = await lightningd.call("commando", node.node_id, "getinfo", {}, rune)
    assert info["id"] == node.node_id
    assert info["version"].startswith("v26.")
    peers = await lightningd.call("commando", node.node_id, "listpeers", {}, rune, {"peers": [{"id": True}]})
    assert peers == {"peers": [{"id": lightningd.node_id}]}
    assert await lightningd.refusal("commando", node.node_id, "stop", {}, rune) == (
        19537,
        "Invalid rune: Not permitted: method: != getinfo AND method: does not start with list",
    )
    rune = await rune_of(node, method="commando-createrune")
    assert await lightningd.refusal("commando", node.node_id, "no-such-method", {}, rune) == (
        -32601,
        "Unknown command 'no-such-method'",
    )


async def test_large_commands_of_lightningd_and_large_answers(start, lightningd):
    node = await asyncio.to_thread(start.node, "commanded")
    await lightningd.connect(node.uri)
    rune = await rune_of(node, method="commando-createrune")
    value = "ab" * 200_000
    await lightningd.call("commando", node.node_id, "datastore", {"key": ["big"], "string": value}, rune)
    found = await lightningd.call("commando", node.node_id, "listdatastore", {"key": ["big"]}, rune)
    assert found["datastore"][0]["string"] == value


async def test_a_node_that_was_lightningds_goes_on_accepting_its_runes(start, app):
    secret = os.urandom(32)
    cln = start.lightningd_to_be()
    (cln.folder / "regtest").mkdir()
    (cln.folder / "regtest" / "hsm_secret").write_bytes(secret)
    (cln.folder / "regtest" / "hsm_secret").chmod(0o400)
    await asyncio.to_thread(cln.start)
    rune = await rune_of(cln, ["method=getinfo"])
    before = await call(await app.connect(cln.uri), "getinfo", rune=rune)
    await cln.stop()

    folder = cln.folder.parent / "ours"
    (folder / "regtest").mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)
    (folder / "regtest" / "hsm_secret").write_bytes(secret)
    (folder / "regtest" / "hsm_secret").chmod(0o400)
    node = start.node_in(folder, "commanded")
    peer = await app.connect(node.uri)
    info = await call(peer, "getinfo", rune=rune)
    assert info["id"] == before["id"]
    with pytest.raises(RemoteRpcError, match="Not permitted: method: != getinfo"):
        await call(peer, "listpeers", rune=rune)


# Ours inside lightningd -------------------------------------------------------------------------------


async def test_inside_lightningd_it_is_a_client_and_lightningd_answers_once(start, app):
    cln = await asyncio.to_thread(start.lightningd, "commanded")
    peer = await app.connect(cln.uri)
    info = await call(peer, "getinfo", rune=await rune_of(cln))
    assert info["id"] == cln.node_id
    assert cln.log("commando takes no commands", "this node has a commando of its own")
    code, text = await cln.refusal("commando-createrune")
    assert code == -1
    assert text.startswith("this node has runes of its own: createrune, ")

    rune = (await app.call("commando-createrune", restrictions=[["method=getinfo"]]))["rune"]
    found = await cln.call("commando-call", str(app.node_id), "getinfo", {}, rune)
    assert found["id"] == str(app.node_id)
    assert (await cln.refusal("commando-call", str(app.node_id), "help", {}, rune))[0] == 19537


async def test_where_lightningds_own_is_switched_off_it_serves_by_lightningds_runes(start, app):
    cln = await asyncio.to_thread(start.lightningd, "commanded", options=["--disable-plugin=commando"])
    peer = await app.connect(cln.uri)
    rune = await rune_of(cln, ["method^list", "method=help"])
    assert (await call(peer, "listpeers", rune=rune))["peers"][0]["id"] == str(app.node_id)
    assert len((await call(peer, "help", rune=rune))["help"]) > 100
    with pytest.raises(RemoteRpcError) as caught:
        await call(peer, "getinfo", rune=rune)
    assert caught.value.code == 19537
    assert str(caught.value).startswith("Invalid rune: Not permitted: method")
    with pytest.raises(RemoteRpcError) as caught:
        await call(peer, "getinfo", rune="x")
    assert caught.value.code == 19537


async def test_never_means_never(start, app):
    options = ["--disable-plugin=commando", "--commando-serve=never"]
    cln = await asyncio.to_thread(start.lightningd, "commanded", options=options)
    peer = await app.connect(cln.uri)
    with pytest.raises(ReplyTimeout):
        await call(peer, "getinfo", rune=await rune_of(cln), timeout=1)
