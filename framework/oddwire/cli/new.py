"""`oddwire new`: make the project of an extension, with its tests."""

from __future__ import annotations

import difflib
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import USAGE, CommandFailure, exiting
from oddwire.cli.new_files import CODECS, Project, render, write
from oddwire.cli.new_names import block_of, check_feature, check_name, check_types, distribution_of, last_of
from oddwire.cli.plain_values import Command
from oddwire.cli.shared_options import Json
from oddwire.cli.standard_streams import command_stdout
from oddwire.printable import printable, quoted
from oddwire.version import __version__

__all__ = ["program"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)


@program.command("new", cls=Command)
def _command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the extension is to be called.")],
    path: Annotated[
        Path | None, typer.Option("--path", metavar="DIR", help="Make it in this folder; by default ./NAME.")
    ] = None,
    plugin: Annotated[
        bool, typer.Option("--plugin", help="With a plugin file that Core Lightning's reckless installs.")
    ] = False,
    codec: Annotated[
        str, typer.Option("--codec", metavar="CODEC", help="What carries the messages: msgpack, bolt or json.")
    ] = "msgpack",
    feature: Annotated[
        str | None, typer.Option("--feature", metavar="N", help="An odd feature bit to announce; none by default.")
    ] = None,
    first_type: Annotated[
        str | None,
        typer.Option("--type", metavar="N", help="The first message's type; by default one chosen by the name."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a new project: an extension, its tests, its packaging."""
    printer = Printer(as_json, stdout=command_stdout(as_json))
    with exiting(printer):
        project = _project(name, codec, feature, first_type, plugin=plugin)
        folder = Path(name) if path is None else path
        files = render(project)
        write(folder, files)
        if plugin and folder.resolve().name.lower() != name:
            printer.remark(
                f"note: reckless looks for a folder or repository called {name}, not {folder.resolve().name}"
            )
        if as_json:
            printer.event(Event(event="result", method="new", value=_plain(project, folder, files)))
        else:
            for line in _told(project, folder, files):
                printer.line(printable(line))


def _project(name: str, codec: str, feature: str | None, first_type: str | None, *, plugin: bool) -> Project:
    """Return what is asked for. Raises `CommandFailure` for what will not do."""
    check_name(name)
    if codec not in CODECS:
        close = difflib.get_close_matches(codec, CODECS, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise CommandFailure(
            f"--codec should be {', '.join(CODECS[:-1])} or {CODECS[-1]}, not {quoted(codec)}{hint}", USAGE
        )
    bit = None
    if feature is not None:
        if not (feature.isascii() and feature.isdigit() and len(feature) < 10):
            raise CommandFailure(
                f"--feature should be the number of an odd bit, 3001 say, not {quoted(feature)}", USAGE
            )
        bit = int(feature)
    check_feature(bit)
    first = block_of(name) if first_type is None else check_types(first_type, name)
    return Project(name=name, codec=codec, first=first, oddwire=__version__, feature=bit, plugin=plugin)


def _types(project: Project) -> dict[str, int]:
    return {"Count": project.first, "Counted": project.first + 2}


def _next(project: Project, folder: Path) -> list[str]:
    return [
        f"cd {shlex.quote(str(folder))}",
        "python -m pytest",
        f"oddwire run ./src/{project.package} --listen 127.0.0.1:9735",
    ]


def _plain(project: Project, folder: Path, files: dict[str, str]) -> dict[str, Any]:
    return {
        "name": project.name,
        "folder": str(folder.resolve()),
        "package": project.package,
        "distribution": distribution_of(project.name),
        "codec": project.codec,
        "feature": project.feature,
        "types": _types(project),
        "files": [*files],
        "next": _next(project, folder),
    }


def _told(project: Project, folder: Path, files: dict[str, str]) -> list[str]:
    types = ", ".join(f"{message} {number:#06x}" for message, number in _types(project).items())
    width = max(map(len, files)) + 2
    lines = [f"made {folder}/, the package {distribution_of(project.name)}:"]
    lines += [f"  {file:{width}}{text}".rstrip() for file, text in _meaning(project, files)]
    lines += [f"types {types}, up to {last_of(project.first):#06x} for more: nobody is known to use them", "next:"]
    return [*lines, *(f"  {command}" for command in _next(project, folder))]


def _meaning(project: Project, files: dict[str, str]) -> list[tuple[str, str]]:
    known = {
        f"src/{project.package}/__init__.py": "the extension: handler, RPC method, option",
        f"src/{project.package}/messages.py": f"its messages, carried by {project.codec}",
        f"tests/test_{project.name.replace('-', '_')}.py": "a test for each",
        f"{project.name}.py": "the plugin that reckless installs",
    }
    return [(file, known.get(file, "")) for file in files]
