"""``plugin``: start, stop, list and rescan plugins while the node runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from oddwire.errors import NodeRefused
from oddwire.jsonrpc.parameters import INVALID_PARAMS, text_of, unknown_parameter
from oddwire.node.commands import Command, RpcRequest

if TYPE_CHECKING:
    from oddwire.node.node import Node

__all__ = ["commands"]

# The name of each subcommand's parameter
_SUBCOMMANDS: Final = {"start": "plugin", "stop": "plugin", "startdir": "directory", "rescan": None, "list": None}


def commands(node: Node) -> list[Command]:
    """Return the methods of this module for ``node``."""

    def plugin(request: RpcRequest) -> Any:
        subcommand, values = _read(request.params)
        host = node.plugins
        if request.checking:
            if subcommand == "start":
                host.find_program(values[0])
            elif subcommand == "startdir":
                host.find_programs(values[0])
            return None
        match subcommand:
            case "start":
                path, options = values
                return host.plugin_start(path, options, command_id=request.id)
            case "stop":
                return host.plugin_stop(values[0])
            case "startdir":
                return host.plugin_startdir(values[0], command_id=request.id)
            case "rescan":
                return host.plugin_rescan(command_id=request.id)
        return host.plugin_list()

    return [
        Command(
            name="plugin",
            handler=plugin,
            parameters=None,
            usage="subcommand=start|stop|startdir|rescan|list",
            description="Start, stop, list or find plugins",
            checks=True,
        )
    ]


def _read(params: Any) -> tuple[str, list[Any]]:
    """Return the subcommand and the values of its parameters; of ``start``, also the plugin's options."""
    if isinstance(params, list):
        named: dict[str, Any] = {}
        rest = [value for value in params[1:] if value is not None]
        subcommand = text_of(params[0]) if params and params[0] is not None else None
    else:
        named = {name: value for name, value in params.items() if name not in ("subcommand", "command_to_check")}
        rest = []
        subcommand = text_of(params["subcommand"]) if "subcommand" in params else None
    if subcommand is None:
        raise NodeRefused("missing required parameter: subcommand", code=INVALID_PARAMS)
    if subcommand not in _SUBCOMMANDS:
        raise NodeRefused(f"Unknown subcommand '{subcommand}'", code=INVALID_PARAMS)
    wanted = _SUBCOMMANDS[subcommand]
    if wanted is None:
        _check_no_more(1, rest, named)
        return subcommand, []
    value = rest.pop(0) if rest else named.pop(wanted, None)
    if value is None:
        raise NodeRefused(f"missing required parameter: {wanted}", code=INVALID_PARAMS)
    if subcommand == "start":
        return subcommand, [text_of(value), _options(rest, named)]
    _check_no_more(2, rest, named)
    return subcommand, [text_of(value)]


def _check_no_more(expected: int, rest: list[Any], named: dict[str, Any]) -> None:
    if named:
        raise unknown_parameter(next(iter(named)))
    if rest:
        raise NodeRefused(f"too many parameters: got {expected + len(rest)}, expected {expected}", code=INVALID_PARAMS)


def _options(rest: list[Any], named: dict[str, Any]) -> dict[str, Any]:
    """Return the options for the plugin in ``plugin start``: ``name=value`` or ``name`` by position, or by name."""
    options = named.pop("options", [])
    if not isinstance(options, list):
        raise NodeRefused("options: should be an array", code=INVALID_PARAMS)
    found = dict(named)
    for item in [*(rest[0] if len(rest) == 1 and isinstance(rest[0], list) else rest), *options]:
        name, _, value = text_of(item).partition("=")
        found[name] = value
    return found
