"""`oddwire plugin`: write a plugin file for lightningd that runs extensions, by name, file or module."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from oddwire.app import Application, PluginManager
from oddwire.app.plugins.extension_file import absolute
from oddwire.cli.applications import loading
from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import USAGE, CommandFailure, exiting
from oddwire.cli.plain_values import Command
from oddwire.cli.shared_options import Json
from oddwire.cli.standard_streams import command_stdout
from oddwire.printable import printable
from oddwire.transports.memory import MemoryTransport

__all__ = ["program", "write_gateway_plugin"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)

_LONGEST_SHEBANG: Final = 127  # bytes, in older Linux kernels

# ASCII except for the path of Python, as file names need not be valid UTF-8
_TEXT: Final = '''\
{names}: a plugin for Core Lightning, written by ``oddwire plugin``. Start it with lightningd --plugin=FILE."""

from oddwire import run_plugin

run_plugin({arguments})
'''

_GATEWAY: Final = b'''\
The gateway of a cluster: a plugin for Core Lightning, written by ``oddwire gateway``. Start it with lightningd
--plugin=FILE --oddwire-broker=nats://HOST:PORT."""

from oddwire.cluster.gateway.lightningd import run_gateway_plugin

run_gateway_plugin()
'''


@program.command("plugin", cls=Command)
def _command(
    extensions: Annotated[
        list[str],
        typer.Argument(metavar="EXT...", help="Installed extensions, paths of .py files or packages, or MODULE:NAME."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Write the plugin here.")],
    receive: Annotated[
        Literal["hook", "notification"] | None,
        typer.Option(
            "--receive", help="How lightningd hands over messages; by default the notification, if it has it (v24.02)."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a plugin file for lightningd: these extensions in one process.

    The file is executable, and runs by this Python.
    """
    printer = Printer(as_json, stdout=command_stdout(as_json))
    with exiting(printer):
        with loading(printer):
            specs = [absolute(spec) for spec in extensions]
            plugins = PluginManager()
            for spec in specs:
                plugins.load(spec)
            warnings = plugins.warnings()
            Application(plugins=plugins, transport=MemoryTransport(), store=":memory:")
        for text in warnings:
            printer.remark(f"warning: {text}")
        _spare_sources(output, specs)
        _write(output, _content(specs, receive), replace=force)
        shown = _shown(output)
        if as_json:
            names = [owner.name for owner in plugins.contributions if owner.versions]
            value = {"file": str(output.absolute()), "extensions": names}
            printer.event(Event(event="result", method="plugin", value=value))
        else:
            printer.remark(f"written; start it with: lightningd --plugin={shown}")


def write_gateway_plugin(output: Path, printer: Printer, *, replace: bool) -> None:
    """Write the plugin file of a gateway, and say how it is started. Raises `CommandFailure`."""
    _write(output, _head(sys.executable) + _GATEWAY, replace=replace)
    if printer.as_json:
        printer.event(Event(event="result", method="gateway --plugin", value={"file": str(output.absolute())}))
    else:
        text = f"written; start it with: lightningd --plugin={_shown(output)} --oddwire-broker=nats://HOST:PORT"
        printer.remark(text)


def _shown(output: Path) -> str:
    return printable(shlex.quote(str(output.absolute())))


def _spare_sources(output: Path, specs: Sequence[str]) -> None:
    """Raise `CommandFailure` if the output would overwrite an extension."""
    for spec in specs:
        path = spec if os.path.exists(spec) else spec.rpartition(":")[0]  # noqa: PTH110
        with contextlib.suppress(OSError):
            if path and output.samefile(path):
                raise CommandFailure(
                    f"{printable(str(output))} is an extension itself; the plugin should be another file", USAGE
                )


def _content(specs: Sequence[str], receive: str | None) -> bytes:
    arguments = ", ".join([*map(ascii, specs), *([] if receive is None else [f"receive={receive!r}"])])
    names = ", ".join(_name(spec) for spec in specs)
    return _head(sys.executable) + _TEXT.format(names=names, arguments=arguments).encode("ascii")


def _name(spec: str) -> str:
    """Return an extension's name, escaped for a docstring."""
    named = Path(spec).stem if "/" in spec else spec
    return ascii(named)[1:-1].replace("\\", "/").replace('"', "'")


def _head(python: str) -> bytes:
    """Return the head of the file, up to the opening quotes of its docstring, which makes the kernel run this Python.

    If the kernel would not accept Python's path in a ``#!`` line, the head is a line for sh that is valid Python too.
    ``-P`` keeps files beside the plugin from hiding modules of Python's library. Raises `CommandFailure`.
    """
    if not python:
        raise CommandFailure("this Python does not know its own path, so no plugin can name it", USAGE)
    raw = os.fsencode(python)
    try:
        raw.decode()
        coding = b""
    except UnicodeDecodeError:
        coding = b"# -*- coding: latin-1 -*-\n"  # permits any byte from the next line on
    if not coding and len(raw) < _LONGEST_SHEBANG - 5 and not set(raw) & set(b" \t\n\r"):
        return b"#!" + raw + b' -P\n"""'
    if b"\\" in raw:
        raise CommandFailure(f"{printable(python)}: Python should lie at a path without backslashes", USAGE)
    # For sh, the line after `#!` is the command `:`, which does nothing; for Python, it begins the docstring
    return b"#!/bin/sh\n" + coding + b'""":"\nexec ' + b"".join(_quoted(raw)) + b' -P "$0" "$@"\n'


def _quoted(raw: bytes) -> Iterator[bytes]:
    """Yield the bytes quoted for sh, without three double quotes in a row, which would end Python's docstring."""
    yield b"'"
    for byte in raw:
        yield {0x27: b"'\"'\"'", 0x22: b"\"''"}.get(byte, bytes([byte]))
    yield b"'"


def _write(path: Path, content: bytes, *, replace: bool) -> None:
    """Write an executable file, complete or not at all. Raises `CommandFailure`."""
    shown = printable(str(path))
    if path.is_dir():
        raise CommandFailure(f"{shown} is a folder; -o should be the plugin's file", USAGE)
    if path.exists() and not path.is_file():  # such as /dev/null
        raise CommandFailure(f"{shown} is no regular file; -o should be the plugin's file", USAGE)
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".oddwire-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                # Only the owner may write, as a plugin runs with the node's rights; and the owner may always execute
                os.fchmod(file.fileno(), (0o755 & ~_umask()) | 0o700)
            if replace:
                os.replace(temporary, path)  # noqa: PTH105 - beside os.link, which pathlib has under another name
            else:
                _put(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)  # noqa: PTH108
    except FileExistsError:
        raise CommandFailure(f"{shown} is there already; --force replaces it", USAGE) from None
    except OSError as error:
        raise CommandFailure(f"{shown} cannot be written: {error.strerror or error}") from error


def _put(temporary: str, path: Path) -> None:
    """Rename a file to ``path``. Raises `FileExistsError` if that exists."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # not all file systems have links
        path.touch(exist_ok=False)
        os.replace(temporary, path)  # noqa: PTH105


def _umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
