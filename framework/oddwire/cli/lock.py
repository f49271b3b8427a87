"""`oddwire lock`: write the contract of an extension, what is on the wire, for `oddwire check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from oddwire.cli.contract_files import default_file, read_file, write_whole
from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import FAILED, USAGE, CommandFailure, exiting
from oddwire.cli.findings import described
from oddwire.cli.interfaces import KNOWN, load_interfaces
from oddwire.cli.plain_values import Command
from oddwire.cli.shared_options import Json
from oddwire.cli.standard_streams import command_stdout
from oddwire.contracts import Interface, compare, contract_of, write_contract
from oddwire.printable import printable
from oddwire.version import __version__

__all__ = ["program"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)


@program.command("lock", cls=Command)
def _command(
    extensions: Annotated[list[str], typer.Argument(metavar="EXT...", help="Extensions: an EXT as with run.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write here; NAME.contract.json by default."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write it though old peers break, and say by what they do.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write down what an extension speaks, for check to compare."""
    printer = Printer(as_json, stdout=command_stdout(as_json))
    with exiting(printer):
        if any(spec.startswith(KNOWN) for spec in extensions):
            raise CommandFailure("a known protocol is others', so there is nothing to lock: give an extension", USAGE)
        interfaces = load_interfaces(printer, extensions)
        if output is not None and len(interfaces) > 1:
            raise CommandFailure("--output is for one extension: without it each has a file of its own", USAGE)
        for interface in interfaces:
            _lock(printer, interface, output or default_file(interface.name), force)


def _lock(printer: Printer, interface: Interface, path: Path, force: bool) -> None:
    """Write one contract. Raises `CommandFailure` for one that old peers would break by."""
    made = contract_of(interface, oddwire=__version__)
    before = _before(path, interface.name, force)
    found = [] if before is None else compare(before, made)
    breaks = [one for one in found if one.breaks]
    shown = printable(str(path))
    if breaks and not printer.as_json:
        for line in (line for one in breaks for line in described(one)):
            printer.remark(line)
    if breaks and not force:
        rules = ", ".join(dict.fromkeys(one.rule for one in breaks))
        text = f"{shown} is left as it is: old peers break by what has changed ({rules}); --force replaces it"
        raise CommandFailure(text, FAILED)
    text = write_contract(made)
    is_same = before is not None and not found and path.read_text(encoding="utf-8") == text
    if not is_same:
        write_whole(path, text)
    result = {"file": str(path), "extension": interface.name, "written": not is_same}
    if printer.as_json:
        value: dict[str, Any] = {**result, "findings": [one.to_plain() for one in found]}
        printer.event(Event(event="result", method="lock", value=value))
    else:
        printer.remark(f"{shown} is as it should be" if is_same else f"{shown} written: {_counted(interface)}")


def _before(path: Path, name: str, force: bool) -> dict[str, Any] | None:
    try:
        return read_file(path, name)
    except CommandFailure as failure:
        if force:
            return None
        raise CommandFailure(f"{failure}; --force replaces it", failure.code) from None


def _counted(interface: Interface) -> str:
    parts = []
    for what, number in (("message", len(interface.messages)), ("JSON-RPC method", len(interface.methods))):
        if number or what == "message":
            parts.append(f"{number} {what}{'' if number == 1 else 's'}")
    return f"{interface.name} {interface.version}, {' and '.join(parts)}"
