"""From a request to its answer: every shape, lightningd's texts, ``check`` and ``help``."""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import Any

import pytest

from oddwire.errors import ExtensionError, NodeRefused
from oddwire.jsonrpc.commands import BUILT_IN, Command, Commands, RpcRequest
from oddwire.jsonrpc.parameters import Parameter, a_string
from oddwire.node.method_parameters import a_number


@pytest.fixture
def logged() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def commands(logged: list[tuple[str, str]]) -> Commands:
    commands = Commands(lambda level, text: logged.append((level, text)))
    commands.install()

    def add(request: RpcRequest, a: int, b: int, note: str | None) -> Any:
        if a > 100:
            raise NodeRefused("too much", code=-9, data={"a": a}, extra={"traceback": "..."})
        if request.checking:
            return None
        return {"sum": a + b, "note": note}

    async def later(request: RpcRequest) -> Any:
        await asyncio.sleep(0)
        if request.params:
            raise NodeRefused("not later", code=-8)
        return {"later": True}

    def broken(request: RpcRequest) -> Any:
        raise RuntimeError("a fault of ours")

    async def broken_later(request: RpcRequest) -> Any:
        raise RuntimeError("a fault of ours")

    parameters = (
        Parameter("a", a_number),
        Parameter("b", a_number, required=False, default=10),
        Parameter("note", a_string, required=False),
    )
    commands.register(Command(name="add", handler=add, parameters=parameters, checks=True))
    commands.register(Command(name="later", handler=later, parameters=None, usage="[x]", checks=True))
    commands.register(Command(name="broken", handler=broken))
    commands.register(Command(name="broken-later", handler=broken_later))
    return commands


async def ask(commands: Commands, **request: Any) -> dict[str, Any]:
    answer = commands.dispatch({"jsonrpc": "2.0", "id": 1, **request})
    if inspect.isawaitable(answer):
        answer = await answer
    assert answer.endswith(b"\n\n")
    document: dict[str, Any] = json.loads(answer)
    assert document.pop("jsonrpc") == "2.0"
    return document


async def result(commands: Commands, method: str, params: Any) -> Any:
    return (await ask(commands, method=method, params=params))["result"]


async def error(commands: Commands, method: str, params: Any, **more: Any) -> tuple[int, str]:
    found = (await ask(commands, method=method, params=params, **more))["error"]
    return found["code"], found["message"]


class TestParameters:
    async def test_by_position_and_by_name(self, commands: Commands) -> None:
        expected = {"sum": 11, "note": None}
        for params in ([1], [1, None], [1, 10], [1, "10", None], {"a": 1}, {"b": 10, "a": "1"}):
            assert await result(commands, "add", params) == expected, params
        assert await result(commands, "add", [1, None, "x"]) == {"sum": 11, "note": "x"}

    async def test_one_missing(self, commands: Commands) -> None:
        for params in ([], {}, [None, 2], {"b": 2}):
            assert await error(commands, "add", params) == (-32602, "missing required parameter: a")

    async def test_too_many(self, commands: Commands) -> None:
        for params in ([1, 2, "3", 4], [1, 2, "3", None]):
            text = "too many parameters: got 4, expected 3"
            assert await error(commands, "add", params) == (-32602, text)

    async def test_an_unknown_one(self, commands: Commands) -> None:
        code, text = await error(commands, "add", {"c": 1, "a": "bad"})
        assert code == -32602
        assert text.startswith("unknown parameter: c, this may be caused by a failure to autodetect key=value-style ")

    async def test_a_bad_one_is_logged_and_not_told(self, commands: Commands, logged: list[tuple[str, str]]) -> None:
        text = "a: should be an integer: invalid token (see logs for details)"
        assert await error(commands, "add", ["rune"]) == (-32602, text)
        [(level, line)] = logged
        assert level == "info"
        assert line == "JSON COMMAND add: Invalid parameter a (should be an integer): token '\"rune\"'"
        await error(commands, "add", ["x" * 10_000])
        assert len(logged[-1][1]) < 400

    @pytest.mark.parametrize("method", ["add", "later", "check"])
    async def test_neither_array_nor_object(self, commands: Commands, method: str) -> None:
        for params in ("text", None, 5, True):
            text = "Expected array or object for params"
            assert await error(commands, method, params) == (-32602, text)


class TestRequests:
    @pytest.mark.parametrize("key", ["text", 5, -1, 1.5, None, True, "", 2**70])
    async def test_ids_come_back(self, commands: Commands, key: Any) -> None:
        answer = await ask(commands, id=key, method="add", params=[1])
        assert answer["id"] == key
        assert isinstance(answer["id"], type(key))

    async def test_an_unknown_method(self, commands: Commands) -> None:
        assert await error(commands, "nothing", []) == (-32601, "Unknown command 'nothing'")

    async def test_error_data(self, commands: Commands) -> None:
        answer = await ask(commands, method="add", params=[101])
        assert answer["error"] == {"code": -9, "message": "too much", "data": {"a": 101}, "traceback": "..."}

    async def test_answers_that_take_time(self, commands: Commands) -> None:
        assert await result(commands, "later", {}) == {"later": True}
        assert await error(commands, "later", [1]) == (-8, "not later")

    @pytest.mark.parametrize("method", ["broken", "broken-later"])
    async def test_a_fault_of_ours_is_told_and_logged(self, commands: Commands, method: str, caplog) -> None:
        code, text = await error(commands, method, [])
        assert (code, text) == (-1, "internal error: RuntimeError: a fault of ours")
        assert "a fault of ours" in caplog.text

    @pytest.mark.parametrize("document", [[], [1], 5, "x", None, {}, {"id": 1}])
    async def test_what_is_no_request(self, commands: Commands, document: Any) -> None:
        answer = json.loads(commands.dispatch(document))
        assert answer["id"] is None
        assert answer["error"]["code"] == -32600
        assert "does not contain" in answer["error"]["message"]

    async def test_a_filter(self, commands: Commands) -> None:
        answer = await ask(commands, method="add", params=[1], filter={"sum": True})
        assert answer["result"] == {"sum": 11}
        text = "filter: value must be true: invalid token (see logs for details)"
        assert await error(commands, "add", [1], filter={"sum": 1}) == (-32602, text)

    async def test_nothing_is_done_at_the_end(self, commands: Commands) -> None:
        commands.closing = True
        assert await error(commands, "add", [1]) == (-5, "lightningd is shutting down")


class TestCheck:
    async def test_only_looks(self, commands: Commands) -> None:
        for params in (["add", 1], {"command_to_check": "add", "a": 1}, {"a": 1, "command_to_check": "add"}):
            assert await result(commands, "check", params) == {"command_to_check": "add"}
        assert await result(commands, "check", ["later"]) == {"later": True}

    async def test_finds_what_the_method_would(self, commands: Commands) -> None:
        assert await error(commands, "check", ["add", 101]) == (-9, "too much")
        assert await error(commands, "check", ["add"]) == (-32602, "missing required parameter: a")
        assert await error(commands, "check", ["add", "x"]) == (
            -32602,
            "a: should be an integer: invalid token '\"x\"'",
        )
        assert await error(commands, "check", ["broken", 1]) == (-32602, "too many parameters: got 1, expected 0")
        assert await result(commands, "check", ["broken"]) == {"command_to_check": "broken"}

    async def test_what_cannot_be_checked(self, commands: Commands) -> None:
        for params in ([], {}, {"a": 1}, [None]):
            text = "missing required parameter: command_to_check"
            assert await error(commands, "check", params) == (-32602, text)
        assert await error(commands, "check", ["nothing"]) == (-32601, "Unknown command 'nothing'")
        assert await error(commands, "check", [5]) == (-32601, "Unknown command '5'")

    async def test_a_check_of_a_check_is_that_one(self, commands: Commands) -> None:
        assert await result(commands, "check", ["check", "check", "add", 1]) == {"command_to_check": "add"}
        assert await error(commands, "check", ["check", "add", 101]) == (-9, "too much")
        for params in (["check"], {"command_to_check": "check"}):
            text = "missing required parameter: command_to_check"
            assert await error(commands, "check", params) == (-32602, text)


class TestTable:
    async def test_help(self, commands: Commands) -> None:
        listed = await result(commands, "help", [])
        assert [entry["command"] for entry in listed["help"]] == [
            "add a [b] [note]",
            "broken ",
            "broken-later ",
            "check command_to_check",
            "help [command]",
            "later [x]",
        ]
        assert (await result(commands, "help", ["add"]))["help"] == [{"command": "add a [b] [note]"}]
        assert await error(commands, "help", ["nothing"]) == (-32601, "Unknown command nothing")

    async def test_a_name_is_taken_once(self, commands: Commands) -> None:
        with pytest.raises(ExtensionError, match="method 'add' of plug is one of lightningd's already"):
            commands.register(Command(name="add", handler=print, owner="plug"))
        assert commands.owner_of("add") == BUILT_IN
        assert commands.owner_of("nothing") is None
