"""The table of JSON-RPC methods, the parsing of their parameters, and the dispatch of requests."""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from oddwire.errors import ExtensionError, NodeRefused
from oddwire.jsonrpc.documents import encode
from oddwire.jsonrpc.filter import apply_filter, check_filter
from oddwire.jsonrpc.parameters import INVALID_PARAMS, LIGHTNINGD, METHOD_NOT_FOUND, Parameter, bind
from oddwire.jsonrpc.server import INVALID_REQUEST, RpcConnection
from oddwire.log_limits import get_logger

__all__ = ["BUILT_IN", "Command", "Commands", "RpcRequest"]

logger = get_logger("oddwire.jsonrpc")

BUILT_IN: Final = "lightningd"
"""The owner of the node's own methods, by the name that plugins see."""

_SHUTTING_DOWN: Final = -5  # lightningd's code

_QUOTED: Final = 1000


@dataclass(slots=True, eq=False)
class RpcRequest:
    """A request under way. ``params`` are as the client sent them; ``checking`` is set if ``check`` was called."""

    id: Any
    method: str
    params: Any
    connection: RpcConnection | None = None
    checking: bool = False

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send the client a notification about this request, if it has enabled notifications."""
        if self.connection is not None and self.connection.notifications:
            body = {"jsonrpc": "2.0", "method": method, "params": {"id": self.id, **params}}
            self.connection.send(encode(body))


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One method.

    ``handler(request, *values)`` is called with one value per parameter and returns the result or an awaitable of it;
    it raises `NodeRefused`. With ``checks`` it is called for ``check`` too, where it must raise the same errors and
    change nothing; without, ``check`` ends after the parameters were parsed. With ``parameters`` None, the handler
    parses those of the request itself.
    """

    name: str
    handler: Callable[..., Any | Awaitable[Any]]
    parameters: tuple[Parameter, ...] | None = ()
    description: str = ""
    owner: str = BUILT_IN
    usage: str = ""
    checks: bool = False
    deprecated: bool = False

    @property
    def help(self) -> str:
        """The method's line in ``help``: name and parameters."""
        usage = self.usage or " ".join(parameter.usage for parameter in self.parameters or ())
        return f"{self.name}{' (DEPRECATED!)' if self.deprecated else ''} {usage}"


class Commands:
    """All methods by name, and `dispatch`. ``log`` is called with level and text; ``who`` shuts down at the end."""

    def __init__(self, log: Callable[[str, str], None] | None = None, who: str = BUILT_IN) -> None:
        self._who = who
        self._commands: dict[str, Command] = {}
        self._log = log or (lambda level, text: logger.debug("%s %s", level, text))
        self.closing = False
        """Set when the program ends: all requests are refused from then on."""

    # The table

    def __iter__(self) -> Any:
        return iter(sorted(self._commands.values(), key=lambda command: command.name))

    def get(self, name: str) -> Command | None:
        """Return the method of this name, None if there is none."""
        return self._commands.get(name)

    def owner_of(self, name: str) -> str | None:
        """Return the owner of a method: a plugin's path, ``lightningd`` for the node's own; None if there is none."""
        command = self._commands.get(name)
        return None if command is None else command.owner

    def register(self, command: Command) -> None:
        """Add a method. Raises `ExtensionError` if its name is taken."""
        owner = self.owner_of(command.name)
        if owner is not None:
            raise ExtensionError(f"method {command.name!r} of {command.owner} is one of {owner}'s already")
        self._commands[command.name] = command

    def unregister(self, owner: str) -> None:
        """Remove every method of ``owner``; there may be none."""
        for name in [name for name, command in self._commands.items() if command.owner == owner]:
            del self._commands[name]

    # Requests

    def dispatch(self, document: Any, connection: RpcConnection | None = None) -> bytes | Coroutine[Any, Any, bytes]:
        """Handle one request. Return the answer as encoded JSON, or a coroutine that returns it. Never raises."""
        # Checks are in lightningd's order, so that a request with two faults gets the same answer
        if type(document) is not dict or "jsonrpc" not in document:
            quoted = json.dumps(document, ensure_ascii=False, separators=(",", ":"))[:_QUOTED]
            return _malformed(f"JSON-RPC message does not contain \"jsonrpc\" field: '{quoted}'")
        if "id" not in document:
            return _malformed("No id")
        key = document["id"]
        if isinstance(key, (dict, list)):
            return _malformed("Expected string/primitive for id")
        if document["jsonrpc"] != "2.0":
            return _malformed('jsonrpc: "2.0" must be specified in the request')
        try:
            if "method" not in document or "params" not in document:
                raise NodeRefused("No params" if "method" in document else "No method", code=INVALID_REQUEST)
            if self.closing:
                raise NodeRefused(f"{self._who} is shutting down", code=_SHUTTING_DOWN)
            method = document["method"]
            if type(method) is not str:
                raise NodeRefused("Expected string for method", code=INVALID_REQUEST)
            command = self._commands.get(method)
            if command is None:
                raise NodeRefused(f"Unknown command '{method}'", code=METHOD_NOT_FOUND)
            wanted = document.get("filter")
            if "filter" in document:
                self._check_filter(method, wanted)
            request = RpcRequest(key, method, document["params"], connection)
            result = self._run(command, request)
            if inspect.isawaitable(result):
                return self._answer_later(key, result, wanted)
            return _succeeded(key, result, wanted)
        except NodeRefused as error:
            return _refused(key, error)
        except Exception as error:
            return self._broken(key, error)

    def _run(self, command: Command, request: RpcRequest) -> Any:
        if command.parameters is None:
            if not isinstance(request.params, (dict, list)):
                raise NodeRefused("Expected array or object for params", code=INVALID_PARAMS)
            return command.handler(request)
        values = self._read(command, request, request.params)
        if request.checking and not command.checks:
            return None
        return command.handler(request, *values)

    async def _answer_later(self, key: Any, result: Awaitable[Any], wanted: Any) -> bytes:
        try:
            return _succeeded(key, await result, wanted)
        except NodeRefused as error:
            return _refused(key, error)
        except Exception as error:
            return self._broken(key, error)

    def _broken(self, key: Any, error: Exception) -> bytes:
        # A bug: answered with an error, and logged with its traceback
        logger.error("a JSON-RPC method failed", exc_info=error)
        return _refused(key, NodeRefused(f"internal error: {type(error).__name__}: {error}", code=LIGHTNINGD))

    # Parameters

    def _read(self, command: Command, request: RpcRequest, params: Any) -> list[Any]:
        return bind(command.parameters or (), params, lambda parameter, value: self._parse(parameter, value, request))

    def _parse(self, parameter: Parameter, value: Any, request: RpcRequest) -> Any:
        try:
            return parameter.parse(value)
        except ValueError as error:
            raise self.bad_parameter(request, parameter.name, value, str(error)) from None

    def bad_parameter(
        self, request: RpcRequest, name: str, value: Any, text: str, *, show_value: bool = True
    ) -> NodeRefused:
        """Return lightningd's error for an invalid parameter. Its value is logged, and not in the error.

        For ``check`` the value is in the error instead, unless ``show_value`` is false.
        """
        token = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if request.checking and show_value:
            return NodeRefused(f"{name}: {text}: invalid token '{token}'", code=INVALID_PARAMS)
        shown = token if len(token) <= 200 else f"{token[:200]}... ({len(token)} characters)"
        self._log("info", f"JSON COMMAND {request.method}: Invalid parameter {name} ({text}): token '{shown}'")
        return NodeRefused(f"{name}: {text}: invalid token (see logs for details)", code=INVALID_PARAMS)

    def _check_filter(self, method: str, wanted: Any) -> None:
        try:
            check_filter(wanted)
        except ValueError as error:
            raise self.bad_parameter(RpcRequest(None, method, None), "filter", wanted, str(error)) from None

    # check and help

    def install(self) -> None:
        """Add ``check`` and ``help``, the methods about methods."""
        self.register(
            Command(
                name="check",
                handler=self._check,
                parameters=None,
                usage="command_to_check",
                description="Check the parameters of a method without calling it",
            )
        )
        self.register(
            Command(
                name="help",
                handler=self._help,
                parameters=(Parameter("command", str, required=False),),
                description="List the methods and their parameters",
                checks=True,
            )
        )

    def _check(self, request: RpcRequest) -> Any:
        params = request.params
        # As lightningd: a check of a check is that of the inner method; by name, params have no room for a second one
        if isinstance(params, dict):
            inner: Any = {name: value for name, value in params.items() if name != "command_to_check"}
            name = params.get("command_to_check")
            given = "command_to_check" in params and name != "check"
        else:
            params = list(itertools.dropwhile(lambda value: value == "check", params))
            inner = params[1:]
            given = bool(params) and params[0] is not None
            name = params[0] if params else None
        if not given:
            raise NodeRefused("missing required parameter: command_to_check", code=INVALID_PARAMS)
        command = self._commands.get(name) if isinstance(name, str) else None
        if command is None:
            token = json.dumps(name, ensure_ascii=False, separators=(",", ":")).strip('"')
            raise NodeRefused(f"Unknown command '{token}'", code=METHOD_NOT_FOUND)
        # A plugin gets all params, as lightningd passes ``check`` on
        seen = inner if command.owner == BUILT_IN else params
        result = self._run(command, RpcRequest(request.id, command.name, seen, request.connection, checking=True))
        if inspect.isawaitable(result):
            return self._checked_later(command.name, result)
        return {"command_to_check": command.name}

    async def _checked_later(self, name: str, result: Awaitable[Any]) -> dict[str, Any]:
        answer = await result
        return answer if isinstance(answer, dict) and answer else {"command_to_check": name}

    def _help(self, request: RpcRequest, name: str | None) -> Any:
        if name is not None and name not in self._commands:
            raise NodeRefused(f"Unknown command {name}", code=METHOD_NOT_FOUND)
        if request.checking:
            return None
        commands = [self._commands[name]] if name is not None else list(self)
        return {"help": [{"command": command.help} for command in commands], "format-hint": "simple"}


def _succeeded(key: Any, result: Any, wanted: Any) -> bytes:
    if wanted is not None and isinstance(result, dict):
        result = apply_filter(result, wanted)
    return encode({"jsonrpc": "2.0", "id": key, "result": result})


def _refused(key: Any, error: NodeRefused) -> bytes:
    return encode({"jsonrpc": "2.0", "id": key, "error": error.to_json()})


def _malformed(text: str) -> bytes:
    return _refused(None, NodeRefused(text, code=INVALID_REQUEST))
