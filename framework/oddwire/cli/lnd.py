"""`oddwire lnd`: have LND make the macaroon that `oddwire run --lnd` needs, and look at one."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import FAILED, USAGE, CommandFailure, exiting
from oddwire.cli.lnd_options import is_macaroon, lnd_network
from oddwire.cli.plain_values import Command, Group
from oddwire.cli.running import spell_error
from oddwire.cli.shared_options import Json
from oddwire.cli.standard_streams import command_stdout
from oddwire.files import read_file
from oddwire.printable import printable

if TYPE_CHECKING:
    from oddwire.transports.lnd.macaroon import Macaroon

__all__ = ["FILE", "program"]

FILE: Final = Path("oddwire.macaroon")
"""The file that lncli writes the macaroon to, unless another one is said."""
_METHOD: Final = "lnd macaroon"
_MOST: Final = 1 << 20  # bytes of a macaroon; LND's have a few hundred

program = typer.Typer(
    cls=Group,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make the macaroon that run needs beside LND, or check one.",
)


@program.callback()
def _group() -> None:
    """Make the macaroon that run needs beside LND, or check one."""


@program.command("macaroon", cls=Command)
def _macaroon(
    connect: Annotated[
        bool, typer.Option("--connect", help="Permit to connect and disconnect peers, too, as run --connect does.")
    ] = False,
    save_to: Annotated[
        Path | None,
        typer.Option("--save-to", metavar="FILE", help="Where lncli writes it; oddwire.macaroon by default."),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option("--check", metavar="FILE", help="Say instead what this macaroon permits beyond that, and lacks."),
    ] = None,
    lnd: Annotated[
        str | None, typer.Option("--lnd", metavar="HOST:PORT", help="For lncli: where LND's gRPC is.")
    ] = None,
    lnddir: Annotated[
        Path | None, typer.Option("--lnddir", metavar="DIR", help="For lncli: the folder of LND's files.")
    ] = None,
    network: Annotated[
        str | None, typer.Option("--network", metavar="NETWORK", help="For lncli: LND's network.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the lncli line that bakes a macaroon for what oddwire does, and no more; '| sh' runs it.

    It is the only line on stdout. With --check no line is printed, and LND is not asked: it exits with 1 if the
    macaroon in the file permits more than oddwire needs, or less.
    """
    with _printing(as_json) as printer:
        if check is None:
            _print_line(printer, connect, save_to or FILE, lnd, lnddir, network)
            return
        others = (("--save-to", save_to), ("--lnd", lnd), ("--lnddir", lnddir), ("--network", network))
        wrong = [name for name, value in others if value is not None]
        if wrong:
            raise CommandFailure(f"{wrong[0]} is for the line that is printed without --check", USAGE)
        if not _print_findings(printer, check, connect):
            raise typer.Exit(FAILED)


def _print_line(
    printer: Printer, connect: bool, save_to: Path, lnd: str | None, lnddir: Path | None, network: str | None
) -> None:
    from oddwire.transports.lnd.credentials import NETWORKS
    from oddwire.transports.lnd.macaroon import bake_line

    known = None if network is None else lnd_network(network)
    if known is not None and known not in NETWORKS:
        raise CommandFailure(f"--network {network}: LND has {', '.join(NETWORKS)}", USAGE)
    given = (("rpcserver", lnd), ("lnddir", lnddir), ("network", known))
    flags = [f"--{name}={value}" for name, value in given if value is not None]
    line = bake_line(connect=connect, save_to=str(save_to)).removeprefix("lncli")
    line = f"{shlex.join(['lncli', *flags])}{line}"
    if printer.as_json:
        printer.event(Event(event="result", method=_METHOD, value={"line": line, "file": str(save_to)}))
    elif not line.isprintable():
        raise CommandFailure("a name with control characters cannot be shown in a line: choose another one", USAGE)
    else:
        printer.line(line)


def _print_findings(printer: Printer, file: Path, connect: bool) -> bool:
    """Print what a macaroon permits, and return whether that is what is needed. Raises `CommandFailure`."""
    from oddwire.transports.lnd.calls import CONNECTING, NEEDED

    macaroon = _read(file)
    lacks, connects = macaroon.lacking(NEEDED), not macaroon.lacking(CONNECTING)
    if connect:
        lacks += macaroon.lacking(CONNECTING)
    beyond = macaroon.excess()
    if printer.as_json:
        value: dict[str, Any] = {
            "file": str(file),
            "lacks": lacks,
            "beyond": beyond,
            "connects": connects,
            "limits": [*macaroon.caveats],
        }
        printer.event(Event(event="result", method=_METHOD, value=value))
    else:
        peers = ", and connecting and disconnecting peers" if connects else ""
        permits = f"what oddwire needs{peers}" if not lacks else f"not all that oddwire needs{peers}"
        printer.line(f"permits      {permits}")
        for head, texts in (("lacks", lacks), ("beyond that", beyond), ("limited by", macaroon.caveats)):
            for text in texts:
                printer.line(f"{head:11}  {printable(text)}")
    return not lacks and not beyond


def _read(file: Path) -> Macaroon:
    from oddwire.transports.lnd.macaroon import Macaroon

    if is_macaroon(str(file)):
        text = "--check is the name of a file, not what is in it; that is a secret, and is now in your history"
        raise CommandFailure(text, USAGE)
    try:
        return Macaroon.read(read_file(file, _MOST))
    except ValueError as error:
        raise CommandFailure(f"{printable(str(file))} {error}", USAGE) from None


@contextlib.contextmanager
def _printing(as_json: bool) -> Iterator[Printer]:
    """Context manager: a printer; foreseeable errors are printed, and end the command with their exit codes."""
    printer = Printer(as_json, stdout=command_stdout(as_json))
    with exiting(printer):
        try:
            yield printer
        except OSError as error:
            raise CommandFailure(spell_error(error)) from None
