from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from oddwire.node.plugins import MethodCall, PluginHost

ECHO = [{"name": "echo", "usage": "[a] [b]"}]
ECHOES = "def echo(request): return {key: request[key] for key in ('id', 'params')}"


@pytest.mark.parametrize(
    "params", [{"a": 1, "b": "two"}, [1, "two"], [], {}, {"a": None, "b": [{"c": 1.5}], "é": 10**30}], ids=repr
)
async def test_params_are_passed_as_they_are(host: PluginHost, services: Any, bare: Any, params: Any) -> None:
    await host.start([bare(body=ECHOES, rpcmethods=ECHO)])
    answer = await services.call("echo", params, key="raw:echo#1")
    assert answer["params"] == params
    prefix, _, own = answer["id"].rpartition("/")
    assert prefix == "raw:echo#1"
    assert own.startswith("cln:echo#")


@pytest.mark.parametrize(
    "result", [{}, [], None, "text", 7, {"result": "continue"}, {"deep": [[{"é": None}]]}], ids=repr
)
async def test_results_come_back(host: PluginHost, services: Any, bare: Any, result: Any) -> None:
    await host.start([bare(body=f"def give(request): return {result!r}", rpcmethods=[{"name": "give", "usage": ""}])])
    assert await services.call("give") == result


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ({"code": 7, "message": "no"}, {"code": 7, "message": "no"}),
        ({"code": -1, "message": "no", "data": {"x": [1]}}, {"code": -1, "message": "no", "data": {"x": [1]}}),
        (
            {"code": -1, "message": "no", "traceback": "line 1"},  # pyln-client's
            {"code": -1, "message": "no", "traceback": "line 1"},
        ),
        ({"code": 7}, {"code": 7, "message": ""}),
        ("no", {"code": -3, "message": 'bare answered give with error "no"'}),
        ({"message": "no"}, {"code": -3, "message": 'bare answered give with error {"message": "no"}'}),
    ],
)
async def test_errors_come_back(host: PluginHost, services: Any, bare: Any, error: Any, told: dict[str, Any]) -> None:
    body = f"def give(request):\n    send(id=request['id'], error={error!r})\n    return ..."
    await host.start([bare(body=body, rpcmethods=[{"name": "give", "usage": ""}])])
    assert await services.call("give") == told


@pytest.mark.parametrize(
    "body", ["def give(request): sys.exit()", "def give(request):\n    send(id=request['id'])\n    return ..."]
)
async def test_who_ends_over_a_call_fails_it(host: PluginHost, services: Any, bare: Any, body: str) -> None:
    await host.start([bare(body=body, rpcmethods=[{"name": "give", "usage": ""}])])
    assert await services.call("give") == {
        "code": -4,
        "message": "Plugin terminated before replying to RPC call.",
    }
    assert host.plugin_list()["plugins"] == []


async def test_many_calls_at_once(host: PluginHost, services: Any, bare: Any) -> None:
    await host.start([bare(body=ECHOES, rpcmethods=ECHO)])
    answers = await asyncio.gather(*(services.call("echo", [n], key=f"k{n}") for n in range(1000)))
    assert [answer["params"] for answer in answers] == [[n] for n in range(1000)]


async def test_a_call_given_up_does_no_harm(host: PluginHost, services: Any, bare: Any) -> None:
    await host.start([bare(body=ECHOES, rpcmethods=ECHO)])
    calling = asyncio.ensure_future(services.call("echo"))
    await asyncio.sleep(0)
    calling.cancel()
    assert (await services.call("echo", [2]))["params"] == [2]


async def test_check_without_the_plugins_help(host: PluginHost, services: Any, bare: Any) -> None:
    await host.start([bare(body=ECHOES, rpcmethods=ECHO)])
    assert await services.call("check", ["echo", 1]) == {"command_to_check": "echo"}
    assert len(services.logged("Plugin does not support check command for echo")) == 1


@pytest.mark.parametrize("params", [["echo", 1], {"command_to_check": "echo", "a": 1}], ids=["array", "object"])
async def test_check_is_asked_of_a_plugin_that_can(host: PluginHost, services: Any, bare: Any, params: Any) -> None:
    body = f"""
{ECHOES}
def check(request):
    if request["params"] == {params!r} and "/cln:check#" in request["id"]:
        return {{"command_to_check": "echo", "by": "plugin"}}
    send(id=request["id"], error={{"code": -32602, "message": "not this"}})
    return ...
"""
    await host.start([bare(body=body, rpcmethods=ECHO, cancheck=True)])
    assert await services.call("check", params) == {"command_to_check": "echo", "by": "plugin"}
    assert (await services.call("check", ["echo", 2]))["message"] == "not this"


async def test_progress_goes_to_the_caller(host: PluginHost, services: Any, bare: Any) -> None:
    body = """
def give(request):
    send(method="message", params={"id": request["id"], "level": "info", "message": "half way"})
    send(method="progress", params={"id": request["id"], "num": 1, "total": 2})
    send(method="message", params={"id": "somebody else's", "message": "x"})
    send(method="message", params={"id": 7, "message": "x"})
    return {}
"""
    await host.start([bare(body=body, rpcmethods=[{"name": "give", "usage": ""}])])
    told: list[tuple[str, dict[str, Any]]] = []
    command = services.commands.get("give")
    (plugin,) = host._registry.plugins
    call = MethodCall(id="x", method="give", params=[], notify=lambda method, params: told.append((method, params)))
    assert await plugin.call(call) == {}
    assert told == [
        ("message", {"level": "info", "message": "half way"}),
        ("progress", {"num": 1, "total": 2}),
    ]
    assert command.owner == plugin.path


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("trace", "trace"),
        ("debug", "debug"),
        ("info", "info"),
        ("warn", "unusual"),
        ("error", "broken"),
        ("WARN", "unusual"),
        ("broken", "broken"),
    ],
)
async def test_log_lines_have_the_plugins_name(
    host: PluginHost, services: Any, bare: Any, level: str, shown: str
) -> None:
    await host.start([bare(body=f"log('one\\ntwo é', {level!r})")])
    assert services.logged("one") + services.logged("two é") == [
        f"{shown} plugin-bare: one",
        f"{shown} plugin-bare: two é",
    ]


async def test_stderr_is_logged(host: PluginHost, services: Any, bare: Any) -> None:
    await host.start([bare(body="sys.stderr.write('to stderr\\n'); sys.stderr.flush()")])
    assert await services.line("to stderr") == "info plugin-bare: to stderr"


@pytest.mark.parametrize(
    ("notification", "reason"),
    [
        ({"method": "log", "params": {"level": "info"}}, 'sent a log notification without a string "message"'),
        ({"method": "log", "params": []}, 'sent a log notification without a string "message": []'),
        ({"method": "log", "params": {"message": "x", "level": "io"}}, 'of level "io"; there are trace, debug, info'),
        ({"method": "log", "params": {"message": "x", "level": []}}, "of level []"),
        ({"method": "message", "params": {"message": "x"}}, 'sent a message notification without the "id"'),
        ({"method": "progress", "params": None}, 'sent a progress notification without the "id"'),
        ({"method": 7, "params": {}}, "wrote neither an answer"),
        ({"method": "topic"}, "wrote neither an answer"),
        ({"params": {}}, "wrote neither an answer"),
        ({}, "wrote neither an answer"),
    ],
)
async def test_broken_notifications_end_the_plugin(
    host: PluginHost, services: Any, bare: Any, notification: dict[str, Any], reason: str
) -> None:
    body = f"def give(request):\n    send(**{notification!r})\n    return ..."
    await host.start([bare(body=body, rpcmethods=[{"name": "give", "usage": ""}]), bare("other")])
    assert (await services.call("give"))["code"] == -4
    assert services.logged("Killing plugin")[0].count(reason) == 1
    assert await services.seen("other")


async def test_undeclared_topics_go_nowhere(host: PluginHost, services: Any, bare: Any) -> None:
    body = (
        "def give(request):\n    send(method='nosuch', params={})\n    send(method='connect', params={})\n    return {}"
    )
    sender = bare(body=body, rpcmethods=[{"name": "give", "usage": ""}])
    await host.start([sender, bare("star", subscriptions=["*"])])
    await services.call("give")
    heard = [json.loads(text)["method"] for text in await services.seen("star")]
    assert "nosuch" not in heard
    assert "connect" not in heard
    (line,) = services.logged("nosuch")
    assert line.startswith('unusual plugin-bare: Plugin attempted to send a notification to topic "nosuch"')


async def test_a_flood_of_log_lines_lets_others_work(host: PluginHost, services: Any, bare: Any) -> None:
    flood = bare("flood", "def on_custommsg(params):\n    while True: log('x' * 100)", subscriptions=["custommsg"])
    await host.start([flood, bare("other", ECHOES, rpcmethods=ECHO)])
    host.custommsg("02" * 33, b"\xc0\xdf", pytest.fail)
    await services.line("xxx")
    for n in range(20):
        assert (await services.call("echo", [n]))["params"] == [n]
    await host.plugin_stop("flood")
    assert (await services.call("echo"))["params"] == []
