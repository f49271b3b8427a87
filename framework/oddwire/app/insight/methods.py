"""The RPC methods ``oddwire-stats`` and ``oddwire-watch`` of a running program."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oddwire.app.declarations.rpc import bind_parameters
from oddwire.errors import LocalProtocolError, NodeRefused
from oddwire.insight.parameters import WATCHING
from oddwire.jsonrpc.parameters import INTERNAL_ERROR, Parameter
from oddwire.transports.base import HostMethod

if TYPE_CHECKING:
    from oddwire.app.application import Application

__all__ = ["local_methods", "stats_method", "watch_method"]

_Params = Sequence[Any] | Mapping[str, Any]


def local_methods(app: Application) -> tuple[HostMethod, ...]:
    """Return both methods of an application, for its own socket."""
    return stats_method("oddwire-stats", lambda: app), watch_method("oddwire-watch", lambda: app)


def stats_method(name: str, app: Callable[[], Application | None]) -> HostMethod:
    """Return the method that answers with the metrics of an application, once there is one."""

    async def stats(**_: Any) -> Any:
        return _of(app).insight.stats()

    return _method(name, "Tell what was counted: messages, handlers, peers, queues, limits", (), stats)


def watch_method(name: str, app: Callable[[], Application | None]) -> HostMethod:
    """Return the method that answers with the events of an application, once there is one."""

    async def watch(**values: Any) -> Any:
        return await _of(app).insight.watch(**values)

    return _method(name, "Tell what happens, event by event, waiting for the next", WATCHING, watch)


def _of(app: Callable[[], Application | None]) -> Application:
    found = app()
    if found is None:
        raise NodeRefused("the program has not started yet", code=INTERNAL_ERROR)
    return found


def _method(
    name: str, description: str, parameters: tuple[Parameter, ...], run: Callable[..., Coroutine[Any, Any, Any]]
) -> HostMethod:
    async def call(params: _Params) -> Any:
        values = bind_parameters(parameters, params)
        try:
            return await run(**values)
        except LocalProtocolError as error:
            raise NodeRefused(str(error), code=INTERNAL_ERROR) from error

    def check(params: _Params) -> None:
        bind_parameters(parameters, params)

    usage = " ".join(parameter.usage for parameter in parameters)
    return HostMethod(name=name, usage=usage, description=description, call=call, check=check)
