"""`oddwire replay`: recorded messages against an extension in memory; or a test that does that."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from oddwire.app import PluginManager
from oddwire.cli.applications import loading
from oddwire.cli.contract_files import write_whole
from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import FAILED, USAGE, CommandFailure, no_extension
from oddwire.cli.extension_options import own_options, read_extras
from oddwire.cli.reporter import log_to
from oddwire.cli.run_arguments import RunCommand
from oddwire.cli.running import execute, spell_error
from oddwire.cli.standard_streams import command_stdout
from oddwire.errors import DefinitionError
from oddwire.printable import printable
from oddwire.testing.replay_script import Script, Unreplayable, script_of
from oddwire.testing.replaying import Replayed, play

__all__ = ["program"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)

_TEST: Final = '''"""What was recorded in {name} is sent again to {extensions}. Made by `oddwire replay`."""

import asyncio
from pathlib import Path

from oddwire.testing import replay

HERE = Path(__file__).parent
RECORDING = HERE / {recording}


def {function}() -> None:
    asyncio.run(replay({arguments}))
'''


class _ReplayCommand(RunCommand):
    """The arguments are a file, and then those of `oddwire run`."""

    def _load(self, ctx: Any, args: Sequence[str], foreign: Sequence[str]) -> tuple[PluginManager, str]:
        return super()._load(ctx, args, foreign[1:])


class _Specs(PluginManager):
    """Notes by which texts extensions were loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.specs: list[str] = []
        self.names: list[str] = []

    def load(self, spec: str) -> str:
        self.specs.append(spec)
        name = super().load(spec)
        self.names.append(name)
        return name


@program.command("replay", cls=_ReplayCommand)
def _command(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="A recording, or what run --json printed.")],
    extensions: Annotated[
        list[str],
        typer.Argument(metavar="EXT... [--OPTION VALUE]...", help="Extensions, and options of theirs, as with run."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write a test for pytest that does it.")
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="NAME", help="Do not compare a message, chat.Heard, or a field, number."),
    ] = None,
    any_order: Annotated[
        bool, typer.Option("--any-order", help="It does not matter in which order messages are sent to a peer.")
    ] = False,
    missing_ok: Annotated[bool, typer.Option("--missing-ok", help="Replay it though events are missing.")] = False,
    speed: Annotated[
        float | None,
        typer.Option("--speed", metavar="N", help="In real time, so many times as fast; by default at once."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With --output: replace the file.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Send again what was recorded, and compare what comes back.

    It exits with 1 if the extensions send something else than was recorded.
    """
    printer = Printer(json, stdout=command_stdout(json))
    log_to(printer)
    own = own_options(context.command.params)

    async def main() -> int:
        if speed is not None and not speed > 0:
            raise CommandFailure(f"--speed should be a number above 0, not {speed:g}", USAGE)
        script = _read(file, missing_ok)
        if output is not None:
            settings = {"ignore": tuple(ignore or ()), "any_order": any_order, "missing_ok": missing_ok}
            _write(output, file, extensions, own, settings, force)
            printer.remark(f"{output} was written; 'pytest {output}' runs it")
            return 0
        plugins = PluginManager()
        with loading(printer):
            options = read_extras(extensions, plugins, own)
        if not plugins.contributions:
            raise CommandFailure(no_extension("replay FILE"), USAGE)
        try:
            found = await play(script, plugins, ignore=ignore or (), any_order=any_order, speed=speed, options=options)
        except DefinitionError as error:
            raise CommandFailure(str(error), USAGE) from error
        return _report(found, file, printer)

    raise typer.Exit(execute(main, printer))


def _read(file: str, missing_ok: bool) -> Script:
    try:
        return script_of(file, missing_ok=missing_ok)
    except Unreplayable as error:
        raise CommandFailure(str(error), FAILED) from error
    except ValueError as error:
        raise CommandFailure(str(error), USAGE) from error
    except OSError as error:
        raise CommandFailure(spell_error(error), USAGE) from error


def _report(found: Replayed, file: str, printer: Printer) -> int:
    for remark in found.remarks:
        printer.remark(remark)
    if printer.as_json:
        value = {"received": found.received, "sent": found.sent, "differences": [*found.differences]}
        printer.event(Event(event="result", method="replay", value=value))
    else:
        for difference in found.differences:
            printer.line(difference)
        count = len(found.differences)
        differs = f"{count} difference{'' if count == 1 else 's'}" if count else "no difference"
        printer.line(f"{file}: {found.received} received again, {found.sent} sent: {differs}".replace("\n", " "))
    return FAILED if found.differences else 0


def _write(
    output: Path, file: str, arguments: Sequence[str], own: set[str], settings: dict[str, Any], force: bool
) -> None:
    """Write the test. Raises `CommandFailure`."""
    plugins = _Specs()
    try:
        options = read_extras(arguments, plugins, own)
    except DefinitionError as error:
        raise CommandFailure(str(error), USAGE) from error
    if not plugins.specs:
        raise CommandFailure(no_extension("replay FILE -o TEST"), USAGE)
    folder = output.absolute().parent
    texts = [_spelled(spec, folder) for spec in plugins.specs]
    texts += ["recording=RECORDING", *(f"{name}={_quoted(value)}" for name, value in settings.items() if value)]
    texts += [f"options={_quoted(options)}"] if options else []
    text = _TEST.format(
        name=_mentioned(Path(file).name),
        extensions=_mentioned(", ".join(plugins.names)),
        recording=_quoted(os.path.relpath(Path(file).absolute(), folder)),
        function=f"test_{_part_of_name(Path(file).stem)}_again",
        arguments=", ".join(texts),
    )
    if output.exists() and not force:
        raise CommandFailure(f"{output} is there already; --force replaces it", USAGE)
    write_whole(output, text)


def _spelled(spec: str, folder: Path) -> str:
    """Return the expression for an extension: of a file, one from the folder of the test."""
    path, colon, name = spec.partition(":")
    if "/" not in path and not path.endswith(".py"):
        return _quoted(spec)
    file = Path(path).expanduser().absolute()
    beside = f"{os.path.relpath(file, folder)}{colon}{name}"
    is_plain = beside.isprintable() and not set(beside) & set('"\\{}')
    return f'f"{{HERE}}/{beside}"' if is_plain else _quoted(f"{file}{colon}{name}")


def _part_of_name(text: str) -> str:
    return "".join(letter if f"_{letter}".isidentifier() else "_" for letter in text).lower()


def _mentioned(text: str) -> str:
    """Return a text as it may stand in a docstring, whatever it is."""
    return printable(text).replace("\\", "/").replace('"', "'")


def _quoted(value: object) -> str:
    """Return the expression of a value, as a formatter of code writes it: texts in double quotes."""
    if isinstance(value, str) and value.isprintable() and '"' not in value and "\\" not in value:
        return f'"{value}"'
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_quoted, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_quoted(name)}: {_quoted(each)}' for name, each in value.items())}}}"
    return repr(value)
