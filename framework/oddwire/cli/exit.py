"""How a command ends when it cannot go on: one line for people, an exit code for programs."""

from __future__ import annotations

from typing import Final

__all__ = ["FAILED", "USAGE", "CommandFailure", "no_extension"]

FAILED: Final = 1
"""The world did not play along: a port in use, a peer that does not answer."""
USAGE: Final = 2
"""What was asked for makes no sense: a bad URI, an unknown extension."""


class CommandFailure(Exception):
    """Ends a command. ``code`` is the exit code, the text what was wrong and what would be right."""

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.code = code


def no_extension(command: str) -> str:
    """Return what is wrong with a command that names no extension, and which it could name."""
    from importlib.metadata import entry_points

    from oddwire.app.plugins.manager import EXTENSIONS

    names = sorted(entry_points(group=EXTENSIONS).names)
    which = f"; installed are {', '.join(names)}" if names else ""
    example = names[0] if names else "./mine.py"
    return f"{command} should be told which extensions, 'oddwire {command} {example}' say{which}"
