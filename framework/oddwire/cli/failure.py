"""How a command ends when it cannot go on: one line for people, an exit code for programs."""

from __future__ import annotations

from typing import Final

__all__ = ["FAILED", "USAGE", "Failure"]

FAILED: Final = 1
"""The world did not play along: a port in use, a peer that does not answer."""
USAGE: Final = 2
"""What was asked for makes no sense: a bad URI, an unknown extension."""


class Failure(Exception):
    """Ends a command. ``code`` is the exit code, the text what was wrong and what would be right."""

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.code = code
