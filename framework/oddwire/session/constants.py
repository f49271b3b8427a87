"""Constants of the session protocol for modules that do not implement it. Imports nothing else from oddwire."""

from __future__ import annotations

from typing import Final

from oddwire.proto.session_type import SESSION_TYPE, SESSION_TYPE_BYTES

__all__ = [
    "MAX_EXTENSIONS",
    "MAX_HELLO",
    "MAX_NAME",
    "MAX_VERSION",
    "MAX_VERSIONS",
    "SESSION_TYPE",
    "SESSION_TYPE_BYTES",
    "is_version",
]

MAX_HELLO: Final = 32768
"""Bytes in the longest content of a hello."""
MAX_EXTENSIONS: Final = 255
"""Extensions in a hello."""
MAX_NAME: Final = 255
"""Characters in the longest name of an extension."""
MAX_VERSIONS: Final = 255
"""Versions of an extension."""
MAX_VERSION: Final = 255
"""Characters in the longest version of an extension."""

_MOST_DIGITS = 9


def is_version(text: str) -> bool:
    """Return whether a text is a valid extension version: numbers joined by dots, without leading zeros."""
    return len(text) <= MAX_VERSION and all(
        part.isascii() and part.isdigit() and len(part) <= _MOST_DIGITS and (part == "0" or part[0] != "0")
        for part in text.split(".")
    )
