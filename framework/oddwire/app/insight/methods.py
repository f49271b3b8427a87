"""The RPC methods ``oddwire-stats`` and ``oddwire-watch`` of a running program."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from oddwire.app.declarations.rpc import bind_parameters
from oddwire.errors import LocalProtocolError, NodeRefused
from oddwire.jsonrpc.parameters import INTERNAL_ERROR, Parameter
from oddwire.transports.base import HostMethod

if TYPE_CHECKING:
    from oddwire.app.application import Application

__all__ = ["WATCHING", "local_methods", "stats_method", "watch_method"]

_Params = Sequence[Any] | Mapping[str, Any]

_LONGEST: Final = 60.0  # seconds
_MOST: Final = 1000  # events of an answer


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
        except asyncio.CancelledError:
            raise

    def check(params: _Params) -> None:
        bind_parameters(parameters, params)

    usage = " ".join(parameter.usage for parameter in parameters)
    return HostMethod(name=name, usage=usage, description=description, call=call, check=check)


def _number(most: float) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        number = _as_number(value)
        if not 0 <= number <= most:
            raise ValueError(f"should be a number from 0 to {most:g}")
        return number

    return read


def _as_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("should be a number")
    try:
        return float(value)
    except ValueError:
        raise ValueError("should be a number") from None


def _whole(most: int, least: int = 0) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        number = _as_number(value)
        if not number.is_integer() or not least <= number <= most:
            raise ValueError(f"should be a whole number from {least} to {most}")
        return int(number)

    return read


def _types(value: Any) -> tuple[int, ...]:
    items = value if isinstance(value, list) else [value]
    try:
        return tuple(int(item, 0) if isinstance(item, str) else _whole(65535)(item) for item in items)
    except ValueError:
        raise ValueError("should be a list of type numbers, 0 to 65535") from None


def _peers(value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) for item in items):
        raise ValueError("should be a list of node ids")
    return tuple(item.lower() for item in items)


WATCHING: Final = (
    Parameter("after", _whole(1 << 53), required=False),
    Parameter("wait", _number(_LONGEST), required=False, default=0.0),
    Parameter("limit", _whole(_MOST, 1), required=False, default=_MOST),
    Parameter("types", _types, required=False, default=()),
    Parameter("peers", _peers, required=False, default=()),
)
"""The parameters of a method that watches."""
