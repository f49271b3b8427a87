"""Plugins written with pyln-client, run unmodified on nodes, and driven by pyln-client's LightningRpc."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyln.client import LightningRpc, RpcError
from tests.support.waiting import until_answered

from oddwire.node.node import Node
from oddwire.node.node_log import Log

pytestmark = pytest.mark.interop

PLUGINS = Path(__file__).parent / "plugins"
LIMIT = 30  # seconds; reached only by what hangs


class Host:
    """A node with plugins, and pyln-client's way to it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.rpc = LightningRpc(str(node.rpc_path))

    async def call(self, method: str, **params: Any) -> Any:
        """Call a method by pyln-client, which blocks, so beside the loop."""
        async with asyncio.timeout(LIMIT):
            return await asyncio.to_thread(partial(self.rpc.call, method, params))

    def log(self, text: str) -> list[str]:
        return [
            f"{line['type']} {line['source']}: {line['log']}"
            for line in self.node.log.lines("debug")
            if text in line["log"]
        ]


Start = Callable[..., Awaitable[Host]]


@pytest.fixture
def start(peers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    # The plugins say `env python3`: that has to be the one with pyln-client
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")

    async def start(name: str, *plugins: str, **options: Any) -> Host:
        paths = [PLUGINS / f"{plugin}.py" for plugin in plugins]
        node = Node(tmp_path / name, listen=["127.0.0.1:0"], plugins=paths, log=Log(level="debug"), **options)
        return Host(await peers.enter_async_context(node))

    return start


async def connected(one: Host, two: Host) -> None:
    await one.call("connect", id=two.node.uris[0])


async def test_two_nodes_and_two_plugins_exchange_messages(start: Start) -> None:
    one = await start("one", "gossiper")
    two = await start(
        "two", "greeter", plugin_options=[("greeting", "grüezi"), ("greet-also", "a"), ("greet-also", "b")]
    )
    await connected(one, two)
    answer = await one.call("sendcustommsg", node_id=two.node.node_id, msg="8801aabb")
    assert answer == {"status": "Message sent to connectd for delivery"}
    await one.call("sendcustommsg", node_id=two.node.node_id, msg="8805")  # not one that greeter is asked about

    heard: list[Any] = []

    async def greeting() -> list[str]:
        heard.extend((await one.call("gossiper-heard"))["heard"])
        return [told["custommsg"]["payload"] for topic, told in heard if topic == "custommsg"]

    (payload,) = await until_answered(greeting)
    assert bytes.fromhex(payload) == b"\x88\x03" + "grüezi a b".encode()
    assert (await two.call("greeter-received"))["received"] == [[one.node.node_id, "8801aabb"]]
    topics = [topic for topic, _ in heard]
    assert topics.index("connect") < topics.index("custommsg")


async def test_init_options_and_print(start: Start) -> None:
    host = await start("one", "greeter", plugin_options=[("greet-loudly", "yes"), ("greet-not", None)])
    assert host.log("greeting 'hello' in bitcoin") == ["INFO plugin-greeter.py: greeting 'hello' in bitcoin"]
    assert host.log("printed before run") == ["INFO plugin-greeter.py: printed before run"]
    configs = (await host.call("listconfigs"))["configs"]
    plugin = str(PLUGINS / "greeter.py")
    assert configs["greeting"] == {"value_str": "hello", "source": "default", "plugin": plugin}
    assert configs["greet-count"] == {"value_int": 1, "source": "default", "plugin": plugin, "dynamic": True}
    assert configs["greet-loudly"] == {"value_bool": True, "source": "cmdline", "plugin": plugin}
    assert configs["greet-not"] == {"set": True, "source": "cmdline", "plugin": plugin}


async def test_methods(start: Start) -> None:
    host = await start("one", "greeter")
    assert await host.call("greeter-add", a=1, b=2) == {"sum": 3}
    assert await host.call("greeter-add", a=1) == {"sum": 11}
    assert await asyncio.to_thread(host.rpc.call, "greeter-add", [5, 6]) == {"sum": 11}
    with pytest.raises(RpcError) as caught:
        await host.call("greeter-fail")
    assert caught.value.error["code"] == -32600
    assert "no way" in caught.value.error["message"]
    with pytest.raises(RpcError) as caught:
        await host.call("greeter-fail", how="rpc")
    assert (caught.value.error["code"], caught.value.error["message"]) == (777, "the wrong sort")
    assert await host.call("greeter-ask", what="getinfo") == {"answer": await host.call("getinfo")}
    assert (await host.call("greeter-ask", what="nosuch"))["error"]["code"] == -32601
    commands = [row["command"] for row in (await host.call("help"))["help"]]
    assert "greeter-add a [b]  \n Add two numbers." in commands  # pyln-client puts the docstring into the usage


async def test_what_a_method_says_meanwhile_reaches_pyln_client(start: Start) -> None:
    host = await start("one", "greeter")
    told: list[Any] = []

    def call() -> Any:
        with host.rpc.notify(lambda message, **kwargs: told.append(message)):
            return host.rpc.call("greeter-later", {})

    assert await asyncio.to_thread(call) == {"later": True}
    assert told == ["half way"]


async def test_a_plugin_that_exits_takes_only_its_call_with_it(start: Start) -> None:
    host = await start("one", "greeter", "gossiper")
    with pytest.raises(RpcError) as caught:
        await host.call("greeter-fail", how="exit")
    assert caught.value.error == {"code": -4, "message": "Plugin terminated before replying to RPC call."}
    assert host.log("Killing plugin") == [
        "UNUSUAL plugin-greeter.py: Killing plugin: exited with status 3 during normal operation"
    ]
    heard = (await host.call("gossiper-heard"))["heard"]
    assert [topic for topic, _ in heard if topic == "plugin_stopped"] == ["plugin_stopped"]
    plugins = (await host.call("plugin", subcommand="list"))["plugins"]
    assert plugins == [{"name": str(PLUGINS / "gossiper.py"), "active": True, "dynamic": True}]


async def test_setconfig_changes_a_dynamic_option(start: Start) -> None:
    one, two = await start("one", "gossiper"), await start("two", "greeter")
    await connected(one, two)
    await two.call("setconfig", config="greet-count", val="3", transient=True)
    await one.call("sendcustommsg", node_id=two.node.node_id, msg="8801")

    async def greeting() -> list[str]:
        heard = (await one.call("gossiper-heard"))["heard"]
        return [told["custommsg"]["payload"] for topic, told in heard if topic == "custommsg"]

    assert await until_answered(greeting) == ["8803" + b"hello hello hello".hex()]


async def test_topics_of_plugins_own(start: Start) -> None:
    host = await start("one", "gossiper")
    await host.call("gossiper-tell", what="a rumour")
    heard = (await host.call("gossiper-heard"))["heard"]
    assert ["gossip", {"gossip": {"what": "a rumour"}, "origin": "gossiper.py"}] in heard
    (warning,) = [told["warning"] for topic, told in heard if topic == "warning"]
    assert (warning["level"], warning["source"], warning["log"]) == ("warn", "plugin-gossiper.py", "told of a rumour")


async def test_even_types_and_feature_bits(start: Start) -> None:
    one, two = await start("one", "gossiper"), await start("two", "greeter", "doorkeeper")
    await connected(one, two)
    (peer,) = (await one.call("listpeers"))["peers"]
    assert int(peer["features"], 16) >> 201 & 1
    for payload in ("8802", "8802dead", "8804", "8801"):
        await one.call("sendcustommsg", node_id=two.node.node_id, msg=payload)
    saw = await until_answered(lambda: greeted(two))
    assert saw == ["8802", "8802dead", "8804", "8801"]
    assert two.log("Hook handler for custommsg failed with an exception")
    # One that nobody lists: the connection ends
    await one.call("sendcustommsg", node_id=two.node.node_id, msg="8806")
    await until_answered(lambda: gone(one))
    assert two.log("Invalid unknown even msg 8806")


async def greeted(host: Host) -> list[str]:
    received = (await host.call("greeter-received"))["received"]
    return (await host.call("doorkeeper-saw"))["came"] if received else []


async def gone(host: Host) -> bool:
    return not (await host.call("listpeers"))["peers"]


async def test_a_peer_is_turned_away(start: Start) -> None:
    one = await start("one", "gossiper")
    two = await start("two", "doorkeeper", plugin_options=[("turn-away", one.node.node_id)])
    await connected(one, two)
    await until_answered(lambda: gone(one))
    (asked,) = (await two.call("doorkeeper-saw"))["asked"]
    assert asked["id"] == one.node.node_id
    assert asked["direction"] == "in"
    assert two.log("peer_connected hook rejects and says 'not today'")


async def test_start_and_stop_by_path(start: Start) -> None:
    host = await start("one")
    path = str(PLUGINS / "gossiper.py")
    started = await host.call("plugin", subcommand="start", plugin=path)
    assert started == {"command": "start", "plugins": [{"name": path, "active": True, "dynamic": True}]}
    assert await host.call("gossiper-heard")
    stopped = await host.call("plugin", subcommand="stop", plugin="gossiper.py")
    assert stopped == {"command": "stop", "result": "Successfully stopped gossiper.py."}
    with pytest.raises(RpcError) as caught:
        await host.call("plugin", subcommand="start", plugin=str(PLUGINS / "doorkeeper.py"))
    assert caught.value.error["code"] == -3
    assert caught.value.error["message"] == f"{PLUGINS / 'doorkeeper.py'}: Not a dynamic plugin"
    path = str(PLUGINS / "greeter.py")
    await host.call("plugin", subcommand="start", plugin=path, greeting="hi", **{"greet-count": 2})
    configs = (await host.call("listconfigs"))["configs"]
    assert configs["greeting"] == {"value_str": "hi", "source": "pluginstart", "plugin": path}
    assert configs["greet-count"]["value_int"] == 2
