"""`oddwire describe`: what an extension speaks as a document, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from oddwire.cli.contract_files import write_whole
from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import FAILED, CommandFailure, exiting
from oddwire.cli.interfaces import load_interfaces
from oddwire.cli.plain_values import Command
from oddwire.cli.shared_options import Json
from oddwire.cli.standard_streams import command_stdout
from oddwire.contracts import Interface, contract_of
from oddwire.printable import printable
from oddwire.version import __version__

__all__ = ["program"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)


@program.command("describe", cls=Command)
def _command(
    extension: Annotated[
        str,
        typer.Argument(metavar="EXT", help="The extension: an EXT as with run, or known:NAME for a known protocol."),
    ],
    form: Annotated[
        Literal["markdown", "csv", "json-schema", "asyncapi", "contract"],
        typer.Option("--format", "-f", help="A document like a bLIP, the BOLTs' CSV, or a schema for programs."),
    ] = "markdown",
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it here.")] = None,
    as_json: Json = False,
) -> None:
    """Show what an extension speaks, as a document or a schema."""
    printer = Printer(as_json, stdout=command_stdout(as_json))
    with exiting(printer):
        (interface,) = load_interfaces(printer, [extension])
        found = _FORMS[form](interface, printer)
        text = found if isinstance(found, str) else json.dumps(found, indent=2) + "\n"
        if output is not None:
            write_whole(output, text)
            printer.remark(f"{printable(str(output))} written")
        if as_json:
            value = {"extension": interface.name, "format": form, "document": found}
            printer.event(Event(event="result", method="describe", value=value))
        elif output is None:
            for line in text.splitlines():
                printer.line(printable(line))


def _markdown(interface: Interface, _: Printer) -> str:
    from oddwire.contracts.markdown import markdown

    return markdown(interface)


def _csv(interface: Interface, printer: Printer) -> str:
    from oddwire.contracts.bolt_rows import csv_of

    rows, lacking = csv_of(interface)
    for text in lacking:
        printer.remark(f"not in it: {text}")
    if not rows:
        raise CommandFailure(
            f"{interface.name} has no message that CSV can say: --format markdown has them all", FAILED
        )
    return rows


def _json_schema(interface: Interface, _: Printer) -> dict[str, Any]:
    from oddwire.contracts.json_schema import json_schema

    return json_schema(interface)


def _asyncapi(interface: Interface, _: Printer) -> dict[str, Any]:
    from oddwire.contracts.asyncapi import asyncapi

    return asyncapi(interface)


def _contract(interface: Interface, _: Printer) -> dict[str, Any]:
    return contract_of(interface, oddwire=__version__)


_FORMS: Final[dict[str, Callable[[Interface, Printer], Any]]] = {
    "markdown": _markdown,
    "csv": _csv,
    "json-schema": _json_schema,
    "asyncapi": _asyncapi,
    "contract": _contract,
}
