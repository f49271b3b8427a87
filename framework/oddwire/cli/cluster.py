"""`oddwire cluster`: a whole cluster on one machine: broker, gateway and workers as child processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from oddwire.cli.applications import call_when_broken
from oddwire.cli.child_program import ChildProgram
from oddwire.cli.events import Event, Printer, json_line
from oddwire.cli.exit import USAGE, CommandFailure, no_extension
from oddwire.cli.run_arguments import RunCommand
from oddwire.cli.running import execute
from oddwire.cli.shared_options import Connect, Json, Listen, Network, Verbose
from oddwire.cli.shutdown import on_abandon, on_stop
from oddwire.cli.standard_streams import command_stdout
from oddwire.proto.bolt1 import DEFAULT_NETWORK

__all__ = ["program"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)

_LIMIT: Final = 60.0
"""Max seconds of the end: workers, the gateway and the broker end one after the other, each with a limit of its own."""
_MOST: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    extensions: Sequence[str]
    workers: int
    data_dir: Path
    listen: Sequence[str]
    connect: Sequence[str]
    network: str
    broker_listen: str
    partitions: int | None
    verbose: bool


@program.command("cluster", cls=RunCommand)
def _command(
    extensions: Annotated[
        list[str] | None,
        typer.Argument(metavar="EXT... [--OPTION VALUE]...", help="Extensions and their options, as with run."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", metavar="N", help="How many workers there are.")] = 2,
    listen: Listen = None,
    connect: Connect = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Keep everything here: a folder for each process.")
    ] = None,
    network: Network = DEFAULT_NETWORK,
    partitions: Annotated[
        int | None, typer.Option("--partitions", metavar="N", help="Deal peers into so many parts; 16, if not said.")
    ] = None,
    broker_listen: Annotated[
        str, typer.Option("--broker-listen", metavar="HOST:PORT", help="Where the broker is; port 0 takes a free one.")
    ] = "127.0.0.1:4222",
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Run a whole cluster on this machine: broker, gateway and workers.

    They are processes of their own, each started again when it dies. All end with Ctrl-C.
    """
    printer = Printer(json, stdout=command_stdout(json))

    async def serve() -> int:
        if not extensions or extensions[0].startswith("-"):
            raise CommandFailure(no_extension("cluster"), USAGE)
        if data_dir is None:
            raise CommandFailure("cluster needs --data-dir DIR, a folder for what it must not lose", USAGE)
        if not 1 <= workers <= _MOST:
            raise CommandFailure(f"--workers should be 1 to {_MOST}, not {workers}", USAGE)
        options = _Options(
            extensions=extensions,
            workers=workers,
            data_dir=data_dir,
            listen=listen or (),
            connect=connect or (),
            network=network,
            broker_listen=broker_listen,
            partitions=partitions,
            verbose=verbose,
        )
        return await _Cluster(options, printer).run()

    raise typer.Exit(execute(serve, printer, limit=_LIMIT))


class _Cluster:
    def __init__(self, options: _Options, printer: Printer) -> None:
        self._options = options
        self._printer = printer
        self._children: list[ChildProgram] = []  # in the order of their start
        self._stopped = asyncio.Event()

    async def run(self) -> int:
        """Start all, keep them up, and end them in order. Raises `CommandFailure` if one does not start."""
        on_stop(lambda _: self._stopped.set())
        on_abandon(self._kill, self._holdups)
        call_when_broken(self._printer, self._stopped.set)
        keeping: list[asyncio.Task[None]] = []
        starting = asyncio.create_task(self._start())
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                keeping = [asyncio.create_task(child.keep_up()) for child in self._children]
                await asyncio.wait([stopped, *keeping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            starting.cancel()
            with contextlib.suppress(CommandFailure, asyncio.CancelledError):
                await starting
            await self._stop()
            for task in keeping:
                task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)
        return 0

    async def _start(self) -> None:
        options, folder = self._options, self._options.data_dir
        broker = self._child("broker", ["broker", "--data-dir", str(folder / "broker")])
        broker.arguments = [*broker.arguments, "--listen", options.broker_listen]
        url = await self._address_of(broker)
        place = ("--broker", url)
        announcing = self._child("worker", ["worker", *options.extensions, *place, "--announce"])
        self._children.remove(announcing)
        await announcing.start()
        if code := await announcing.done():
            raise CommandFailure(f"{announcing.name}: it could not start", code if code > 0 else 128 - code)
        gateway = self._child("gateway", ["gateway", *place, "--data-dir", str(folder / "gateway")])
        more = [("--network", options.network), *(("--connect", each) for each in options.connect)]
        if options.partitions is not None:
            more.append(("--partitions", str(options.partitions)))
        gateway.arguments = [*gateway.arguments, *(part for pair in more for part in pair)]
        before = gateway.arguments
        gateway.arguments = [*before, *(part for each in options.listen for part in ("--listen", each))]
        uri = await self._address_of(gateway)
        if len(options.listen) == 1:  # a port that was free then is the node's from now on
            gateway.arguments = [*before, "--listen", uri.rpartition("@")[2]]
        for number in range(1, options.workers + 1):
            cache = folder / f"worker-{number}"
            arguments = ["worker", *options.extensions, *place, "--cache", str(cache), "--id", f"worker-{number}"]
            await self._child(f"worker-{number}", arguments).start()
        self._printer.remark(f"the broker is at {url}: 'oddwire workers --broker {url}' shows who has what")

    def _child(self, name: str, arguments: Sequence[str]) -> ChildProgram:
        flags = ["--verbose"] if self._options.verbose else []
        child = ChildProgram(name, [*arguments, *flags], self._printer, lambda values: self._event(name, values))
        self._children.append(child)
        return child

    async def _address_of(self, child: ChildProgram) -> str:
        """Start a child, and return the address that it tells."""
        await child.start()
        event = await child.event()
        uri = event.get("uri")
        if child.name == "broker" and isinstance(uri, str):
            child.arguments = [*child.arguments[:-1], uri.rpartition("//")[2]]
        return uri if isinstance(uri, str) else ""

    def _event(self, name: str, values: Mapping[str, Any]) -> None:
        if self._printer.as_json:
            self._printer.line(json_line({**values, "process": name}))
        elif values.get("event") == "listening" and name == "gateway":
            self._printer.event(Event(event="listening", uri=str(values.get("uri"))))

    async def _stop(self) -> None:
        """End the workers, then the gateway, then the broker: each has what it needs to the end."""
        workers = [child for child in self._children if child.name not in ("broker", "gateway")]
        await asyncio.gather(*(child.stop() for child in workers))
        for child in reversed([child for child in self._children if child not in workers]):
            await child.stop()

    def _kill(self) -> None:
        for child in self._children:
            child.kill()

    def _holdups(self) -> list[str]:
        return [f"{child.name}, process {child.pid}, which does not end" for child in self._children if child.pid]
