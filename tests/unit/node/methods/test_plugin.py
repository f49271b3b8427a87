"""How ``plugin`` reads its parameters; what it does is the host's."""

from __future__ import annotations

from typing import Any

import pytest

from oddwire.errors import NodeRefused
from oddwire.node.methods.plugin import _read


@pytest.mark.parametrize(
    ("params", "read"),
    [
        (["list"], ("list", [])),
        ({"subcommand": "list"}, ("list", [])),
        (["rescan", None], ("rescan", [])),
        (["stop", "x"], ("stop", ["x"])),
        ({"subcommand": "stop", "plugin": "x"}, ("stop", ["x"])),
        ({"subcommand": "startdir", "directory": "/d"}, ("startdir", ["/d"])),
        (["start", "/p"], ("start", ["/p", {}])),
        (["start", "/p", "a=1", "b"], ("start", ["/p", {"a": "1", "b": ""}])),
        (["start", "/p", ["a=1=2"]], ("start", ["/p", {"a": "1=2"}])),
        ({"subcommand": "start", "plugin": "/p", "a": 1}, ("start", ["/p", {"a": 1}])),
        ({"subcommand": "start", "plugin": "/p", "options": ["a=1"]}, ("start", ["/p", {"a": "1"}])),
    ],
)
def test_read(params: Any, read: Any) -> None:
    assert _read(params) == read


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ([], "missing required parameter: subcommand"),
        ({}, "missing required parameter: subcommand"),
        (["restart"], "Unknown subcommand 'restart'"),
        (["stop"], "missing required parameter: plugin"),
        ({"subcommand": "startdir", "plugin": "x"}, "missing required parameter: directory"),
        (["list", "x"], "too many parameters: got 2, expected 1"),
        (["stop", "x", "y"], "too many parameters: got 3, expected 2"),
        ({"subcommand": "list", "more": 1}, "unknown parameter: more, this may be caused"),
        ({"subcommand": "stop", "plugin": "x", "more": 1}, "unknown parameter: more, this may be caused"),
        ({"subcommand": "start", "plugin": "/p", "options": "a=1"}, "options: should be an array"),
        (["start", "/nowhere/p"], "/nowhere/p is not executable: No such file or directory"),
        (["startdir", "/nowhere"], "Could not open /nowhere"),
    ],
)
async def test_refused(client, params: Any, text: str) -> None:
    for method, given in (("plugin", params), ("check", _checked(params))):
        with pytest.raises(NodeRefused, match=text) as caught:
            await client.call(method, given)
        assert caught.value.code == -32602


def _checked(params: Any) -> Any:
    return ["plugin", *params] if isinstance(params, list) else {"command_to_check": "plugin", **params}


async def test_no_plugins(client) -> None:
    assert await client.call("plugin", ["list"]) == {"command": "list", "plugins": []}
    assert await client.call("check", ["plugin", "list"]) == {"command_to_check": "plugin"}
