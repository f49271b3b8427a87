"""Calls of extensions' RPC methods: from our own program, and from the host node, with JSON results and error codes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from oddwire.app.context import AppContext
from oddwire.app.declarations.jsonable import to_plain
from oddwire.app.declarations.rpc import RpcMethod, bind_parameters
from oddwire.app.dispatch.error_peers import with_peer
from oddwire.errors import ExtensionError, NodeRefused, OddwireError, RpcError
from oddwire.exit_exceptions import must_pass
from oddwire.jsonrpc.parameters import INTERNAL_ERROR, INVALID_PARAMS, LIGHTNINGD, Parameter
from oddwire.log_limits import get_logger
from oddwire.printable import printable
from oddwire.transports.base import HostMethod

if TYPE_CHECKING:
    import asyncio

    from oddwire.app.application import Application

__all__ = ["BoundMethod", "Methods"]

logger = get_logger("oddwire.app")


class BoundMethod(NamedTuple):
    """An RPC method of a loaded extension; ``owner`` is the extension's name, ``run`` what is called with a context."""

    owner: str
    rpc: RpcMethod
    parameters: tuple[Parameter, ...]
    run: Callable[..., Coroutine[Any, Any, Any]]


class Methods:
    """The RPC methods of one application. ``app`` has to be set before the first call."""

    app: Application

    def __init__(self, table: Mapping[str, BoundMethod]) -> None:
        self._table = table
        self._tasks: set[asyncio.Task[Any]] = set()

    async def call(self, name: str, arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """Call a method for our own program; see `Application.call`."""
        if name not in self._table:
            known = ", ".join(sorted(self._table)) or "none"
            raise ExtensionError(f"no RPC method {name!r} is loaded; there are: {known}")
        method = self._table[name]
        if not named:
            return await self._run(method, bind_parameters(method.parameters, arguments))
        names = method.rpc.names
        for twice in names[: len(arguments)]:
            if twice in named:
                raise NodeRefused(f"parameter {twice} is given twice", code=INVALID_PARAMS)
        if len(arguments) > len(names):
            bind_parameters(method.parameters, arguments)  # raises the error for too many arguments
        by_name = {**dict(zip(names, arguments, strict=False)), **named}
        return await self._run(method, bind_parameters(method.parameters, by_name))

    @property
    def table(self) -> Mapping[str, RpcMethod]:
        """The methods by name, as their callers see them."""
        return {name: method.rpc for name, method in self._table.items()}

    def for_host(self) -> tuple[HostMethod, ...]:
        """Return the methods' descriptions for the host node, each with its ``call`` and ``check``."""
        return tuple(
            HostMethod(
                name=name,
                usage=method.rpc.usage,
                description=method.rpc.description,
                call=functools.partial(self._answer, method),
                check=functools.partial(_check, method),
            )
            for name, method in self._table.items()
        )

    def is_working_on(self, task: asyncio.Task[Any] | None) -> bool:
        """Return whether a task is running a method that the host node called."""
        return task in self._tasks

    async def _run(self, method: BoundMethod, values: Mapping[str, Any]) -> Any:
        return await method.run(AppContext(self.app, method.owner), **values)

    async def _answer(self, method: BoundMethod, params: Sequence[Any] | Mapping[str, Any]) -> Any:
        from asyncio import current_task  # imported late: not needed to answer a host's getmanifest

        values = bind_parameters(method.parameters, params)
        task = current_task()
        if task is not None:
            self._tasks.add(task)
        try:
            result = _plain(await self._run(method, values))
        except NodeRefused:
            raise
        except RpcError as error:
            raise _refusal(method, error) from error
        except (OddwireError, ValueError) as error:
            reason = with_peer(error)
            logger.info("RPC method %s of %r: %s: %s", method.rpc.name, method.owner, type(error).__name__, reason)
            raise NodeRefused(printable(reason) or type(error).__name__, code=LIGHTNINGD) from error
        except BaseException as error:
            if must_pass(error, task):
                raise
            logger.exception("RPC method %s of %r failed", method.rpc.name, method.owner)
            raise NodeRefused(f"{method.rpc.name}: internal error (see logs)", code=INTERNAL_ERROR) from error
        finally:
            if task is not None:
                self._tasks.discard(task)
        return {} if result is None else result


def _refusal(method: BoundMethod, error: RpcError) -> NodeRefused:
    """Return the answer to the host for what a method raised, with data that JSON can hold."""
    try:
        data = _plain(error.data)
    except (TypeError, ValueError) as failure:
        text = "RPC method %s of %r: the data of its RpcError is left out: %s"
        logger.error(text, method.rpc.name, method.owner, failure)
        data = None
    return NodeRefused(printable(error.text), code=error.code, data=data)


def _plain(result: object) -> Any:
    try:
        return to_plain(result)
    except RecursionError:
        raise TypeError("JSON cannot hold what the method returned: it is nested too deep, or in itself") from None


def _check(method: BoundMethod, params: Sequence[Any] | Mapping[str, Any]) -> None:
    bind_parameters(method.parameters, params)
