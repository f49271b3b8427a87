"""`oddwire call`: call a method of a running node, as lightning-cli does."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import json
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from oddwire.cli.arguments import CallCommand
from oddwire.cli.events import Printer
from oddwire.cli.exit import FAILED, USAGE, CommandFailure
from oddwire.cli.running_programs import RPC_FILE, find_program
from oddwire.cli.shared_options import NodesNetwork, RpcFile, positive
from oddwire.cli.shell_words import as_typed
from oddwire.durations import duration
from oddwire.errors import DefinitionError, NodeRefused, OddwireError, TransportError
from oddwire.jsonrpc import JsonRpcClient
from oddwire.jsonrpc.parameters import METHOD_NOT_FOUND
from oddwire.jsonrpc.program_folder import stopped_process
from oddwire.printable import printable_json

__all__ = ["program", "read_parameters", "read_value"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)

# Digits longer than this are an id or hex, not a number
_LONGEST_NUMBER = 18
_TARGETS: Final = ("data_dir", "wanted", "lightning_dir", "network", "rpc_file")
_OF_NODES: Final = ("--lightning-dir", "--network")
_NO_RUN: Final = "; and no 'oddwire run' of yours is running"
_MOMENT = 2.0  # seconds to wait for the list of methods
_LOOK = 2.0  # seconds between two looks whether the program is stopped


@program.command("call", cls=CallCommand)
def _command(
    context: typer.Context,
    method: Annotated[str, typer.Argument(metavar="METHOD", help="The method's name; help lists them.")],
    params: Annotated[
        list[str] | None, typer.Argument(metavar="PARAMS", help="Values in order, or name=value pairs.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Call the oddwire run that has this one.")
    ] = None,
    wanted: Annotated[
        str | None,
        typer.Option("--program", metavar="NAME|PID", help="Call this oddwire run, or this plugin of a node."),
    ] = None,
    lightning_dir: Annotated[
        Path | None, typer.Option("--lightning-dir", metavar="DIR", help="Call the node that keeps its files here.")
    ] = None,
    network: NodesNetwork = None,
    rpc_file: RpcFile = None,
    keywords: Annotated[bool, typer.Option("-k", "--keywords", help="PARAMS are name=value pairs.")] = False,
    ordered: Annotated[
        bool, typer.Option("-o", "--order", help="PARAMS are values, though the first has a =.")
    ] = False,
    raw: Annotated[bool, typer.Option("-R", "--raw", "--json", help="Print the result on one line.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", callback=positive, help="Time out after so many."),
    ] = None,
) -> None:
    """Call a method of a running program or node, and print its result.

    Without options that say which, it is the one oddwire run of yours, or the node in ~/.oddwire. It exits with 1 and
    the error if the call is refused.
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
    target = _target(context)
    try:
        _check_target(**target)
        path = asyncio.run(find_program(**target))
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
    except CommandFailure as failure:
        printer.failure(str(failure))
        raise typer.Exit(failure.code) from None
    except (DefinitionError, TransportError) as error:
        alone = not any(target.values())
        printer.failure(f"{error}{_elsewhere(path)}{_NO_RUN if alone and not path.exists() else ''}")
        raise typer.Exit(USAGE if isinstance(error, DefinitionError) else FAILED) from None
    except TimeoutError:
        printer.failure(f"no answer in {duration(timeout or 0.0)}")
        raise typer.Exit(FAILED) from None
    _print(result, raw)


async def _call(path: Path, method: str, parameters: Any, timeout: float | None) -> Any:  # noqa: ASYNC109 - the client's
    if not sys.stderr.isatty():
        async with JsonRpcClient(path) as client:
            return await _answer(path, client.call(method, parameters, timeout=timeout))
    from oddwire.cli.progress_bar import ProgressBar  # only people watch

    with ProgressBar(method) as bar:
        async with JsonRpcClient(path, on_notification=bar.notified) as client:
            with contextlib.suppress(NodeRefused):  # a node that has no such method notifies of nothing
                await _answer(path, client.call("notifications", [True], timeout=timeout))
            return await _answer(path, client.call(method, parameters, timeout=timeout))


async def _answer(path: Path, call: Coroutine[Any, Any, Any], look: float = _LOOK) -> Any:
    """Wait for the answer, however long that takes. Raises `CommandFailure` if the program is stopped and stays so."""
    answer = asyncio.ensure_future(call)
    try:
        before: int | None = None
        while not answer.done():
            await asyncio.wait([answer], timeout=look)
            stopped = None if answer.done() else stopped_process(path)
            if stopped is not None and stopped == before:
                text = f"process {stopped} does not answer: it is stopped, as by Ctrl-Z"
                raise CommandFailure(f"{text}; 'kill -CONT {stopped}' has it go on", FAILED)
            before = stopped
        return answer.result()
    finally:
        answer.cancel()


async def _similar(path: Path, method: str) -> str:
    """Return the node's method with the most similar name; empty if there is none, or the node does not answer."""
    try:
        answer = await _call(path, "help", [], _MOMENT)
        names = [str(entry["command"]).partition(" ")[0] for entry in answer["help"]]
    except (OddwireError, TimeoutError, TypeError, KeyError):
        return ""
    return (*difflib.get_close_matches(method, names, 1), "")[0]


def _target(context: typer.Context) -> dict[str, Any]:
    """Return the options that say which program is meant.

    If there is one on the command line, those of the environment do not count; of these, the first of `_TARGETS` does.
    """
    values = {name: context.params[name] for name in _TARGETS}
    typed = [name for name in _TARGETS if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    if not typed:
        given = [name for name in _TARGETS if values[name] is not None]
        typed = given[:1] if given[:1] == ["data_dir"] else given
    found = {name: value if name in typed else None for name, value in values.items()}
    return {"program" if name == "wanted" else name: value for name, value in found.items()}


def _check_target(**given: Any) -> None:
    """Raise `CommandFailure` for options that mean two programs."""
    names = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    for alone, beside in (
        ("--data-dir", ()),
        ("--program", ("--lightning-dir", "--network")),
        ("--rpc-file", _OF_NODES),
    ):
        wrong = [name for name in names if name not in (alone, *beside)]
        if alone in names and wrong:
            raise CommandFailure(f"{alone} says which program is meant: {wrong[0]} is one option too many", USAGE)


def _elsewhere(path: Path) -> str:
    """Return a hint that names the networks with a node in the same folder, if this network has none; else empty."""
    if path.name != RPC_FILE or path.exists():
        return ""
    folder = path.parent.parent
    with contextlib.suppress(OSError):
        others = sorted(entry.name for entry in folder.iterdir() if (entry / RPC_FILE).is_socket())
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
