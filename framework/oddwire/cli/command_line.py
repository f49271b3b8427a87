"""Running a command line to its exit code; errors in the arguments are printed without control characters."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import typer

from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import no_extension
from oddwire.cli.plain_values import Command
from oddwire.cli.standard_streams import ready_streams
from oddwire.cli.variables import source_of
from oddwire.printable import indented, printable

__all__ = ["run_program"]

_UNWRITTEN: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of writing that are not bugs."""


def run_program(program: typer.Typer | Command, name: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a typer program, or a command made of one, and exit. ``arguments`` are by default the command line's."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    ready_streams(stdout="--json" not in given)
    try:
        command = typer.main.get_command(program) if isinstance(program, typer.Typer) else program
        code = command.main(given, prog_name=printable(name), standalone_mode=False)
    except typer.Abort:
        sys.exit(130)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _UNWRITTEN and error.filename is None:
            sys.stderr.write(f"oddwire: stdout: {os.strerror(error.errno)}\n")
            sys.exit(1)
        if not (
            hasattr(error, "format_message") and hasattr(error, "exit_code")
        ):  # click's exceptions, wherever typer imports click from
            summary = printable(f"oddwire: internal error: {type(error).__name__}: {error}")
            sys.stderr.write(f"{summary}\n{indented(traceback.format_exc().rstrip())}\n")
            sys.exit(1)
        _show(error, as_json="--json" in given)
        sys.exit(getattr(error, "exit_code", 1))
    sys.exit(code if isinstance(code, int) else 0)


def _show(error: Any, *, as_json: bool) -> None:
    context = getattr(error, "ctx", None)
    if getattr(getattr(error, "param", None), "name", None) == "extensions" and context is not None:
        printer = Printer(as_json)  # click's text would name its own metavar for the missing argument
        before = [each.metavar for each in context.command.params if each.param_type_name == "argument"][:-1]
        printer.failure(no_extension(" ".join((context.command.name, *before))))
        printer.close()
        return
    text = error.format_message() + source_of(error)
    if type(error).__name__ != "NoArgsIsHelpError":  # whose text is the help
        text = printable(text)
        error.format_message = lambda: text
    error.show()
    if as_json:
        printer = Printer(True)
        printer.event(Event(event="error", text=text))
        printer.close()
