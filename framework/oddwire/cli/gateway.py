"""`oddwire gateway`: a node, ours or LND's, for a cluster's workers; and the plugin file for lightningd's."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from oddwire.cli.applications import call_when_broken, make_transport
from oddwire.cli.broker_options import Broker, BrokerCa, BrokerCredentials, BrokerNkey, broker_address, connect_broker
from oddwire.cli.descriptors import fit_limits
from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.keyfile import sole_use
from oddwire.cli.lnd_options import LndOptions, lnd_network
from oddwire.cli.plain_values import Command
from oddwire.cli.reporter import service_printer
from oddwire.cli.running import execute
from oddwire.cli.settings import Settings, is_given, show_settings
from oddwire.cli.shared_options import (
    Config,
    Connect,
    ConnectTimeout,
    Json,
    Listen,
    Lnd,
    LndDir,
    LogFormat,
    LogLines,
    Macaroon,
    Network,
    Proxy,
    ShowConfig,
    TlsCert,
    Uvloop,
    Verbose,
)
from oddwire.cli.shutdown import on_stop
from oddwire.errors import DefinitionError, TransportError
from oddwire.proto.bolt1 import DEFAULT_NETWORK
from oddwire.transports.bolt8.limits import Bolt8Limits

if TYPE_CHECKING:
    from oddwire.cluster.gateway.gateway import Gateway
    from oddwire.transports.base import Transport
    from oddwire.transports.nats.connection import BrokerConnection

__all__ = ["program"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)

_LIMIT: Final = 15.0
"""Max seconds of the end: peers may read what was sent, the broker takes what they have sent."""
_LEAST_BYTES: Final = 1 << 20
_MOST_REPLICAS: Final = 5


@program.command("gateway", cls=Command)
def _command(
    context: typer.Context,
    broker: Broker = None,
    broker_credentials: BrokerCredentials = None,
    broker_nkey: BrokerNkey = None,
    broker_ca: BrokerCa = None,
    listen: Listen = None,
    connect: Connect = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Keep the node's key here; nothing else is kept.")
    ] = None,
    partitions: Annotated[
        int | None,
        typer.Option(
            "--partitions", metavar="N", help="Deal the peers into so many parts, fixed from the first start on; 16."
        ),
    ] = None,
    allow_method: Annotated[
        list[str] | None,
        typer.Option("--allow-method", metavar="NAME", help="Let workers call this method of the node's; repeatable."),
    ] = None,
    max_waiting: Annotated[
        int | None,
        typer.Option("--max-waiting", metavar="BYTES", help="So much waits for workers, at most; 1073741824 at first."),
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option("--replicas", metavar="N", help="Keep all on so many servers of a cluster of NATS; 1 at first."),
    ] = None,
    network: Network = DEFAULT_NETWORK,
    proxy: Proxy = None,
    connect_timeout: ConnectTimeout = None,
    lnd: Lnd = None,
    tlscert: TlsCert = None,
    macaroon: Macaroon = None,
    lnddir: LndDir = None,
    plugin: Annotated[
        bool, typer.Option("--plugin", help="Write a plugin file instead, which is the gateway of a lightningd.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="With --plugin, the file to write.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With --plugin, replace the file if it is there.")] = False,
    as_json: Json = False,
    log_format: LogFormat = LogLines.text,
    verbose: Verbose = False,
    uvloop: Uvloop = False,
    config: Config = None,
    show_config: ShowConfig = False,
) -> None:
    """Run a node for a cluster's workers, or join LND's to it.

    It ends with Ctrl-C. For lightningd, --plugin writes a plugin file.
    """
    settings = Settings(context, os.environ)
    printer = service_printer(as_json, verbose=verbose, log_format=log_format)
    of_lnd = LndOptions(
        address=lnd,
        tlscert=tlscert,
        macaroon=macaroon,
        lnddir=lnddir,
        network=network,
        chosen=is_given(context, "network"),
    )

    async def serve() -> int:
        with settings.explaining():
            return await try_to_serve()

    async def try_to_serve() -> int:
        for text in settings.unread():
            printer.remark(f"warning: {text}")
        if show_config:
            show_settings(settings, printer)
            return 0
        if plugin or output is not None:
            _write_plugin(output, plugin, force, printer)
            return 0
        _check_numbers(partitions, max_waiting, replicas)
        of_lnd.check(listen=listen or (), proxy=proxy, connect_timeout=connect_timeout)
        address = broker_address("gateway", broker, broker_credentials, broker_nkey, broker_ca)
        if not of_lnd.is_wanted and data_dir is None:
            text = "gateway needs --data-dir DIR for the node's key, or each start would be another node at the broker"
            raise CommandFailure(f"{text}; --lnd HOST:PORT takes LND's node", USAGE)
        transport: Transport = (
            of_lnd.transport(connect or ())
            if of_lnd.is_wanted
            else make_transport(
                data_dir=data_dir,
                listen=listen or (),
                connect=connect or (),
                network=network,
                proxy=proxy,
                limits=fit_limits(Bolt8Limits(connect_timeout=connect_timeout)),
            )
        )
        has_key = not of_lnd.is_wanted
        with contextlib.nullcontext() if data_dir is None else sole_use(data_dir, has_key=has_key):
            from oddwire.cluster.locked_place import place_of

            options = {
                "partitions": partitions,
                "methods": allow_method or (),
                "max_waiting": max_waiting,
                "replicas": replicas,
                "place": "" if data_dir is None else place_of(data_dir),
            }
            connection = await connect_broker(address, name="oddwire gateway")
            try:
                await _serve(transport, connection, options, of_lnd, printer)
            finally:
                await connection.aclose()
        return 0

    raise typer.Exit(execute(serve, printer, uvloop=uvloop, limit=_LIMIT))


async def _serve(
    transport: Transport, connection: BrokerConnection, options: dict[str, Any], lnd: LndOptions, printer: Printer
) -> None:
    from oddwire.cluster.gateway.gateway import Gateway

    gateway = Gateway(transport, connection, **options)
    try:
        await gateway.start()
    except DefinitionError as error:
        raise CommandFailure(str(error), USAGE) from error
    except TransportError as error:
        raise CommandFailure(f"{error}{lnd.elsewhere}") from error
    try:
        await _run(gateway, lnd, printer)
    finally:
        await gateway.aclose()


async def _run(gateway: Gateway, lnd: LndOptions, printer: Printer) -> None:
    stopped = asyncio.Event()
    on_stop(lambda _: stopped.set())
    call_when_broken(printer, stopped.set)
    if lnd.is_wanted:
        await _begin_beside(gateway.transport, lnd, printer)
    for uri in gateway.transport.uris:
        printer.event(Event(event="listening", uri=uri))
    if not lnd.is_wanted and not gateway.transport.uris:
        printer.event(Event(event="ready", address="this process", node_id=gateway.node_id))
    stopping = asyncio.create_task(stopped.wait(), name="a signal")
    ending = asyncio.create_task(gateway.wait(), name="the node")
    try:
        await asyncio.wait([stopping, ending], return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            raise CommandFailure(ending.result())
    finally:
        for task in (stopping, ending):
            task.cancel()
        await asyncio.gather(stopping, ending, return_exceptions=True)


async def _begin_beside(transport: Transport, lnd: LndOptions, printer: Printer) -> None:
    """Say that LND has answered, now and again when it is back. Raises `CommandFailure` for one of another network."""
    from oddwire.cli.beside_lnd import check_network  # for who has LND alone
    from oddwire.transports.lnd.transport import LndTransport

    assert isinstance(transport, LndTransport)  # noqa: S101 - narrows the type for checkers
    place = transport.address
    if lnd.chosen:
        try:
            check_network(await transport.call("GetInfo"), lnd_network(lnd.network), place)
        except DefinitionError as error:
            raise CommandFailure(str(error), USAGE) from error

    def announce() -> None:
        printer.event(Event(event="ready", address=place, node_id=transport.node_id))

    announce()
    transport.on_back = announce


def _check_numbers(partitions: int | None, max_waiting: int | None, replicas: int | None) -> None:
    for name, value, least, most in (
        ("partitions", partitions, 1, 1024),
        ("max-waiting", max_waiting, _LEAST_BYTES, 1 << 60),
        ("replicas", replicas, 1, _MOST_REPLICAS),
    ):
        if value is not None and not least <= value <= most:
            raise CommandFailure(f"--{name} should be {least} to {most}, not {value}", USAGE)


def _write_plugin(output: Path | None, plugin: bool, force: bool, printer: Printer) -> None:
    if not plugin:
        raise CommandFailure(f"-o {output} is for --plugin, which writes a plugin file for lightningd", USAGE)
    if output is None:
        raise CommandFailure("--plugin needs -o FILE, the plugin file to write", USAGE)
    from oddwire.cli.plugin import write_gateway_plugin

    write_gateway_plugin(output, printer, replace=force)
