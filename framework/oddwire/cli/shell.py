"""`oddwire shell`: a Python prompt with top-level await, connected to a node, or a script that comes by a pipe."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oddwire.app import Application, PluginManager
from oddwire.app.programs.claims import program_number
from oddwire.cli.applications import call_when_broken, loading, make_app, make_transport, start
from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.keyfile import sole_use
from oddwire.cli.plain_values import Command
from oddwire.cli.reporter import log_to
from oddwire.cli.running import execute
from oddwire.cli.shared_options import ConnectTimeout, DataDir, Extensions, Listen, Network, Proxy, Verbose
from oddwire.cli.shell_reporter import CurrentStream, ShellReporter
from oddwire.cli.shell_scope import KnownMessages, known_messages, scope_of
from oddwire.cli.standard_streams import ready_streams
from oddwire.cli.vocabulary import Vocabulary, load_vocabularies
from oddwire.errors import OddwireError
from oddwire.proto.addresses import NodeUri
from oddwire.proto.bolt1 import DEFAULT_NETWORK, DEFAULT_PORTS
from oddwire.transports.bolt8.limits import Bolt8Limits
from oddwire.transports.bolt8.transport import Bolt8Transport
from oddwire.version import __version__

if TYPE_CHECKING:
    from oddwire.cli.shell_prompt import Prompt

__all__ = ["program"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    uri: str | None
    extensions: Sequence[str]
    known: Sequence[str]
    runs: bool
    data_dir: Path | None


@program.command("shell", cls=Command)
def _command(
    uri: Annotated[
        str | None, typer.Argument(metavar="[NODE_ID@HOST:PORT]", help="The node to talk to; others by app.connect.")
    ] = None,
    extension: Extensions = None,
    known: Annotated[
        list[str] | None,
        typer.Option("--known", metavar="NAME", help="Know the messages of a protocol of oddwire.known, peerswap say."),
    ] = None,
    runs: Annotated[
        bool, typer.Option("--run", help="Run the extensions, too: their handlers, hooks and methods.")
    ] = False,
    listen: Listen = None,
    data_dir: DataDir = None,
    network: Network = DEFAULT_NETWORK,
    proxy: Proxy = None,
    connect_timeout: ConnectTimeout = None,
    verbose: Verbose = False,
) -> None:
    """Talk to nodes from a Python prompt."""
    prompts = sys.stdin is not None and sys.stdin.isatty() and sys.stdout is not None and sys.stdout.isatty()
    ready_streams()
    if prompts:
        streams: dict[str, Any] = {"stdout": CurrentStream("stdout"), "stderr": CurrentStream("stderr")}
    else:
        streams = {"stdout": sys.stderr}  # what a script prints is all that is on stdout
    printer = Printer(**streams)
    log_to(printer, logging.DEBUG if verbose else logging.WARNING)
    options = _Options(uri=uri, extensions=extension or (), known=known or (), runs=runs, data_dir=data_dir)

    async def main() -> int:
        transport = make_transport(
            data_dir=data_dir,
            listen=listen or (),
            network=network,
            proxy=proxy,
            limits=Bolt8Limits(init_timeout=10.0, connect_timeout=connect_timeout),
        )
        with contextlib.nullcontext() if data_dir is None else sole_use(data_dir):
            return await _talk(options, transport, printer, prompts)

    raise typer.Exit(execute(main, printer))


def _prompt(scope: dict[str, Any]) -> Prompt:
    """Return the prompt, made before anything has to be answered: that takes a while. Raises `CommandFailure`."""
    try:
        from oddwire.cli.shell_prompt import Prompt
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("oddwire"):
            raise
        raise CommandFailure(
            "at a terminal oddwire shell needs IPython: pip install 'oddwire[shell]'; a script by a pipe does not",
            USAGE,
        ) from None
    return Prompt(scope)


async def _talk(options: _Options, transport: Bolt8Transport, printer: Printer, prompts: bool) -> int:
    to = None
    if options.uri is not None:
        try:
            to = NodeUri.parse(options.uri, default_port=DEFAULT_PORTS[transport.network])
        except ValueError as error:
            raise CommandFailure(str(error), USAGE) from error
    with loading(printer):
        vocabularies = load_vocabularies(options.extensions)
    sources: list[Vocabulary | KnownMessages] = [*vocabularies, *map(known_messages, options.known)]
    scope: dict[str, Any] = scope_of(sources)
    reporter = ShellReporter(printer, scope)
    app = _make_app(options, reporter, sources, transport, printer)
    prompt = _prompt(scope) if prompts else None
    import oddwire.known

    call_when_broken(printer, lambda: None)
    await start(app)
    try:
        scope |= {"app": app, "peer": None, "node_id": app.node_id, "received": reporter.received}
        scope |= {"known": oddwire.known, "asyncio": asyncio}
        for uri in app.uris:
            printer.event(Event(event="listening", uri=uri))
        if to is not None:
            try:
                await transport.connect(to)
            except OddwireError as error:
                raise CommandFailure(str(error)) from error
            scope["peer"] = app.peer(to.node_id)
        if prompt is None:
            return await _script(scope)
        await prompt.run(_banner(scope, sources))
        return 0
    finally:
        await app.aclose()


def _make_app(
    options: _Options,
    reporter: ShellReporter,
    sources: Sequence[Vocabulary | KnownMessages],
    transport: Bolt8Transport,
    printer: Printer,
) -> Application:
    from oddwire.cli.run import STORE_FILE

    plugins = PluginManager()
    plugins.register(reporter)
    with loading(printer):
        if options.runs:
            for extension in dict.fromkeys(options.extensions):
                plugins.load(extension)
        for source in sources:
            if not (options.runs and isinstance(source, Vocabulary)):
                plugins.register(source)
    store: Path | str = ":memory:"
    number = None
    if options.data_dir is not None:
        store = options.data_dir / STORE_FILE
        number = program_number(str(transport.node_id), store.resolve())
    return make_app(printer, transport=transport, plugins=plugins, store=store, program=number)


async def _script(scope: dict[str, Any]) -> int:
    from oddwire.cli.shell_script import read_script, run_script

    return await run_script(await read_script(0), scope)


def _banner(scope: dict[str, Any], sources: Sequence[Vocabulary | KnownMessages]) -> str:
    names = [name for name, value in scope.items() if isinstance(value, type)]
    lines = [f"oddwire {__version__}. In scope: app, peer, node_id, received, known" + _listed(names)]
    if scope["peer"] is None:
        lines.append("No peer yet: peer = await app.connect('NODE_ID@HOST:PORT') dials one.")
    else:
        lines.append(
            "await peer.request(...) asks, await peer.send(...) tells; peer.deliver, peer.stream, and help(peer)."
        )
    if not sources:
        lines.append("No messages: --extension EXT has those of an extension, --known NAME those of a known protocol.")
    lines.append("exit, or Ctrl-D, leaves; Ctrl-C interrupts.")
    return "\n".join(lines)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:20])
    return f"; {shown}{', ...' if len(names) > 20 else ''}" if names else ""
