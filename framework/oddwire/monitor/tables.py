"""Tables of texts that are shown live: what `oddwire.monitor.tui.workers` draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Table"]


class Table(NamedTuple):
    """A table with a title, which may be empty, the heads of its columns, and rows of as many texts.

    ``wrong`` are the numbers of the rows that somebody should look at.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    wrong: frozenset[int] = frozenset()
