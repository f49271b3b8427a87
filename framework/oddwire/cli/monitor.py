"""`oddwire monitor`: what a running program receives and sends, on a screen, in a browser, or into a file."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from oddwire.cli.broker_options import Broker, BrokerCa, BrokerCredentials, BrokerNkey, broker_address, connect_broker
from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import FAILED, USAGE, CommandFailure
from oddwire.cli.lexicons import load_lexicon
from oddwire.cli.plain_values import Command
from oddwire.cli.reporter import log_to
from oddwire.cli.running import execute
from oddwire.cli.running_programs import RunningProgram, find_program, running_programs
from oddwire.cli.shared_options import Extensions, Json, NodesNetwork, RpcFile
from oddwire.cli.shutdown import on_stop
from oddwire.cli.standard_streams import command_stdout
from oddwire.errors import ConnectionClosed
from oddwire.monitor.model import Model
from oddwire.monitor.source import NotWatchable, Source

if TYPE_CHECKING:
    from oddwire.monitor.explained import Opened
    from oddwire.monitor.tables import Table
    from oddwire.monitor.watched import Watched
    from oddwire.transports.nats.address import BrokerAddress

__all__ = ["program"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)

_LEAST: Final = 4096  # bytes of a recording, at most so many
_MAX_BYTES: Final = 256 * 1024 * 1024
_PATIENCE: Final = 10.0  # seconds until a broker that is not there is given up
_MISSING: Final = "needs {libraries}: pip install 'oddwire[{extra}]'"


@program.command("monitor", cls=Command)
def _command(
    program: Annotated[
        str | None, typer.Option("--program", metavar="NAME|PID", help="This oddwire run, or this plugin of a node.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="The oddwire run that has this one.")
    ] = None,
    lightning_dir: Annotated[
        Path | None,
        typer.Option("--lightning-dir", metavar="DIR", help="The node that keeps its files here, and its plugins."),
    ] = None,
    network: NodesNetwork = None,
    rpc_file: RpcFile = None,
    extension: Extensions = None,
    web: Annotated[bool, typer.Option("--web", help="Show it in a browser, at an address that is printed.")] = False,
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="HOST:PORT", help="With --web: where, on loopback.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option("--record", metavar="FILE", help="Write all events to a file, without a screen.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=0.0, metavar="SECONDS", help="With --record or --web: end after so long."),
    ] = None,
    max_bytes: Annotated[
        int, typer.Option("--max-bytes", min=_LEAST, metavar="BYTES", help="How large a recording grows at most.")
    ] = _MAX_BYTES,
    force: Annotated[bool, typer.Option("--force", help="With --record: replace the file.")] = False,
    broker: Broker = None,
    broker_credentials: BrokerCredentials = None,
    broker_nkey: BrokerNkey = None,
    broker_ca: BrokerCa = None,
    json: Json = False,
) -> None:
    """Watch the messages of running programs.

    Without a name it is the only program that runs, or one of a list. With --broker it shows a cluster's workers.
    """
    printer = Printer(json, stdout=command_stdout(json))
    log_to(printer)

    async def main() -> int:
        _check(web=web, listen=listen, record=record, seconds=seconds, as_json=json)
        named = any(value is not None for value in (program, data_dir, lightning_dir, network, rpc_file))
        if broker is not None:
            if named or web or record is not None:
                raise CommandFailure(
                    "--broker shows a cluster's workers on a screen, and goes with nothing else", USAGE
                )
            address = broker_address("monitor", broker, broker_credentials, broker_nkey, broker_ca)
            return await _show_workers(address)
        if program is None and data_dir is None and rpc_file is None:
            found = await running_programs(lightning_dir=lightning_dir, network=network)
            if named:
                found = [each for each in found if each.kind != "run"]
        else:
            path = await find_program(
                data_dir=data_dir, program=program, lightning_dir=lightning_dir, network=network, rpc_file=rpc_file
            )
            found = [RunningProgram("run", "", None, path)]
        if not found:
            where = "there" if named else "of yours, and no node in ~/.oddwire"
            raise CommandFailure(f"no program {where} is running: 'oddwire run' starts one", FAILED)
        if record is None and not web:
            return await _show(found, extension or (), max_bytes, printer)
        path = _only(found)
        if web:
            return await _serve(path, listen or "127.0.0.1:0", extension or (), seconds, printer)
        return await _record(path, record or Path(), seconds, max_bytes, force, printer)

    raise typer.Exit(execute(main, printer))


def _check(*, web: bool, listen: str | None, record: Path | None, seconds: float | None, as_json: bool) -> None:
    """Raise `CommandFailure` for options that do not go together."""
    if web and record is not None:
        raise CommandFailure("--web and --record do not go together; the page has a button that downloads", USAGE)
    if listen is not None and not web:
        raise CommandFailure("--listen is where the page of --web is served; without --web there is none", USAGE)
    if record is None and not web:
        if seconds is not None or as_json:
            raise CommandFailure("--seconds and --json are for --record FILE and --web", USAGE)
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise CommandFailure("a terminal is needed; --record FILE and --web do without", USAGE)


def _only(found: Sequence[RunningProgram]) -> Path:
    """Return the socket of the only program: of a node with plugins, the node's. Raises `CommandFailure`."""
    nodes = [each for each in found if each.kind == "node"]
    if len(found) == 1 or (len(nodes) == 1 and all(each.kind != "run" for each in found)):
        return (nodes or found)[0].path
    listed = "; ".join(map(str, found))
    raise CommandFailure(f"several programs are running, and one should be named: {listed}", USAGE)


def _model(extensions: Sequence[str], printer: Printer) -> tuple[Model, Callable[[Watched], Opened]]:
    """Return a model and what opens messages, by the extensions that are given and all installed ones."""
    from oddwire.monitor.explained import open_event

    lexicon = load_lexicon(extensions, printer.remark)
    return Model(lexicon=lexicon), lambda event: open_event(event, lexicon)


@contextlib.asynccontextmanager
async def _watching(path: Path, model: Model) -> AsyncIterator[None]:
    """Watch a program. Raises `CommandFailure` with what could be done."""
    try:
        async with Source(path, model).watching():
            yield
    except NotWatchable as error:
        hint = "of a lightningd, name a plugin by --program; 'oddwire call help' shows what there is"
        raise CommandFailure(f"{error}; {hint}", FAILED) from error
    except ConnectionClosed as error:
        raise CommandFailure(str(error), FAILED) from error


async def _show(found: Sequence[RunningProgram], extensions: Sequence[str], max_bytes: int, printer: Printer) -> int:
    try:
        from oddwire.monitor.tui.app import MonitorApp
    except ModuleNotFoundError as error:
        raise _not_installed(error, "the monitor's screen", "textual", "monitor") from None
    model, opened = _model(extensions, printer)
    app = MonitorApp(
        [str(each) for each in found],
        lambda index, model: Source(found[index].path, model).watching(),
        model=model,
        max_bytes=max_bytes,
        opened=opened,
    )
    on_stop(lambda _: app.exit())
    await app.run_async()
    if app.failure is not None:
        raise CommandFailure(str(app.failure), FAILED)
    return app.return_code or 0


async def _show_workers(address: BrokerAddress) -> int:
    try:
        from oddwire.monitor.tui.workers import WorkersApp
    except ModuleNotFoundError as error:
        raise _not_installed(error, "the monitor's screen", "textual", "monitor") from None
    from oddwire.cli.workers import last_line, look, tables_of

    connection = await connect_broker(address, name="oddwire monitor", patience=_PATIENCE)

    async def read() -> tuple[Sequence[Table], str]:
        overview = await look(connection)
        return tables_of(overview), last_line(overview)

    try:
        app = WorkersApp(f"workers of the cluster at {address.shown}", read)
        on_stop(lambda _: app.exit())
        await app.run_async()
        return app.return_code or 0
    finally:
        await connection.aclose()


async def _serve(path: Path, listen: str, extensions: Sequence[str], seconds: float | None, printer: Printer) -> int:
    try:
        from oddwire.monitor.web.serving import listen_address, serving
    except ModuleNotFoundError as error:
        raise _not_installed(error, "--web", "starlette and uvicorn", "web") from None
    try:
        host, port = listen_address(listen)
    except ValueError as error:
        raise CommandFailure(str(error), USAGE) from error
    model, opened = _model(extensions, printer)
    async with _watching(path, model), serving(model, host, port, opened=opened) as address:
        if printer.as_json:
            printer.event(Event(event="listening", uri=address))
        else:
            printer.line(address)
            printer.remark("open this address in a browser of this machine; Ctrl-C ends it")
        await _until_asked(seconds)
    return 0


async def _record(path: Path, file: Path, seconds: float | None, max_bytes: int, force: bool, printer: Printer) -> int:
    from oddwire.monitor.recording import Recorder

    model = Model(kept=1)
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(events: Sequence[Watched]) -> None:
        try:
            recorder.take(events)
        except OSError as error:
            if not failed.done():
                failed.set_exception(error)
        if recorder.full and not failed.done():
            failed.set_result(None)

    def tell(state: str) -> None:
        printer.remark(state if state != "connected" else f"{model.program.title} is watched again")

    async with _watching(path, model):
        try:
            recorder = Recorder(file, model.program, model.peers, max_bytes=max_bytes, replace=force)
        except FileExistsError:
            raise CommandFailure(f"{file} is there already; --force replaces it", USAGE) from None
        with recorder:
            model.listen(take)
            if not printer.as_json:
                printer.remark(f"recording {model.program.title} to {file}; Ctrl-C ends it")
            model.on_state = tell
            await _until_asked(seconds, failed)
    if printer.as_json:
        value: dict[str, Any] = {
            "file": str(file),
            "events": recorder.events,
            "bytes": recorder.bytes,
            "missed": model.missed,
            "full": recorder.full,
        }
        printer.event(Event(event="result", method="monitor", value=value))
    else:
        full = f"; it is full, at --max-bytes {max_bytes}" if recorder.full else ""
        printer.remark(f"{recorder.events} events recorded in {file}{full}")
    return 0


async def _until_asked(seconds: float | None, ends: asyncio.Future[None] | None = None) -> None:
    """Wait for a signal, some seconds, or a future, whose error is raised."""
    asked = asyncio.Event()
    on_stop(lambda _: asked.set())
    waiting = asyncio.ensure_future(asked.wait())
    futures: list[asyncio.Future[Any]] = [waiting, *([] if ends is None else [ends])]
    await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if ends is not None and ends.done():
        ends.result()


def _not_installed(error: ModuleNotFoundError, what: str, libraries: str, extra: str) -> CommandFailure:
    if (error.name or "").partition(".")[0] == "oddwire":
        raise error
    return CommandFailure(f"{what} {_MISSING.format(libraries=libraries, extra=extra)}", USAGE)
