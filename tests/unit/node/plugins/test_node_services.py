"""What the plugin host asks of its node: the real node, and the double that tests have, are both what it asks for."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest

from oddwire.node.commands import NodeCommands
from oddwire.node.node import Node
from oddwire.node.plugins.node_services import CommandTable, MethodCall, NodeServices


def members(protocol: type) -> set[str]:
    return {name for name in vars(protocol) if not name.startswith("_")}


@pytest.mark.parametrize(("protocol", "real"), [(NodeServices, Node), (CommandTable, NodeCommands)])
def test_the_real_one_has_all_of_it(protocol: type, real: type) -> None:
    made = inspect.getsource(real)
    missing = [name for name in members(protocol) if not hasattr(real, name) and f"self.{name} " not in made]
    assert not missing


def test_the_double_has_all_of_it(services: Any) -> None:
    assert [name for name in members(NodeServices) if not hasattr(services, name)] == []
    assert [name for name in members(CommandTable) if not hasattr(services.commands, name)] == []


def test_a_call_is_meant_and_tells_nobody_unless_it_says_so() -> None:
    call = MethodCall(id=1, method="hello", params=[])
    assert (call.checking, call.notify) == (False, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        call.id = 2  # type: ignore[misc]
