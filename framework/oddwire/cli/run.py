"""`oddwire run`: extensions on an embedded node of their own, or beside LND; and what `Extension.run` does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.main import get_command

from oddwire.app import Application, Extension, PluginManager
from oddwire.app.program_socket import RunSocket
from oddwire.app.programs.claims import program_number
from oddwire.cli.applications import call_when_broken, load, make_app, make_transport, start
from oddwire.cli.command_line import run_program
from oddwire.cli.config_file import EXTENSIONS
from oddwire.cli.console import Console, ConsoleWhenConnected
from oddwire.cli.descriptors import fit_limits
from oddwire.cli.environment import prepare
from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import USAGE, CommandFailure, no_extension
from oddwire.cli.extension_options import own_options
from oddwire.cli.keyfile import sole_use
from oddwire.cli.lnd_options import LndOptions, lnd_network
from oddwire.cli.reload_link import ReloadLink, reload_link
from oddwire.cli.reporter import Reporter, service_printer
from oddwire.cli.run_arguments import RunCommand, caught_warnings, extensions_argument, with_extensions
from oddwire.cli.run_options import Program, RunOptions
from oddwire.cli.running import execute
from oddwire.cli.settings import Settings, is_given, show_settings
from oddwire.cli.shared_options import (
    Config,
    Connect,
    ConnectTimeout,
    DataDir,
    Json,
    Listen,
    Lnd,
    LndDir,
    LogFormat,
    LogLines,
    Macaroon,
    Metrics,
    Network,
    Proxy,
    Reload,
    ReloadDir,
    ShowConfig,
    TlsCert,
    Uvloop,
    Verbose,
)
from oddwire.cli.shutdown import on_stop
from oddwire.errors import ExtensionError, TransportError
from oddwire.proto.bolt1 import DEFAULT_NETWORK
from oddwire.proto.keys import PrivateKey
from oddwire.transports.base import Transport
from oddwire.transports.bolt8.limits import Bolt8Limits
from oddwire.transports.bolt8.transport import Bolt8Transport

if TYPE_CHECKING:
    from oddwire.app.insight.endpoint import MetricsEndpoint
    from oddwire.cli.beside_lnd import BesideLnd

__all__ = ["STORE_FILE", "program", "run_extension"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)

STORE_FILE = "oddwire.sqlite3"
"""The name of the store in the node's directory."""

_MOMENT: Final = 1.0  # max seconds that typed lines wait for the first peer of --connect


@program.command("run", cls=RunCommand)
def _command(
    context: typer.Context,
    extensions: Annotated[
        list[str] | None,
        extensions_argument(
            "Installed extensions, paths of .py files or packages, or MODULE:NAME; then options these have: "
            "oddwire run EXT --help shows them."
        ),
    ] = None,
    listen: Listen = None,
    connect: Connect = None,
    data_dir: DataDir = None,
    network: Network = DEFAULT_NETWORK,
    proxy: Proxy = None,
    connect_timeout: ConnectTimeout = None,
    lnd: Lnd = None,
    tlscert: TlsCert = None,
    macaroon: Macaroon = None,
    lnddir: LndDir = None,
    json: Json = False,
    metrics: Metrics = None,
    log_format: LogFormat = LogLines.text,
    verbose: Verbose = False,
    uvloop: Uvloop = False,
    config: Config = None,
    show_config: ShowConfig = False,
    reload: Reload = False,
    reload_dir: ReloadDir = None,
) -> None:
    """Run extensions on a Lightning node of their own, or beside LND.

    It ends with Ctrl-C.
    """
    options = RunOptions(
        listen=listen or (),
        connect=connect or (),
        data_dir=data_dir,
        network=network,
        proxy=proxy,
        connect_timeout=connect_timeout,
        lnd=LndOptions(
            address=lnd,
            tlscert=tlscert,
            macaroon=macaroon,
            lnddir=lnddir,
            network=network,
            chosen=is_given(context, "network"),
        ),
        settings=Settings(context, os.environ),
        show_config=show_config,
        reload=reload,
        reload_dir=reload_dir or (),
        metrics=metrics,
        log_format=log_format,
    )
    alone = context.obj if isinstance(context.obj, Extension) else None
    program = Program(
        extension=alone,
        arguments=with_extensions(extensions or [], options.settings) if alone is None else context.args,
        own=own_options(context.command.params),
        warnings=caught_warnings(context),
    )
    raise typer.Exit(_run(program, options, json, verbose, uvloop))


def run_extension(extension: Extension, argv: Sequence[str] | None = None) -> None:
    """Run one extension with the options of ``oddwire run``, as a program of its own. Exits the process at the end.

    ``argv`` are the arguments after the program's name, by default those of the command line.
    """
    prepare()
    command: Any = get_command(program)
    command.params = [each for each in command.params if each.name != EXTENSIONS]
    command.help = (
        f"Run {extension.name} {extension.version} on a Lightning node of its own, or beside LND, until Ctrl-C."
    )
    command.context_settings = {"allow_extra_args": True, "obj": extension}
    run_program(command, Path(sys.argv[0]).name, argv)


def _run(program: Program, options: RunOptions, as_json: bool, verbose: bool, uvloop: bool) -> int:
    if options.reload and not options.show_config:
        return _supervised(program, options)
    printer = service_printer(as_json, verbose=verbose, log_format=options.log_format)
    return execute(lambda: _serve(program, options, printer), printer, uvloop=uvloop)


def _supervised(program: Program, options: RunOptions) -> int:
    from oddwire.cli.reload import own_command, supervise, watched_folders  # only authors reload

    printer = Printer()
    folders = [Path(folder) for folder in options.reload_dir]
    if program.extension is None:
        folders += watched_folders(each for each in program.arguments if not each.startswith("-"))
    else:
        folders.append(Path(sys.argv[0]).resolve().parent)
    files = [] if options.settings.config is None else [options.settings.config.path]
    try:
        missing = [folder for folder in folders if not folder.is_dir()]
        if missing:
            raise CommandFailure(f"--reload-dir {missing[0]}: there is no such folder", USAGE)
        return supervise(own_command(), folders, files, printer, has_key=options.data_dir is not None)
    except CommandFailure as failure:
        printer.failure(str(failure))
        return failure.code


async def _serve(program: Program, options: RunOptions, printer: Printer) -> int:
    with options.settings.explaining():
        return await _try_to_serve(program, options, printer)


async def _try_to_serve(program: Program, options: RunOptions, printer: Printer) -> int:
    if program.extension is None and not any(not each.startswith("-") for each in program.arguments[:1]):
        raise CommandFailure(no_extension("run"), USAGE)
    if options.show_config:
        _load(program, options, printer)
        show_settings(options.settings, printer)
        return 0
    link = reload_link()
    options.lnd.check(listen=options.listen, proxy=options.proxy, connect_timeout=options.connect_timeout)
    transport = None if options.lnd.is_wanted else _own_node(options, link)
    alone = (
        contextlib.nullcontext()
        if options.data_dir is None
        else sole_use(options.data_dir, has_key=transport is not None)
    )
    with alone:
        if transport is None:
            await _serve_beside(program, options, printer, link)
        else:
            await _serve_on(transport, program, options, printer, link)
    return 0


def _own_node(options: RunOptions, link: ReloadLink | None) -> Bolt8Transport:
    return make_transport(
        data_dir=options.data_dir,
        key=PrivateKey(bytes.fromhex(link.key)) if link is not None and link.key else None,
        listen=options.listen if link is None else link.addresses(options.listen),
        connect=options.connect,
        network=options.network,
        proxy=options.proxy,
        limits=fit_limits(Bolt8Limits(connect_timeout=options.connect_timeout)),
    )


def _load(
    program: Program, options: RunOptions, printer: Printer, first: Sequence[object] = ()
) -> tuple[PluginManager, dict[str, Any]]:
    """Load the extensions, behind ``first``. Return them, and the values of their options from wherever they are."""
    plugins = PluginManager()
    for plugin in (Reporter(printer), *first):
        plugins.register(plugin)
    if options.metrics is not None:
        plugins.register(_endpoint(options.metrics))
    return plugins, load(program, plugins, options.settings, printer)


async def _serve_beside(program: Program, options: RunOptions, printer: Printer, link: ReloadLink | None) -> None:
    """Run beside LND. What is wrong before LND has answered is a wrong use: it is waited for, but for such errors."""
    from oddwire.cli.beside_lnd import BesideLnd  # for who has LND alone

    store = None if options.data_dir is None else (options.data_dir / STORE_FILE).resolve()
    transport = options.lnd.transport(options.connect)
    network = lnd_network(options.lnd.network) if options.lnd.chosen else None
    beside = BesideLnd(transport.address, store=store, network=network)
    try:
        transport.on_back = lambda: _announce_host(transport, beside.place, printer)
        await _serve_on(transport, program, options, printer, link, beside)
    except CommandFailure as failure:
        if beside.reached or not isinstance(failure.__cause__, TransportError):  # a store in use is a failure
            raise
        raise CommandFailure(f"{failure}{options.lnd.elsewhere}", USAGE) from failure


async def _serve_on(
    transport: Transport,
    program: Program,
    options: RunOptions,
    printer: Printer,
    link: ReloadLink | None,
    beside: BesideLnd | None = None,
) -> None:
    waiting = [ConsoleWhenConnected(printer)] if options.connect else []
    plugins, given = _load(program, options, printer, [] if beside is None else [beside])
    plugins.register(RunSocket(options.data_dir))
    # A node without a directory has a new key each time, so its store need not outlive the process
    store: str | Path = ":memory:"
    number = None
    if options.data_dir is not None:
        store = options.data_dir / STORE_FILE
        if beside is None:  # else it is known when LND answers
            number = program_number(str(transport.node_id), store.resolve())
    app = make_app(printer, *waiting, transport=transport, plugins=plugins, options=given, store=store, program=number)
    call_when_broken(printer, app.stop)
    await start(app)
    on_stop(lambda _: app.stop())
    if link is not None:
        link.tell(options.listen, app.uris)
        link.end_with_it(app.stop)
    if beside is None and not options.listen and not options.connect:
        printer.remark("neither --listen nor --connect: no peer is reached but those that an extension dials")
    if beside is not None and options.data_dir is None and app.resources.in_use:
        printer.remark("without --data-dir what extensions keep is lost at the end, though peers know the node again")
    for console in waiting:
        asyncio.get_running_loop().call_later(_MOMENT, console.start, app)
    if not waiting:
        Console(app, printer).start()
    asyncio.get_running_loop().call_soon(_announce, app, printer, None if beside is None else beside.place)
    await app.run_until_stopped(signals=False)
    if app.host_stopped is not None:
        raise CommandFailure(app.host_stopped)


def _endpoint(address: str) -> MetricsEndpoint:
    """Return the plugin that serves metrics. Raises `CommandFailure` for an address that is none, say."""
    from oddwire.app.insight.endpoint import MetricsEndpoint

    try:
        return MetricsEndpoint(address)
    except ExtensionError as error:
        raise CommandFailure(f"--metrics: {error}", USAGE) from None


def _announce(app: Application, printer: Printer, host: str | None) -> None:
    for uri in app.uris:
        printer.event(Event(event="listening", uri=uri))
    if host is not None:
        _announce_host(app.transport, host, printer)


def _announce_host(transport: Transport, place: str, printer: Printer) -> None:
    printer.event(Event(event="ready", address=place, node_id=transport.node_id))
