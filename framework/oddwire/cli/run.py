"""`oddwire run`: extensions on an embedded node of their own; and what `Extension.run` does."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from oddwire.app import Application, Extension, hookimpl
from oddwire.cli.console import Console
from oddwire.cli.events import Event, Printer
from oddwire.cli.options import Connect, DataDir, Json, Listen, Network, Proxy, Uvloop, Verbose
from oddwire.cli.reporter import Reporter, log_to
from oddwire.cli.session import call_when_broken, execute, make_app, make_transport, start

__all__ = ["command", "run_extension"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    listen: Sequence[str]
    connect: Sequence[str]
    data_dir: Path | None
    network: str
    proxy: str | None


class _WhenConnected:
    """Starts the console with the first peer: what is typed before would reach nobody."""

    name = "oddwire.cli.console"

    def __init__(self, printer: Printer) -> None:
        self._printer = printer
        self._started = False

    @hookimpl
    def peer_connected(self, app: Application) -> None:
        if not self._started:
            self._started = True
            Console(app, self._printer).start()


def command(
    extensions: Annotated[
        list[str], typer.Argument(metavar="EXT...", help="Names of installed extensions, or paths of .py files.")
    ],
    listen: Listen = None,
    connect: Connect = None,
    data_dir: DataDir = None,
    network: Network = "bitcoin",
    proxy: Proxy = None,
    json: Json = False,
    verbose: Verbose = False,
    uvloop: Uvloop = False,
) -> None:
    """Run extensions on a Lightning node of their own, until Ctrl-C."""
    options = _Options(listen=listen or (), connect=connect or (), data_dir=data_dir, network=network, proxy=proxy)
    raise typer.Exit(_run(extensions, options, json, verbose, uvloop))


def run_extension(extension: Extension, argv: Sequence[str] | None = None) -> None:
    """Run one extension with the options of ``oddwire run``, as a program of its own; exits when it is done.

    ``argv`` is what follows the program's name, by default that of the command line.
    """
    program = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

    def alone(
        listen: Listen = None,
        connect: Connect = None,
        data_dir: DataDir = None,
        network: Network = "bitcoin",
        proxy: Proxy = None,
        json: Json = False,
        verbose: Verbose = False,
        uvloop: Uvloop = False,
    ) -> None:
        options = _Options(listen=listen or (), connect=connect or (), data_dir=data_dir, network=network, proxy=proxy)
        raise typer.Exit(_run([extension], options, json, verbose, uvloop))

    alone.__doc__ = f"Run {extension.name} {extension.version} on a Lightning node of its own, until Ctrl-C."
    program.command()(alone)
    program(args=None if argv is None else list(argv), prog_name=Path(sys.argv[0]).name)


def _run(extensions: Sequence[object], options: _Options, as_json: bool, verbose: bool, uvloop: bool) -> int:
    printer = Printer(as_json)
    log_to(printer, logging.DEBUG if verbose else logging.INFO)
    return execute(lambda: _serve(extensions, options, printer), printer, uvloop=uvloop)


async def _serve(extensions: Sequence[object], options: _Options, printer: Printer) -> int:
    transport = make_transport(
        data_dir=options.data_dir,
        listen=options.listen,
        connect=options.connect,
        network=options.network,
        proxy=options.proxy,
    )
    waiting = [_WhenConnected(printer)] if options.connect else []
    app = make_app(printer, Reporter(printer), *extensions, *waiting, transport=transport)
    call_when_broken(printer, app.stop)
    await start(app)
    if not waiting:
        Console(app, printer).start()
    # Called when signals are taken care of: who reads the URI may send one at once
    asyncio.get_running_loop().call_soon(_announce, app, printer)
    await app.run_until_stopped()
    return 0


def _announce(app: Application, printer: Printer) -> None:
    for uri in app.uris:
        printer.event(Event(event="listening", uri=uri))
