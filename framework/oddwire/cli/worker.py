"""`oddwire worker`: runs extensions for the peers of a cluster's nodes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from oddwire.app import Application, Extension, PluginManager
from oddwire.cli.applications import call_when_broken, load, loading
from oddwire.cli.broker_options import Broker, BrokerCa, BrokerCredentials, BrokerNkey, broker_address, connect_broker
from oddwire.cli.events import Printer, json_line
from oddwire.cli.exit import USAGE, CommandFailure, no_extension
from oddwire.cli.extension_options import own_options
from oddwire.cli.locked_folder import locked_folder
from oddwire.cli.reporter import service_printer
from oddwire.cli.run_arguments import RunCommand, caught_warnings, extensions_argument, with_extensions
from oddwire.cli.run_options import Program
from oddwire.cli.running import execute
from oddwire.cli.settings import Settings, show_settings
from oddwire.cli.shared_options import Config, Json, LogFormat, LogLines, ShowConfig, Uvloop, Verbose
from oddwire.cli.shutdown import on_stop, watch_over
from oddwire.proto.keys import NodeId

if TYPE_CHECKING:
    from oddwire.cluster.manifests import ExtensionManifest
    from oddwire.cluster.partition import Parts
    from oddwire.transports.nats.address import BrokerAddress
    from oddwire.transports.nats.connection import BrokerConnection

__all__ = ["LOCK_FILE", "program"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)

LOCK_FILE: Final = "worker.lock"
"""The name of the file in the cache that the running worker holds locked."""

_CLOSING: Final = 2.0  # seconds
_LIMIT: Final = 15.0
"""Max seconds of the end: handlers have five of them, and what they did has to reach the broker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    program: Program
    broker: BrokerAddress
    nodes: frozenset[NodeId] | None
    cache: Path | None
    name: str | None
    announce: bool
    settings: Settings
    show_config: bool


@program.command("worker", cls=RunCommand)
def _command(
    context: typer.Context,
    extensions: Annotated[
        list[str] | None,
        extensions_argument("Extensions and their options, as with run; all workers of a broker should have the same."),
    ] = None,
    broker: Broker = None,
    broker_credentials: BrokerCredentials = None,
    broker_nkey: BrokerNkey = None,
    broker_ca: BrokerCa = None,
    nodes: Annotated[
        str | None, typer.Option("--nodes", metavar="ID,...", help="Serve these nodes; by default all at the broker.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option("--cache", metavar="DIR", help="Keep copies of stores here, so that a start reads less."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--id", metavar="NAME", help="This worker's name, its alone; by default a new one.")
    ] = None,
    announce: Annotated[
        bool, typer.Option("--announce", help="Tell gateways what the extensions announce to peers, and end.")
    ] = False,
    json: Json = False,
    log_format: LogFormat = LogLines.text,
    verbose: Verbose = False,
    uvloop: Uvloop = False,
    config: Config = None,
    show_config: ShowConfig = False,
) -> None:
    """Run extensions for the peers of a cluster's nodes.

    It takes its share of them, and ends with Ctrl-C, or SIGTERM: then the other workers go on.
    """
    printer = service_printer(json, verbose=verbose, log_format=log_format)
    settings = Settings(context, os.environ)

    async def serve() -> int:
        with settings.explaining():
            options = _Options(
                program=Program(
                    arguments=with_extensions(extensions or [], settings),
                    own=own_options(context.command.params),
                    warnings=caught_warnings(context),
                ),
                broker=broker_address("worker", broker, broker_credentials, broker_nkey, broker_ca),
                nodes=_node_ids(nodes),
                cache=cache,
                name=_checked_name(name),
                announce=announce,
                settings=settings,
                show_config=show_config,
            )
            return await _serve(options, printer)

    raise typer.Exit(execute(serve, printer, uvloop=uvloop, limit=_LIMIT))


async def _serve(options: _Options, printer: Printer) -> int:
    if not any(not each.startswith("-") for each in options.program.arguments[:1]):
        raise CommandFailure(no_extension("worker"), USAGE)
    plugins = PluginManager()
    given = load(options.program, plugins, options.settings, printer)
    if options.show_config:
        show_settings(options.settings, printer)
        return 0
    _check(plugins, given, printer)
    watch_over(plugins)
    with contextlib.nullcontext(Path()) if options.announce else _cache(options.cache) as cache:
        connection = await connect_broker(options.broker, name="oddwire worker")
        try:
            await _work(connection, options, printer, cache, plugins, given)
        finally:
            with contextlib.suppress(TimeoutError):  # of a broker that is frozen
                async with asyncio.timeout(_CLOSING):
                    await connection.aclose()
    return 0


async def _work(
    connection: BrokerConnection,
    options: _Options,
    printer: Printer,
    cache: Path,
    plugins: PluginManager,
    given: Mapping[str, Any],
) -> None:
    from oddwire.cluster.manifests import manifests_of

    manifests = manifests_of(plugins)
    if options.announce:
        await _announce(connection, manifests)
        names = ", ".join(f"{each.name} {each.version}".rstrip() for each in manifests) or "nothing"
        printer.remark(f"announced to gateways: {names}")
        return
    from oddwire.cluster.locked_place import place_of
    from oddwire.cluster.worker import Worker, worker_name

    name = options.name or worker_name()

    def tell(what: str, values: Mapping[str, Any]) -> None:
        if printer.as_json:
            printer.line(json_line({"event": what, "worker": name, **values}))

    worker = Worker(
        connection,
        _parts(connection, cache, plugins, given, name),
        name=name,
        nodes=options.nodes,
        facts={"versions": _versions(plugins)},
        manifests=manifests,
        place="" if options.cache is None else await asyncio.to_thread(place_of, cache),
        on_event=tell,
    )
    on_stop(lambda _: worker.stop())
    call_when_broken(printer, worker.stop)
    await worker.run()


async def _announce(connection: BrokerConnection, manifests: Sequence[ExtensionManifest]) -> None:
    """Write the manifests, before any gateway was there."""
    from oddwire.cluster.manifests import write_manifests
    from oddwire.transports.nats.bucket import Bucket
    from oddwire.transports.nats.errors import BrokerFailure
    from oddwire.transports.nats.subjects import META

    bucket = Bucket(connection, META)
    try:
        await bucket.create_bucket()
        await write_manifests(bucket, manifests)
    except BrokerFailure as failure:
        raise CommandFailure(f"broker: {failure.reason}") from failure


def _parts(
    connection: BrokerConnection, cache: Path, loaded: PluginManager, given: Mapping[str, Any], name: str
) -> Parts:
    """Return what programs are made of: each partition has an application of its own, of the same extensions."""
    from oddwire.cluster.log.jetstream import JetStreamLog
    from oddwire.cluster.log.replicated_store import ReplicatedStore
    from oddwire.cluster.partition import Parts
    from oddwire.transports.base import Transport
    from oddwire.transports.nats.transport import NatsTransport

    def store(node: NodeId, partition: int) -> ReplicatedStore:
        return ReplicatedStore(
            JetStreamLog(connection, node, partition), cache / str(node) / str(partition), owner=name
        )

    def transport(node: NodeId, partition: int, term: int) -> NatsTransport:
        return NatsTransport(connection, node, partition, term=term)

    def application(transport: Transport, store: Any, number: int) -> Application:
        plugins = PluginManager()
        own = {owner.name for owner in plugins.contributions}
        for owner in loaded.contributions:
            if owner.name not in own:
                plugins.register(owner.plugin, owner.name)
        return Application(transport=transport, plugins=plugins, options=given, store=store, program=number)

    return Parts(store=store, transport=transport, application=application)


def _check(plugins: PluginManager, given: Mapping[str, Any], printer: Printer) -> None:
    """Build what an application is before it runs, for its errors, and say what a worker does not do of it."""
    from oddwire.app.plugins.loaded_plugins import LoadedPlugins

    with loading(printer):
        assembly = LoadedPlugins(plugins, given)
        assembly.options.read({})
    if assembly.manifest.rpc_methods:
        names = ", ".join(sorted(method.name for method in assembly.manifest.rpc_methods))
        printer.remark(f"a worker has no RPC methods: {names} can be called where 'oddwire run' runs them")


def _versions(plugins: PluginManager) -> dict[str, str]:
    from oddwire.version import __version__

    extensions = (owner.plugin for owner in plugins.contributions)
    found = {each.name: each.version for each in extensions if isinstance(each, Extension)}
    return {"oddwire": __version__, **found}


@contextlib.contextmanager
def _cache(folder: Path | None) -> Iterator[Path]:
    """Context manager: the folder of the copies, locked, or one for this process alone."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="oddwire-worker-", ignore_cleanup_errors=True) as made:
            yield Path(made)
        return
    with locked_folder(folder, LOCK_FILE, "--cache", user="worker", other="folder", code=USAGE):
        yield folder


def _node_ids(text: str | None) -> frozenset[NodeId] | None:
    if text is None:
        return None
    try:
        return frozenset(NodeId(each.strip()) for each in text.split(","))
    except ValueError as error:
        raise CommandFailure(f"--nodes should be node ids, with commas between: {error}", USAGE) from None


def _checked_name(name: str | None) -> str | None:
    if name is not None and not (0 < len(name) <= 64 and name.isascii() and name.replace("-", "").isalnum()):
        raise CommandFailure(f"--id should be letters, digits and dashes, up to 64, not {name!r:.100}", USAGE)
    return name
