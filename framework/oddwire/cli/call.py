"""`oddwire call`: call a method of a running node, as lightning-cli does."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from oddwire.cli.arguments import CallCommand
from oddwire.cli.events import Printer
from oddwire.cli.exit import FAILED, USAGE, CommandFailure
from oddwire.cli.node_options import DEFAULT_DIR, LightningDir, NodeNetwork, expanded
from oddwire.cli.shell_words import as_typed
from oddwire.durations import duration
from oddwire.errors import DefinitionError, NodeRefused, OddwireError, TransportError
from oddwire.jsonrpc import JsonRpcClient
from oddwire.jsonrpc.parameters import METHOD_NOT_FOUND
from oddwire.printable import printable_json
from oddwire.proto.bolt1 import DEFAULT_NETWORK

__all__ = ["program", "read_parameters", "read_value"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)

# Digits longer than this are an id or hex, not a number
_LONGEST_NUMBER = 18
_MOMENT = 2.0  # seconds to wait for the list of methods


@program.command("call", cls=CallCommand)
def _command(
    context: typer.Context,
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
    timeout: Annotated[float | None, typer.Option("--timeout", help="Time out after this many seconds.")] = None,
) -> None:
    """Call a method of a running program or node, and print its result.

    It exits with 1 and the error if that is refused.
    """
    printer = Printer()
    given = [as_typed(text) for text in params or ()]
    method = as_typed(method)
    by_name = keywords or (not ordered and bool(given) and "=" in given[0])
    try:
        if method.startswith("-"):
            close = difflib.get_close_matches(method.partition("=")[0], _option_names(context), 1)
            hint = f"did you mean {close[0]}?" if close else "METHOD should come first"
            raise ValueError(f"no such option: {method}; {hint}")
        parameters = read_parameters(given, by_name=by_name)
    except ValueError as error:
        printer.failure(str(error))
        raise typer.Exit(USAGE) from None
    try:
        path = expanded(lightning_dir) / network / rpc_file  # an absolute rpc_file stands for itself
    except CommandFailure as failure:
        printer.failure(str(failure))
        raise typer.Exit(failure.code) from None
    try:
        result = asyncio.run(_call(path, method, parameters, timeout))
    except NodeRefused as error:
        _print(error.to_json(), raw)
        if error.code == METHOD_NOT_FOUND and (similar := asyncio.run(_similar(path, method))):
            printer.failure(f"did you mean {similar}?")
        raise typer.Exit(FAILED) from None
    except (DefinitionError, TransportError) as error:
        printer.failure(f"{error}{_elsewhere(path, rpc_file)}")
        raise typer.Exit(USAGE) from None
    except TimeoutError:
        printer.failure(f"no answer in {duration(timeout or 0.0)}")
        raise typer.Exit(FAILED) from None
    _print(result, raw)


async def _call(path: Path, method: str, parameters: Any, timeout: float | None) -> Any:  # noqa: ASYNC109 - the client's
    if not sys.stderr.isatty():
        async with JsonRpcClient(path) as client:
            return await client.call(method, parameters, timeout=timeout)
    from oddwire.cli.progress_bar import ProgressBar  # only people watch

    with ProgressBar(method) as bar:
        async with JsonRpcClient(path, on_notification=bar.notified) as client:
            with contextlib.suppress(NodeRefused):  # a node that has no such method notifies of nothing
                await client.call("notifications", [True], timeout=timeout)
            return await client.call(method, parameters, timeout=timeout)


async def _similar(path: Path, method: str) -> str:
    """Return the node's method with the most similar name; empty if there is none, or the node does not answer."""
    try:
        answer = await _call(path, "help", [], _MOMENT)
        names = [str(entry["command"]).partition(" ")[0] for entry in answer["help"]]
    except (OddwireError, TimeoutError, TypeError, KeyError):
        return ""
    return (*difflib.get_close_matches(method, names, 1), "")[0]


def _elsewhere(path: Path, rpc_file: str) -> str:
    """Return a hint that names the networks with a node in the same folder, if this network has none; else empty."""
    if Path(rpc_file).is_absolute() or path.exists():
        return ""
    folder = path.parent.parent
    with contextlib.suppress(OSError):
        others = sorted(entry.name for entry in folder.iterdir() if (entry / rpc_file).is_socket())
        if others:
            return f"; there is one of --network {' and of '.join(others)}"
    return ""


def _option_names(context: typer.Context) -> list[str]:
    names = (name for parameter in context.command.params for name in (*parameter.opts, *context.help_option_names))
    return [name for name in names if name.startswith("--")]


def read_parameters(given: Sequence[str], *, by_name: bool) -> dict[str, Any] | list[Any]:
    """Parse parameters of a command line. Raises `ValueError` for a value that is not JSON, or has no name."""
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
    """Parse one value as lightning-cli does: numbers, true, false, null, and text in brackets or quotes, are JSON.

    Everything else is a string; so are digits that start with 0 or are too many for a number. Raises `ValueError` for
    text in brackets or quotes that is not JSON.
    """
    number = text.replace(".", "", 1)
    if number.isascii() and number.isdigit():
        is_number = len(text) <= _LONGEST_NUMBER and (text[0] != "0" or text[1:2] in ("", ".")) and text[-1] != "."
        # A number that JSON would write in another way, such as 1.50, is passed as a string: methods accept both
        return _number(text) if is_number and text[0] != "." else text
    if text in ("true", "false", "null") or (len(text) > 1 and text[0] + text[-1] in ("{}", "[]", '""')):
        try:
            return _read_json(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{text!r} is not JSON: {error}; as a text it is written {json.dumps(text, ensure_ascii=False)}"
            ) from None
    return text


def _number(text: str) -> Any:
    value = json.loads(text)
    return value if json.dumps(value) == text else text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a value of JSON")


_read_json: Final = json.JSONDecoder(parse_constant=_refuse_constant).decode


def _print(value: Any, raw: bool) -> None:
    """Print a result, with escapes for characters that are not printable or that the terminal cannot show."""
    layout: dict[str, Any] = {"separators": (",", ":")} if raw else {"indent": 3}
    text = printable_json(json.dumps(value, ensure_ascii=False, **layout))
    try:
        text.encode(sys.stdout.encoding)
    except (AttributeError, UnicodeEncodeError):
        text = printable_json(json.dumps(value, **layout))
    typer.echo(text)
