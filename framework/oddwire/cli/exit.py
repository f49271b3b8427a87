"""Failure of a command: one line for people, an exit code for programs."""

from __future__ import annotations

from typing import Final

__all__ = ["FAILED", "USAGE", "CommandFailure", "no_extension"]

FAILED: Final = 1
"""Exit code for a failure at run time: a port in use, a peer that does not answer."""
USAGE: Final = 2
"""Exit code for a wrong use: an invalid URI, an unknown extension."""


class CommandFailure(Exception):
    """Ends a command. ``code`` is the exit code; the text says what was wrong, and what would be right."""

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.code = code


def no_extension(command: str) -> str:
    """Return the error text for a command line without an extension, with the installed ones."""
    from importlib.metadata import entry_points

    from oddwire.app.plugins.manager import EXTENSIONS

    names = sorted(entry_points(group=EXTENSIONS).names)
    which = f"; installed are {', '.join(names)}" if names else ""
    example = names[0] if names else "./mine.py"
    return f"{command} needs the names of extensions: 'oddwire {command} {example}'{which}"
