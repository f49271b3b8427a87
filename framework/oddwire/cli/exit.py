"""Failure of a command: one line for people, an exit code for programs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from oddwire.cli.events import Printer

__all__ = ["FAILED", "USAGE", "CommandFailure", "exiting", "no_extension"]

FAILED: Final = 1
"""Exit code for a failure at run time: a port in use, a peer that does not answer."""
USAGE: Final = 2
"""Exit code for a wrong use: an invalid URI, an unknown extension."""


class CommandFailure(Exception):
    """Ends a command. ``code`` is the exit code; the text says what was wrong, and what would be right."""

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.code = code


@contextlib.contextmanager
def exiting(printer: Printer) -> Iterator[None]:
    """Context manager of a command without an event loop: print its `CommandFailure`, and exit with the code of that.

    The printer is closed, whatever happens.
    """
    try:
        yield
    except CommandFailure as failure:
        printer.failure(str(failure))
        raise typer.Exit(failure.code) from None
    finally:
        printer.close()


def no_extension(command: str) -> str:
    """Return the error text for a command line without an extension, with the installed ones."""
    from importlib.metadata import entry_points

    from oddwire.app.plugins.manager import EXTENSIONS

    names = sorted(entry_points(group=EXTENSIONS).names)
    which = f"; installed are {', '.join(names)}" if names else ""
    example = names[0] if names else "./mine.py"
    return f"{command} needs the names of extensions: 'oddwire {command} {example}'{which}"
