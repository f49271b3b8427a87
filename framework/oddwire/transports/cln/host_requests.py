"""Requests of lightningd to the application: RPC methods, ``check`` of their parameters, ``setconfig``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from oddwire.errors import NodeRefused
from oddwire.exit_exceptions import must_pass
from oddwire.jsonrpc.documents import encode
from oddwire.jsonrpc.progress import ProgressNotices
from oddwire.log_limits import get_logger
from oddwire.transports.base import PROGRESS, HostMethod, Manifest

__all__ = ["HostRequests"]

logger = get_logger("oddwire.transports.cln")

# error codes of JSON-RPC, and of lightningd
_METHOD_NOT_FOUND: Final = -32601
_INVALID_PARAMS: Final = -32602
_INTERNAL_ERROR: Final = -32603
_TERMINATED: Final = -4


class HostRequests:
    """Answers requests by ``send``, any number concurrently; requests before `begin` wait for it."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._methods: dict[str, HostMethod] = {}
        self._options: dict[str, Callable[[Any], None] | None] = {}
        self._early: list[dict[str, Any]] | None = []
        self._ready: Callable[[], Awaitable[None]] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def begin(self, manifest: Manifest, ready: Callable[[], Awaitable[None]] | None = None) -> None:
        """Start handling requests, queued ones first; each method call awaits ``ready`` first."""
        self._ready = ready
        self._methods = {method.name: method for method in manifest.rpc_methods}
        self._options = {option.name: option.set if option.dynamic else None for option in manifest.options}
        early, self._early = self._early or [], None
        for request in early:
            self.take_request(request)

    def take_request(self, request: dict[str, Any]) -> None:
        """Answer one request, now or later."""
        if self._closed:
            self._refuse(request, _TERMINATED, "the plugin is ending")
        elif self._early is not None:
            self._early.append(request)
        else:
            method = self._methods.get(str(request.get("method")))
            if method is None:
                self._answer_own(request)
            else:
                task = asyncio.get_running_loop().create_task(self._run(method, request), name=f"rpc {method.name}")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Cancel requests under way; these and later ones are answered with an error. Idempotent."""
        self._closed = True
        early, self._early = self._early or [], None
        for request in early:
            self.take_request(request)
        tasks = self._tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # Inside -------------------------------------------------------------------------------------------

    async def _run(self, method: HostMethod, request: dict[str, Any]) -> None:
        me = asyncio.current_task()
        progress = ProgressNotices(self._send, request["id"])
        PROGRESS.set(progress)  # in the context of this task, and of those that it makes
        try:
            if self._ready is not None:
                await self._ready()
            result = await method.call(_params(request))
            answer = _document(request, "result", result)
        except NodeRefused as error:
            answer = _document(request, "error", error.to_json())
        except asyncio.CancelledError:
            self._refuse(request, _TERMINATED, "the plugin ended before it had answered")
            raise
        except BaseException as error:
            if must_pass(error, me):
                raise
            # Even sys.exit fails only this call, and does not end the plugin
            logger.exception("%s failed", method.name)
            answer = _document(request, "error", _error(_INTERNAL_ERROR, f"{method.name}: {_why(error)}"))
        finally:
            progress.over = True
            del me
        self._send(answer)

    def _answer_own(self, request: dict[str, Any]) -> None:
        name, params = request.get("method"), _params(request)
        try:
            if name == "check":
                result = self._check(params)
            elif name == "setconfig":
                result = self._set(params)
            else:
                raise NodeRefused(f"Unknown command '{name}'", code=_METHOD_NOT_FOUND)
        except NodeRefused as error:
            self._send(_document(request, "error", error.to_json()))
        except BaseException as error:
            if must_pass(error):
                raise
            logger.exception("%s failed", name)
            self._refuse(request, _INTERNAL_ERROR, f"{name}: {_why(error)}")
        else:
            self._send(_document(request, "result", result))

    def _check(self, params: list[Any] | dict[str, Any]) -> dict[str, Any]:
        if isinstance(params, dict):
            rest: list[Any] | dict[str, Any] = {
                key: value for key, value in params.items() if key != "command_to_check"
            }
            name = params.get("command_to_check")
        else:
            name, rest = (params[0] if params else None), params[1:]
        if name == "setconfig":
            self._setter(rest)
        elif isinstance(name, str) and name in self._methods:
            self._methods[name].check(rest)
        else:
            raise NodeRefused(f"Unknown command '{name}'", code=_METHOD_NOT_FOUND)
        return {"command_to_check": name}

    def _set(self, params: list[Any] | dict[str, Any]) -> dict[str, Any]:
        name, setter, value = self._setter(params)
        try:
            setter(value)
        except ValueError as error:
            raise NodeRefused(f"{name}: {error}", code=_INVALID_PARAMS) from error
        return {}

    def _setter(self, params: list[Any] | dict[str, Any]) -> tuple[str, Callable[[Any], None], Any]:
        named = params if isinstance(params, dict) else dict(zip(("config", "val"), params, strict=False))
        name = named.get("config")
        setter = self._options.get(name) if isinstance(name, str) else None
        if not isinstance(name, str) or setter is None:
            raise NodeRefused(f"{name} is no option of ours that can be set while running", code=_INVALID_PARAMS)
        return name, setter, named.get("val")

    def _refuse(self, request: dict[str, Any], code: int, text: str) -> None:
        self._send(_document(request, "error", _error(code, text)))


def _params(request: dict[str, Any]) -> list[Any] | dict[str, Any]:
    params = request.get("params")
    return params if isinstance(params, (list, dict)) else {}


def _error(code: int, text: str) -> dict[str, Any]:
    return {"code": code, "message": text}


def _why(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if isinstance(error, (TypeError, ValueError)) else type(error).__name__


def _document(request: dict[str, Any], kind: str, content: object) -> bytes:
    return encode({"jsonrpc": "2.0", "id": request["id"], kind: content})
