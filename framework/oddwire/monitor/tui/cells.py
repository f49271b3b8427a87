"""Texts of cells: numbers that fit, and what others say as plain text, never as markup."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from rich.text import Text

from oddwire.printable import printable

__all__ = ["age", "amount", "clock_time", "number_cell", "plain", "rate", "spark"]

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_UNITS: Final = ("", "k", "M", "G", "T", "P")


def plain(text: str, style: str = "") -> Text:
    """Return a text as it is, `printable`: brackets in it mean nothing."""
    return Text(printable(text), style=style, no_wrap=True, end="")


def number_cell(text: str, style: str = "") -> Text:
    """Return a text for a column of numbers, aligned on the right."""
    return Text(text, style=style, no_wrap=True, end="", justify="right")


def amount(value: float) -> str:
    """Return a number in at most five characters: ``999``, ``12.3k``, ``4.5M``."""
    size = float(value)
    for unit in _UNITS:
        if size < 999.5 or unit == _UNITS[-1]:
            return f"{size:.0f}{unit}" if not unit or size >= 99.5 else f"{size:.1f}{unit}"
        size /= 1000
    raise AssertionError("the last unit takes all")


def rate(value: float) -> str:
    """Return a rate: ``0``, ``0.2``, ``12``, ``3.4k``."""
    return "0" if value < 0.05 else f"{value:.1f}" if value < 9.95 else amount(value)


def age(seconds: float) -> str:
    """Return a duration in at most six characters: ``12s``, ``3m20s``, ``5h07m``, ``12d4h``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole // 60 % 60:02}m"
    return f"{whole // 86400}d{whole // 3600 % 24}h"


def clock_time(moment: float) -> str:
    """Return a moment, seconds since 1970, as the time of day with milliseconds."""
    try:
        return f"{time.strftime('%H:%M:%S', time.localtime(moment))}.{int(moment * 1000) % 1000:03}"
    except (OverflowError, ValueError, OSError):
        return "?"


def spark(values: Sequence[float], width: int) -> str:
    """Return the last ``width`` values as a line of blocks, the highest as a full one."""
    shown = list(values)[-width:]
    top = max(shown, default=0.0)
    if top <= 0:
        return _BLOCKS[0] * len(shown)
    return "".join(_BLOCKS[min(len(_BLOCKS) - 1, int(value / top * (len(_BLOCKS) - 0.01)))] for value in shown)
