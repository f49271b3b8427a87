"""`oddwire node`: the embedded node as a daemon, in place of lightningd for custom messages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from oddwire.cli.arguments import NodeCommand
from oddwire.cli.descriptors import fit_limits
from oddwire.cli.events import Printer, json_line
from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.node_options import DEFAULT_DIR, LightningDir, NodeNetwork, expanded
from oddwire.cli.running import execute
from oddwire.cli.settings import Settings, show_settings
from oddwire.cli.shared_options import Config, ConnectTimeout, Json, Proxy, ShowConfig, Uvloop
from oddwire.cli.shell_words import as_typed
from oddwire.cli.shutdown import on_abandon, on_hangup, on_stop
from oddwire.cli.standard_streams import command_stdout
from oddwire.errors import DefinitionError
from oddwire.log_limits import LIMITED, guard_process
from oddwire.node.log_file import LogFile
from oddwire.node.node import Node
from oddwire.node.node_log import Log, LogHandler, Out
from oddwire.node.plugins.process import PluginLimits
from oddwire.printable import printable
from oddwire.proto.bolt1 import DEFAULT_NETWORK
from oddwire.transports.bolt8.limits import Bolt8Limits

__all__ = ["program", "read_plugin_options"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)

_LIMIT: Final = PluginLimits().shutdown + 10.0
"""Max seconds of the node's shutdown: the limit of its plugins, and some for what follows."""


@program.command("node", cls=NodeCommand, context_settings={"allow_extra_args": True})
def _command(
    context: typer.Context,
    lightning_dir: LightningDir = DEFAULT_DIR,
    network: NodeNetwork = DEFAULT_NETWORK,
    addr: Annotated[
        list[str] | None,
        typer.Option(
            "--addr",
            "--listen",
            metavar="HOST:PORT",
            help="Listen here, by WebSocket at ws://HOST:PORT; port 0 takes a free one.",
        ),
    ] = None,
    connect: Annotated[
        list[str] | None,
        typer.Option("--connect", metavar="NODE_ID@HOST:PORT", help="Keep a connection to this node."),
    ] = None,
    alias: Annotated[str | None, typer.Option("--alias", help="The node's name in getinfo.")] = None,
    plugin: Annotated[list[str] | None, typer.Option("--plugin", metavar="PATH", help="Run this plugin.")] = None,
    plugin_dir: Annotated[
        list[str] | None, typer.Option("--plugin-dir", metavar="DIR", help="Run every plugin in this folder.")
    ] = None,
    important_plugin: Annotated[
        list[str] | None, typer.Option("--important-plugin", metavar="PATH", help="Run it, and end when it ends.")
    ] = None,
    disable_plugin: Annotated[
        list[str] | None, typer.Option("--disable-plugin", metavar="NAME", help="Do not run this plugin.")
    ] = None,
    proxy: Proxy = None,
    connect_timeout: ConnectTimeout = None,
    log_level: Annotated[
        str, typer.Option("--log-level", metavar="LEVEL", help="io, trace, debug, info, unusual or broken.")
    ] = "info",
    log_file: Annotated[
        Path | None, typer.Option("--log-file", metavar="FILE", help="Log here instead of on stderr.")
    ] = None,
    as_json: Json = False,
    uvloop: Uvloop = False,
    config: Config = None,
    show_config: ShowConfig = False,
) -> None:
    """Run a node for plugins: lightningd's interfaces, without bitcoind.

    It carries custom messages. Plugins' own options go along.
    """
    printer = Printer(as_json, stdout=command_stdout(as_json))

    settings = Settings(context, os.environ)

    async def serve() -> int:
        with settings.explaining():
            return await try_to_serve()

    async def try_to_serve() -> int:
        plugin_options = settings.of_plugins(read_plugin_options(context.args))
        for text in settings.unread():
            printer.remark(f"warning: {text}")
        if show_config:
            show_settings(settings, printer)
            return 0
        with _log(log_level, log_file) as log:
            try:
                node = Node(
                    expanded(lightning_dir),
                    network=network,
                    listen=addr or (),
                    connect=connect or (),
                    alias=alias,
                    plugins=plugin or (),
                    plugin_dirs=plugin_dir or (),
                    important_plugins=important_plugin or (),
                    disabled_plugins=disable_plugin or (),
                    plugin_options=plugin_options,
                    proxy=proxy,
                    limits=fit_limits(Bolt8Limits(connect_timeout=connect_timeout)),
                    log=log,
                )
            except ValueError as error:
                raise CommandFailure(str(error), USAGE) from error
            return await _serve(node, printer)

    raise typer.Exit(execute(serve, printer, uvloop=uvloop, limit=_LIMIT))


async def _serve(node: Node, printer: Printer) -> int:
    starting = asyncio.create_task(node.start())

    def ask_to_stop(number: signal.Signals) -> None:
        node.stop(f"{number.name}: shutting down")
        starting.cancel()  # no effect once it has started

    on_stop(ask_to_stop)
    on_hangup(node.log.reopen)
    on_abandon(node.abandon, node.holdups)
    try:
        await starting
    except asyncio.CancelledError:
        return 0  # `Node.start` has closed the node
    except DefinitionError as error:
        raise CommandFailure(str(error), USAGE) from error
    try:
        if printer.as_json:
            uris = node.uris
            ready = {"event": "ready", "uri": uris[0] if uris else None, "rpc_file": str(node.rpc_path)}
            printer.line(json_line({**ready, "node_id": node.node_id, "uris": uris}))
        else:
            for uri in node.uris or [node.node_id]:
                printer.line(printable(uri))
        await node.run_until_stopped()
    finally:
        await node.aclose()
    return 0


@contextlib.contextmanager
def _log(level: str, path: Path | None) -> Iterator[Log]:
    """Context manager: the node's log, which receives the records of oddwire's loggers, and warnings of others."""
    with contextlib.ExitStack() as stack:
        out: Out = sys.stderr
        if path is not None:
            try:
                out = stack.enter_context(contextlib.closing(LogFile(path)))
            except OSError as error:
                raise CommandFailure(f"--log-file {path}: {error.strerror}") from error
        try:
            log = Log(level=level, out=out)
        except ValueError as error:
            raise CommandFailure(f"--log-level {level!r} {error}", USAGE) from error
        handler = LogHandler(log)
        stack.callback(log.flush)
        root = logging.getLogger("oddwire")
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        stack.callback(root.removeHandler, handler)
        stack.callback(setattr, logging, "lastResort", logging.lastResort)
        logging.lastResort = LogHandler(log)
        logging.lastResort.setLevel(logging.WARNING)
        guard_process()
        stack.callback(LIMITED.flush)
        yield log


def read_plugin_options(arguments: Sequence[str]) -> list[tuple[str, str | None]]:
    """Parse plugins' options, ``--name=value``, ``--name value`` or ``--name``: pairs of name, and value or None.

    Raises `CommandFailure`.
    """
    found: list[tuple[str, str | None]] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        name, has_value, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not name:
            raise CommandFailure(f"{argument!r}: an option of a plugin should look like --name=value", USAGE)
        if has_value:
            found.append((name, as_typed(value)))
        elif waiting and not waiting[0].startswith("--"):
            found.append((name, as_typed(waiting.pop(0))))
        else:
            found.append((name, None))
    return found
