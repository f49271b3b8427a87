"""Methods of plugins: their parameters and ``check`` are theirs."""

from __future__ import annotations

import inspect
import json
from typing import Any

from oddwire.node.commands import NodeCommands
from oddwire.node.plugins.node_services import MethodCall, PluginMethod


async def ask(commands: NodeCommands, method: str, params: Any) -> dict[str, Any]:
    answer = commands.dispatch({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    document: dict[str, Any] = json.loads(await answer if inspect.isawaitable(answer) else answer)
    return document


async def test_a_plugins_method() -> None:
    commands = NodeCommands()
    commands.install()
    calls: list[MethodCall] = []

    async def call(method: MethodCall) -> Any:
        calls.append(method)
        return {"heard": method.params}

    method = PluginMethod(
        name="plug",
        usage="x [y]",
        description="",
        long_description="",
        category="",
        deprecated=True,
        owner="/path/plug",
        call=call,
    )
    commands.register_plugin_method(method)
    assert commands.owner_of("plug") == "/path/plug"
    assert (await ask(commands, "plug", {"x": [1, {"y": 2}]}))["result"] == {"heard": {"x": [1, {"y": 2}]}}
    await ask(commands, "check", ["plug", 1])
    assert [(c.params, c.checking) for c in calls] == [({"x": [1, {"y": 2}]}, False), (["plug", 1], True)]
    assert [c.id for c in calls] == [1, 1]
    assert (await ask(commands, "help", ["plug"]))["result"]["help"] == [{"command": "plug (DEPRECATED!) x [y]"}]
    commands.unregister("/path/plug")
    commands.unregister("/path/plug")
    assert (await ask(commands, "plug", []))["error"] == {"code": -32601, "message": "Unknown command 'plug'"}
