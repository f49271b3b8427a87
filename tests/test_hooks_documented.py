"""Every hook says what it is for, is typed, and is really called."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

from oddwire.app import Application, Context, Extension, Hooks, PluginManager, hookimpl
from oddwire.schema import Message, message
from oddwire.transports.memory import MemoryNetwork

HOOKS = {name: hook for name, hook in vars(Hooks).items() if not name.startswith("_")}


@message(0x8C01)
class Poke(Message):
    hard: bool


@message(0x8C03)
class Gift(Message): ...


@pytest.mark.parametrize("name", HOOKS)
def test_it_is_documented_and_typed(name: str) -> None:
    hook = HOOKS[name]
    text = inspect.getdoc(hook) or ""
    assert re.match(r"[A-Z].*[.]", text), f"{name} should say in a sentence what it is for"
    signature = inspect.signature(hook)
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in list(signature.parameters.values())[1:]:
        assert parameter.annotation is not inspect.Parameter.empty, f"{name}: {parameter.name} should be typed"


def test_it_says_whether_it_may_be_async() -> None:
    for name, hook in HOOKS.items():
        may_be_async = "Awaitable" in str(inspect.signature(hook).return_annotation)
        assert may_be_async is ("may be async" in inspect.getdoc(hook).replace("\n", " ")), name


def recorder(name: str, calls: list[str], answer: Any) -> Callable[..., Any]:
    """Make an implementation of one hook, with the parameters of its specification."""
    parameters = list(inspect.signature(HOOKS[name]).parameters)[1:]
    names: dict[str, Any] = {"calls": calls, "answer": answer}
    exec(f"def {name}({', '.join(parameters)}):\n    calls.append({name!r})\n    return answer", names)
    return hookimpl(names[name])


async def test_an_application_calls_every_one() -> None:
    calls: list[str] = []
    plugin = type("Plugin", (), {"name": "plugin"})()
    for name in HOOKS:
        answer = {} if name == "register_transports" else () if name.startswith("register_") else None
        setattr(plugin, name, recorder(name, calls, answer))

    extension = Extension("poke", version="1.0")

    @extension.on(Poke)
    async def poke(context: Context, request: Poke) -> None:
        raise RuntimeError("ouch")

    extension.register(Gift)

    network = MemoryNetwork()
    async with (
        Application(extension, plugin, transport=network.transport(), store=":memory:") as left,
        Application(extension, transport=network.transport()) as right,
    ):
        await (await right.connect(left.uris[0])).send(Poke(hard=True))
        while "handler_failed" not in calls:
            await right.transport.connect(left.uris[0])  # gives the loop a turn
        await left.peer(right.node_id).deliver(Gift())  # who keeps nothing refuses it
        while "delivery_failed" not in calls:
            await right.transport.connect(left.uris[0])
    assert set(calls) == set(HOOKS)
    assert [name for name in calls if not name.startswith("register_")] == [
        "startup",
        "ready",
        "peer_connected",
        "message_traced",
        "handler_failed",
        "message_traced",
        "delivery_failed",
        "peer_disconnected",  # the other application closes first
        "stopping",
        "shutdown",
    ]


def test_a_plugin_manager_knows_all_of_them() -> None:
    manager = PluginManager()
    for name in HOOKS:
        assert manager.calls(name) is not None
