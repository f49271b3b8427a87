"""Names of files that a peer has chosen, made harmless for a folder of ours."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from typing import Final

__all__ = ["candidates", "safe_name"]

_LONGEST: Final = 200
"""Bytes of a name in UTF-8: file systems take 255, and a number may come to it."""
_LONGEST_SUFFIX: Final = 20

# Path separators and what Windows does not take, as folders are shared and disks are moved
_FORBIDDEN: Final = frozenset('/\\<>:"|?*')
_RESERVED: Final = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"}
)
# Unicode's general categories: controls, formats (directions of text, zero width), surrogates, private, not assigned
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_BLANK: Final = frozenset({"Zs", "Zl", "Zp"})
# Those of Default_Ignorable_Code_Point (DerivedCoreProperties.txt of Unicode 16.0.0) that are letters or marks
_IGNORABLE: Final = frozenset(
    chr(code)
    for first, last in (
        (0x034F, 0x034F),  # combining grapheme joiner
        (0x115F, 0x1160),  # Hangul fillers
        (0x17B4, 0x17B5),  # Khmer inherent vowels
        (0x180B, 0x180F),  # Mongolian variation selectors
        (0x3164, 0x3164),  # Hangul filler
        (0xFE00, 0xFE0F),  # variation selectors
        (0xFFA0, 0xFFA0),  # halfwidth Hangul filler
        (0xE0100, 0xE01EF),  # variation selectors
    )
    for code in range(first, last + 1)
)
_SPACES: Final = frozenset("\t\n\r\u2800")
"""Not blanks to Unicode, but shown as such: the last is a pattern of Braille without a dot."""


def safe_name(name: str) -> str:
    """Return a name for a file that leads nowhere, hides nothing and looks like what it is; never empty.

    It has no path separators, control characters, changes of the direction of text or invisible characters, does not
    begin with a dot, a dash or a blank, is none that Windows reserves, and has at most 200 bytes in UTF-8, of which its
    suffix is kept. A name that is harmless stays as it is, but for Unicode's canonical composition (NFC).
    """
    kept = []
    for character in unicodedata.normalize("NFC", name):
        category = unicodedata.category(character)
        if character in _FORBIDDEN:
            kept.append("_")
        elif category in _BLANK or character in _SPACES:
            kept.append(" ")
        elif category not in _INVISIBLE and character not in _IGNORABLE:
            kept.append(character)
    # Again, as what was left out may have stood between a letter and its accent
    text = unicodedata.normalize("NFC", "".join(kept)).strip(" ").rstrip(". ")
    if text.startswith((".", "-", "~")):
        text = f"_{text[1:]}"
    if text.partition(".")[0].rstrip(" ").lower() in _RESERVED:
        text = f"_{text}"
    return _shortened(text) or "file"


def candidates(name: str) -> Iterator[str]:
    """Yield names to try, the first one ``name``: ``report.pdf``, ``report (2).pdf``, ..., a thousand in all."""
    yield name
    stem, suffix = _split(name)
    for number in range(2, 1001):
        yield f"{stem} ({number}){suffix}"


def _split(name: str) -> tuple[str, str]:
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a name, not a path
    return (stem, suffix) if len(suffix.encode()) <= _LONGEST_SUFFIX else (name, "")


def _shortened(name: str) -> str:
    if len(name.encode()) <= _LONGEST:
        return name
    stem, suffix = _split(name)
    room = _LONGEST - len(suffix.encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip(". ") + suffix
