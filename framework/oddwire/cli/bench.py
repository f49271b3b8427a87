"""`oddwire bench`: what the codec and the handlers of extensions cost, beside what an empty handler costs."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oddwire.app import Extension, PluginManager
from oddwire.cli.applications import loading
from oddwire.cli.bench_run import Bench
from oddwire.cli.bench_samples import samples_of
from oddwire.cli.bench_table import codec_table, handler_table
from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.extension_options import own_options, read_extras
from oddwire.cli.reporter import log_to
from oddwire.cli.run_arguments import RunCommand
from oddwire.cli.running import execute
from oddwire.cli.shared_options import Json, Verbose, positive
from oddwire.cli.standard_streams import command_stdout

if TYPE_CHECKING:
    from oddwire.cli.bench_flame import Flame

__all__ = ["program"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    messages: Sequence[str]
    skip: Sequence[str]
    settings: Sequence[str]
    seconds: float
    bolt8: bool
    flame: Path | None


@program.command("bench", cls=RunCommand)
def _command(
    context: typer.Context,
    extensions: Annotated[
        list[str],
        typer.Argument(metavar="EXT... [--OPTION VALUE]...", help="Extensions, and options of theirs: as with run."),
    ],
    message: Annotated[
        list[str] | None,
        typer.Option("--message", metavar="EXT.MESSAGE", help="Measure this message alone; may be repeated."),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option("--skip", metavar="EXT.MESSAGE", help="Do not call its handler; may be repeated."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="[EXT.MESSAGE.]FIELD=VALUE", help="The value of a field; may be repeated."),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(
            "--seconds",
            min=0.01,
            metavar="SECONDS",
            callback=positive,
            help="How long to measure each message.",
        ),
    ] = 2.0,
    bolt8: Annotated[bool, typer.Option("--bolt8", help="Measure over BOLT 8 on loopback, too.")] = False,
    flame: Annotated[
        Path | None,
        typer.Option("--flame", metavar="FILE", help="Write where the time goes: .json for speedscope.app, or .html."),
    ] = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Measure how many messages an extension handles, and how fast."""
    printer = Printer(json, stdout=command_stdout(json))
    log_to(printer, logging.DEBUG if verbose else logging.ERROR)
    options = _Options(
        messages=message or (),
        skip=skip or (),
        settings=setting or (),
        seconds=seconds,
        bolt8=bolt8,
        flame=flame,
    )
    plugins = PluginManager()
    arguments, own = extensions, own_options(context.command.params)

    async def main() -> int:
        with loading(printer):
            given = read_extras(arguments, plugins, own)
        return await _bench(plugins, given, options, printer)

    raise typer.Exit(execute(main, printer))


async def _bench(plugins: PluginManager, given: dict[str, Any], options: _Options, printer: Printer) -> int:
    flame = None if options.flame is None else _flame(options.flame)
    contributions = [one for one in plugins.contributions if isinstance(one.plugin, Extension)]
    if not contributions:
        raise CommandFailure("bench measures extensions: oddwire bench echo, say", USAGE)
    wanted = samples_of(contributions, options.messages, options.settings, skip=options.skip)
    if not wanted:
        names = " and ".join(one.name for one in contributions)
        raise CommandFailure(f"{names} has no messages to measure; JSON-RPC methods are not measured")
    with tempfile.TemporaryDirectory(prefix="oddwire-bench-") as folder:
        bench = Bench(contributions, wanted, given, folder=Path(folder), seconds=options.seconds, bolt8=options.bolt8)
        found = await bench.run(flame)
    if printer.as_json:
        printer.event(Event(event="result", method="bench", value=found.to_json()))
    else:
        for line in (*codec_table(found.messages), *handler_table(found.handlers)):
            printer.line(line)
    for name, reason in found.left_out.items():
        printer.remark(f"{name} was not measured: {reason}")
    if flame is not None:
        printer.remark(f"{flame.path} shows where the time went")
    return 0


def _flame(path: Path) -> Flame:
    try:
        from oddwire.cli.bench_flame import Flame
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("oddwire"):
            raise
        raise CommandFailure("--flame needs pyinstrument: pip install 'oddwire[bench]'", USAGE) from None
    return Flame(path)
