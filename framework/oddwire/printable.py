"""Foreign text made safe to show: characters that control a terminal or forge a line are escaped."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

__all__ = ["indented", "printable", "printable_json", "quoted", "represented"]

# Joiners are needed by some scripts and emoji, and are harmless.
_HARMLESS: Final = frozenset("\u200c\u200d")
# Cc: C0, DEL and C1; Cf: direction controls and invisible characters; Cs: surrogates; Zl, Zp: line breaks.
_STEERING: Final = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


def _steers(character: str) -> bool:
    from unicodedata import category  # an extension module, imported only when such text occurs

    return category(character) in _STEERING and character not in _HARMLESS


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    known = _KNOWN.get(character)
    if known is not None:
        return known
    if not _steers(character):
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escape_in_json(match: re.Match[str]) -> str:
    character = match[0]
    if not _steers(character):
        return character
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


_KNOWN: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SUSPECT: Final = re.compile(r"[^ -~\xa1-\xac\xae-\u02ff]")  # all but printable ASCII and Latin


def printable(text: str) -> str:
    r"""Return a text on one line without terminal controls: they are escaped, as in ``\x1b``.

    Escaped are C0 and C1 controls, line and paragraph separators, bidirectional and other invisible controls, and
    lone surrogates, so that the result can be encoded; everything else, backslashes included, is unchanged.
    """
    return _SUSPECT.sub(_escape, text)


def indented(text: str, indent: str = "  ") -> str:
    r"""Return a text with each line indented and `printable`, so that none can pass for a line of ours.

    Only ``\n`` ends a line here; a carriage return or any other separator is escaped.
    """
    return "\n".join(indent + printable(line) for line in text.split("\n"))


def printable_json(document: str) -> str:
    r"""Return a JSON document with the same meaning and no terminal controls: see `printable`.

    Controls and lone surrogates are escaped as in JSON, ``\u009b``; line breaks between values are kept.
    """
    return "\n".join(_SUSPECT.sub(_escape_in_json, line) for line in document.split("\n"))


def quoted(text: str) -> str:
    r"""Return a text quoted as by `repr`, but with harmless characters unescaped, such as ``'\u3000'``, a space.

    As a Python literal it is the same text, and it is `printable`.
    """
    if text.isprintable():
        return repr(text)
    mark = '"' if "'" in text and '"' not in text else "'"
    return f"{mark}{printable(_escaped(text, mark))}{mark}"


def represented(value: object, most: int = 60, text: Callable[[object], str] = repr) -> str:
    """Return at most ``most`` characters of a value's ``text``; of what has none, its class.

    An int of more than 4300 digits has none, as Python refuses to convert it, nor has what raises in its ``__repr__``.
    """
    try:
        return text(value)[:most]
    except Exception:
        size = f" of {value.bit_length()} bits" if isinstance(value, int) else ""
        return f"{type(value).__name__}{size}"


def _escaped(text: str, mark: str) -> str:
    return text.replace("\\", "\\\\").replace(mark, f"\\{mark}")
