"""`oddwire workers`: who of a cluster's workers has which peers, and what waits for them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from oddwire.cli.broker_options import Broker, BrokerCa, BrokerCredentials, BrokerNkey, broker_address, connect_broker
from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import CommandFailure
from oddwire.cli.plain_values import Command
from oddwire.cli.running import execute
from oddwire.cli.shared_options import Json
from oddwire.cli.standard_streams import command_stdout
from oddwire.errors import TransportError
from oddwire.monitor.tables import Table
from oddwire.printable import printable

if TYPE_CHECKING:
    from oddwire.cluster.overview import FailOver, NodeView, Overview
    from oddwire.transports.nats.address import BrokerAddress
    from oddwire.transports.nats.connection import BrokerConnection

__all__ = ["last_line", "lines_of", "look", "program", "read", "tables_of"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)

_PATIENCE = 10.0  # seconds


@program.command("workers", cls=Command)
def _command(
    broker: Broker = None,
    broker_credentials: BrokerCredentials = None,
    broker_nkey: BrokerNkey = None,
    broker_ca: BrokerCa = None,
    json: Json = False,
) -> None:
    """Show which worker of a cluster has which peers.

    A line for each worker and each partition, with what waits; partitions that nobody has are shown, too.
    """
    printer = Printer(json, stdout=command_stdout(json))

    async def show() -> int:
        address = broker_address("workers", broker, broker_credentials, broker_nkey, broker_ca)
        overview = await read(address)
        if printer.as_json:
            printer.event(Event(event="result", method="workers", value=overview.to_values()))
            return 0
        for line in lines_of(overview):
            printer.line(printable(line))
        return 0

    raise typer.Exit(execute(show, printer))


async def read(address: BrokerAddress) -> Overview:
    """Return what a cluster looks like now. Raises `CommandFailure`."""
    connection = await connect_broker(address, name="oddwire workers", patience=_PATIENCE)
    try:
        return await look(connection)
    except TransportError as error:
        raise CommandFailure(str(error)) from error
    finally:
        await connection.aclose()


async def look(connection: BrokerConnection) -> Overview:
    """Return what a cluster looks like now. Raises `TransportError`."""
    from oddwire.cluster.overview import read_overview
    from oddwire.transports.nats.errors import BrokerDenied, BrokerFailure

    try:
        return await read_overview(connection)
    except BrokerDenied as failure:
        raise TransportError(f"{connection.address.shown}: {failure.reason}") from failure
    except BrokerFailure as failure:
        text = f"{connection.address.shown}: {failure.reason}; has a gateway ever been started with this broker?"
        raise TransportError(text) from failure


def tables_of(overview: Overview) -> list[Table]:
    """Return what is shown to people: of workers, of each node's partitions, of jobs."""
    workers = []
    for worker in overview.workers:
        versions = ", ".join(f"{name} {version}" for name, version in sorted(worker.versions.items()))
        count = f"{worker.partitions}, {worker.failing} failing" if worker.failing else str(worker.partitions)
        workers.append((worker.id, worker.state, worker.host, str(worker.pid), count, versions))
    failing = frozenset(row for row, worker in enumerate(overview.workers) if worker.failing)
    title = "" if workers else "no worker is there"
    tables = [Table(title, ("worker", "state", "host", "pid", "partitions", "versions"), workers, failing)]
    for node in overview.nodes:
        rows = [
            (str(each.partition), each.worker or "nobody", str(each.term or "-"), _time(each.since), str(each.waiting))
            for each in node.partitions
        ]
        free = frozenset(row for row, each in enumerate(node.partitions) if each.worker is None)
        tables.append(Table(_title(node), ("partition", "worker", "term", "since", "waiting"), rows, free))
    if overview.jobs:
        tables.append(Table("", ("job", "worker"), [*overview.jobs.items()]))
    return tables


def last_line(overview: Overview) -> str:
    """Return what is below the tables; may be empty."""
    if not overview.nodes:
        return "no node is there: a gateway makes one known"
    return "" if overview.fail_over is None else _told(overview.fail_over)


def lines_of(overview: Overview) -> Iterator[str]:
    """Return what is shown to people, line by line."""
    first = True
    for table in tables_of(overview):
        if not first:
            yield ""
        first = False
        if table.title:
            yield table.title
        if table.rows:
            yield from _spelled([table.heads, *table.rows])
    if line := last_line(overview):
        yield ""
        yield line


def _title(node: NodeView) -> str:
    if node.gateway is None:
        return f"node {node.node}: no gateway is there"
    gateway = node.gateway
    refused = gateway.get("refused")
    more = ", ".join(f"{count} refused: {why}" for why, count in refused.items()) if isinstance(refused, dict) else ""
    where = f"gateway {gateway.get('host', '?')}, pid {gateway.get('pid', '?')}, run {gateway.get('run', '?')}"
    return f"node {node.node}: {where}, {gateway.get('peers', '?')} peers{f', {more}' if more else ''}"


def _told(fail_over: FailOver) -> str:
    where = f"partition {fail_over.partition} of {fail_over.node[:8]}..."
    return f"last fail-over: {_time(fail_over.at)}, {where}, from {fail_over.former} to {fail_over.worker}"


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds)) if 0 < seconds < 1e11 else "-"


def _spelled(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
