"""`read_hex`: bytes of hex digits as people paste them."""

from __future__ import annotations

import re
from typing import Final

from oddwire.printable import quoted

__all__ = ["HexFault", "read_hex"]

_BETWEEN: Final = re.compile(r"(?:(?<![0-9a-fA-F])0[xX](?=[0-9a-fA-F])|\\x(?=[0-9a-fA-F])|[\s:,;'\"`_-])+")
_DIGITS: Final = re.compile(r"[0-9a-fA-F]+")
_SHOWN: Final = 24  # characters around a wrong one


class HexFault(ValueError):
    """A text is no hex. ``position`` is that of the wrong character, from 0 on."""

    def __init__(self, text: str, position: int) -> None:
        super().__init__(text)
        self.position = position


def read_hex(text: str) -> bytes:
    """Return the bytes of hex digits in either case.

    ``0x`` in front, white space, line breaks, colons, commas, quotes and dashes between them do not count. Raises
    `HexFault` for anything else, and for half a byte.
    """
    joined = _BETWEEN.sub("", text)
    if joined and not _DIGITS.fullmatch(joined):
        at = _wrong(text)
        before = text[max(0, at - _SHOWN) : at]
        where = f"at character {at + 1}" + (f", behind {quoted(before)}" if before else "")
        raise HexFault(f"should be hex digits, not {quoted(text[at])} {where}", at)
    if len(joined) % 2:
        raise HexFault(f"should be two hex digits for each byte: there are {len(joined)}, so one is missing", len(text))
    return bytes.fromhex(joined)


def _wrong(text: str) -> int:
    """Return the position of the first character that is neither a digit nor may be between digits."""
    at = 0
    while True:
        found = _BETWEEN.match(text, at) or _DIGITS.match(text, at)
        if found is None:
            return at
        at = found.end()
