"""`oddwire check`: whether an extension still speaks what its contract says, and who breaks if it does not."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated, Any

import typer

from oddwire.cli.contract_files import default_file, read_file
from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import FAILED, USAGE, CommandFailure, exiting
from oddwire.cli.findings import Ignored, described, ignored, is_ignored
from oddwire.cli.interfaces import KNOWN, load_interfaces
from oddwire.cli.plain_values import Command
from oddwire.cli.shared_options import Json
from oddwire.cli.standard_streams import command_stdout
from oddwire.contracts import Interface, compare, contract_of, read_contract
from oddwire.errors import ContractError
from oddwire.printable import printable
from oddwire.version import __version__

__all__ = ["program"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)


@program.command("check", cls=Command)
def _command(
    extension: Annotated[str, typer.Argument(metavar="EXT", help="The extension: an EXT as with run.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Its contract; NAME.contract.json by default.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="REVISION", help="Compare with the file as it is in this git revision."),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="RULE[:MESSAGE]", help="Let this rule pass, for one message or all."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell whether an extension still speaks what it spoke."""
    printer = Printer(as_json, stdout=command_stdout(as_json))
    with exiting(printer):
        if extension.startswith(KNOWN):
            raise CommandFailure("a known protocol has no contract: give an extension", USAGE)
        rules = ignored(ignore or ())
        (interface,) = load_interfaces(printer, [extension])
        path = file or default_file(interface.name)
        if not _check(printer, interface, path, _contract(path, interface.name, against), rules):
            raise typer.Exit(FAILED)


def _contract(path: Path, name: str, against: str | None) -> dict[str, Any]:
    """Return the contract to compare with. Raises `CommandFailure`."""
    shown = printable(str(path))
    if against is not None:
        return _of_revision(path, name, against)
    found = read_file(path, name)
    if found is None:
        raise CommandFailure(f"there is no {shown}: 'oddwire lock' writes it", USAGE)
    return found


def _of_revision(path: Path, name: str, revision: str) -> dict[str, Any]:
    if revision.startswith("-"):
        raise CommandFailure(f"--against should be a revision of git, main or v1.0 say, not {revision!r}", USAGE)
    where = path.absolute()
    command = ["git", "-C", str(where.parent), "show", f"{revision}:./{where.name}"]
    try:
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - no shell, nothing of a peer
    except OSError as error:
        raise CommandFailure(f"--against needs git: {error.strerror}", USAGE) from None
    shown = printable(f"{revision}:{path}")
    if done.returncode:
        said = printable(done.stderr.decode(errors="replace").strip().removeprefix("fatal: "))
        raise CommandFailure(f"git has no {shown}: {said}", USAGE)
    try:
        return read_contract(done.stdout.decode(), extension=name)
    except (UnicodeDecodeError, ContractError) as error:
        raise CommandFailure(f"{shown}: {error}", USAGE) from None


def _check(printer: Printer, interface: Interface, path: Path, before: dict[str, Any], rules: Ignored) -> bool:
    """Print what has changed; return whether old and new peers understand each other."""
    made = contract_of(interface, oddwire=__version__)
    found = compare(before, made)
    passed = [one for one in found if one.breaks and is_ignored(one, rules)]
    breaks = [one for one in found if one.breaks and one not in passed]
    if printer.as_json:
        value = {
            "extension": interface.name,
            "file": str(path),
            "compatible": not breaks,
            "findings": [{**one.to_plain(), "ignored": one in passed} for one in found],
        }
        printer.event(Event(event="result", method="check", value=value))
        return not breaks
    for one in found:
        for line in described(one, passed=one in passed):
            printer.line(printable(line))
    fine = len(found) - len(breaks)
    if breaks:
        verb = "breaks" if len(breaks) == 1 else "break"
        printer.remark(f"{len(breaks)} of {_many(len(found), 'change')} {verb} old peers")
    elif found:
        printer.remark(
            f"{_many(fine, 'change')}, none of which breaks old peers: 'oddwire lock' takes them into {path}"
        )
    else:
        printer.remark(f"{interface.name} speaks what {path} says")
    return not breaks


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
