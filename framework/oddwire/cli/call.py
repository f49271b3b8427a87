"""`oddwire call`: call a method of a running node, as lightning-cli does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from oddwire.cli.failure import FAILED, USAGE, Failure
from oddwire.cli.node import DEFAULT_DIR, LightningDir, NodeNetwork, expanded
from oddwire.durations import duration
from oddwire.errors import DefinitionError, NodeRefused, TransportError
from oddwire.jsonrpc import JsonRpcClient
from oddwire.proto.bolt1 import DEFAULT_NETWORK

__all__ = ["command", "read_parameters", "read_value"]

# A number this long is an id or hex, not something to count with
_LONGEST_NUMBER = 18


def command(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="The method's name; help lists them.")],
    params: Annotated[
        list[str] | None, typer.Argument(metavar="PARAMS", help="Values in order, or name=value pairs.")
    ] = None,
    lightning_dir: LightningDir = DEFAULT_DIR,
    network: NodeNetwork = DEFAULT_NETWORK,
    rpc_file: Annotated[
        str, typer.Option("--rpc-file", metavar="FILE", help="The socket, if it is another one.")
    ] = "lightning-rpc",
    keywords: Annotated[bool, typer.Option("-k", "--keywords", help="PARAMS are name=value pairs.")] = False,
    ordered: Annotated[
        bool, typer.Option("-o", "--order", help="PARAMS are values, though the first has a =.")
    ] = False,
    raw: Annotated[bool, typer.Option("-R", "--raw", help="Print the result on one line.")] = False,
    timeout: Annotated[float | None, typer.Option("--timeout", help="Give up after this many seconds.")] = None,
) -> None:
    """Call a method of a running node and print its result; exits with 1 and the error if the node refuses."""
    given = params or []
    by_name = keywords or (not ordered and bool(given) and "=" in given[0])
    try:
        parameters = read_parameters(given, by_name=by_name)
    except ValueError as error:
        typer.echo(f"oddwire: {error}", err=True)
        raise typer.Exit(USAGE) from None
    try:
        path = expanded(lightning_dir) / network / rpc_file  # an absolute rpc_file stands for itself
    except Failure as failure:
        typer.echo(f"oddwire: {failure}", err=True)
        raise typer.Exit(failure.code) from None
    try:
        result = asyncio.run(_call(path, method, parameters, timeout))
    except NodeRefused as error:
        _print(error.to_json(), raw)
        raise typer.Exit(FAILED) from None
    except (DefinitionError, TransportError) as error:
        typer.echo(f"oddwire: {error}", err=True)
        raise typer.Exit(USAGE) from None
    except TimeoutError:
        typer.echo(f"oddwire: no answer in {duration(timeout or 0.0)}", err=True)
        raise typer.Exit(FAILED) from None
    _print(result, raw)


async def _call(path: Path, method: str, parameters: Any, timeout: float | None) -> Any:  # noqa: ASYNC109 - the client's
    async with JsonRpcClient(path) as client:
        return await client.call(method, parameters, timeout=timeout)


def read_parameters(given: Sequence[str], *, by_name: bool) -> dict[str, Any] | list[Any]:
    """Read parameters from a command line. Raises `ValueError` for one without its name."""
    if not by_name:
        return [read_value(text) for text in given]
    named: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"expected name=value, not {text!r}")
        named[name] = read_value(value)
    return named


def read_value(text: str) -> Any:
    """Read one value as lightning-cli does: numbers, true, false, null, and what has brackets or quotes, are JSON.

    Everything else is text; so are digits that start with 0 or are too many for a number. Raises `ValueError` for what
    has brackets or quotes and is no JSON.
    """
    number = text.replace(".", "", 1)
    if number.isascii() and number.isdigit():
        is_number = len(text) <= _LONGEST_NUMBER and (text[0] != "0" or text[1:2] in ("", ".")) and text[-1] != "."
        return json.loads(text) if is_number and text[0] != "." else text
    if text in ("true", "false", "null") or (len(text) > 1 and text[0] + text[-1] in ("{}", "[]", '""')):
        try:
            return json.loads(text)
        except ValueError as error:
            raise ValueError(f"{text!r} is not JSON: {error}") from None
    return text


def _print(value: Any, raw: bool) -> None:
    if raw:
        typer.echo(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    else:
        typer.echo(json.dumps(value, ensure_ascii=False, indent=3))
