"""Text of others, made safe to show to a person: what steers a terminal or forges a line is shown escaped."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

__all__ = ["indented", "printable"]

# Joiners are part of how some scripts and emoji are written, and move nothing.
_HARMLESS: Final = frozenset("\u200c\u200d")
# Cc: C0, DEL and C1; Cf: what directs the order of text, or shows as nothing; Cs: no character; Zl, Zp: line breaks.
_STEERING: Final = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    known = _KNOWN.get(character)
    if known is not None:
        return known
    if unicodedata.category(character) not in _STEERING or character in _HARMLESS:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_KNOWN: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SUSPECT: Final = re.compile(r"[^ -~\xa1-\xac\xae-\u02ff]")  # all but printable ASCII and Latin


def printable(text: str) -> str:
    r"""Return a text on one line that does nothing to a terminal, each character that could written as ``\x1b`` is.

    Escaped are C0 and C1 controls, line and paragraph separators, bidirectional and other invisible controls, and
    lone surrogates, so that what comes out can be encoded; everything else, backslashes included, is left as it is.
    """
    return _SUSPECT.sub(_escape, text)


def indented(text: str, indent: str = "  ") -> str:
    r"""Return a text of several lines with each behind an indent and made `printable`: none can pass for another line.

    Only ``\n`` ends a line here; a carriage return or any other separator is escaped.
    """
    return "\n".join(indent + printable(line) for line in text.split("\n"))
