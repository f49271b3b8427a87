"""`oddwire plugin`: write a file that lightningd runs as its plugin, for extensions by name or file."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from oddwire.app import Application
from oddwire.cli.events import Printer
from oddwire.cli.failure import USAGE, Failure
from oddwire.cli.session import loading
from oddwire.transports.memory import MemoryTransport

__all__ = ["command"]

_LONGEST_SHEBANG: Final = 127  # of older Linux kernels

_TEXT: Final = '''\
{shebang}
"""{names}: a plugin for Core Lightning, written by ``oddwire plugin``. Start it with lightningd --plugin=FILE."""

from oddwire.app.hosted import run_hosted

run_hosted({arguments})
'''


def command(
    extensions: Annotated[
        list[str], typer.Argument(metavar="EXT...", help="Names of installed extensions, or paths of .py files.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Write the plugin here.")],
    receive: Annotated[
        Literal["hook", "notification"],
        typer.Option("--receive", help="How lightningd hands over messages; notification needs v24.02."),
    ] = "hook",
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> None:
    """Write an executable plugin file for lightningd: these extensions, in one process, run by this Python."""
    printer = Printer()
    try:
        specs = [_absolute(spec) for spec in extensions]
        with loading(printer):
            Application(*specs, transport=MemoryTransport(), store=":memory:")
        _write(output, _text(specs, receive), replace=force)
    except Failure as failure:
        printer.failure(str(failure))
        raise typer.Exit(failure.code) from None
    printer.remark(f"written; start it with: lightningd --plugin={output.absolute()}")


def _absolute(spec: str) -> str:
    """Make a path good for any working directory: lightningd has another one."""
    is_path = spec.endswith(".py") or "/" in spec or "\\" in spec
    return str(Path(spec).resolve()) if is_path else spec


def _text(specs: Sequence[str], receive: str) -> str:
    arguments = ", ".join([*map(repr, specs), *([f"receive={receive!r}"] if receive != "hook" else [])])
    names = ", ".join(Path(spec).stem for spec in specs).replace("\\", "/").replace('"', "'")
    return _TEXT.format(shebang=_shebang(sys.executable), names=names, arguments=arguments)


def _shebang(python: str) -> str:
    """Give the first line, or where the kernel would not take that, lines that are good for sh and for Python."""
    if len(python) < _LONGEST_SHEBANG - 2 and not any(character.isspace() for character in python):
        return f"#!{python}"
    if "'" in python or '"' in python or "\\" in python:
        raise Failure(f"{python}: Python should lie at a path without quotes and backslashes", USAGE)
    return f"""#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''"""


def _write(path: Path, text: str, *, replace: bool) -> None:
    """Write an executable file, all of it or nothing. Raises `Failure`."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                os.fchmod(file.fileno(), 0o777 & ~_umask())
            if replace:
                os.replace(temporary, path)  # noqa: PTH105 - beside os.link, which pathlib has under another name
            else:
                os.link(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)  # noqa: PTH108
    except FileExistsError:
        raise Failure(f"{path} is there already; --force replaces it", USAGE) from None
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror or error}") from error


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
