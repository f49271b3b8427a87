"""The tables of `oddwire bench`, for people."""

from __future__ import annotations

from collections.abc import Sequence

from oddwire.cli.bench_handlers import HandlerRow
from oddwire.cli.bench_run import MessageRow
from oddwire.cli.bench_timing import Spent

__all__ = ["codec_table", "handler_table"]


def codec_table(rows: Sequence[MessageRow]) -> list[str]:
    """Return the lines of what the codecs cost."""
    head = ("message", "codec", "bytes", "encode µs", "decode µs")
    return _table(
        head, [(row.name, row.codec, f"{row.size}", f"{row.encode:.2f}", f"{row.decode:.2f}") for row in rows]
    )


def handler_table(rows: Sequence[HandlerRow]) -> list[str]:
    """Return the lines of what the handlers cost, an empty one first; none without rows."""
    if not rows:
        return []
    shares = list(rows[0].shares)
    over = any(row.bolt8 is not None for row in rows)
    head = ["handler", "sent", "a second", "waits µs", "works µs", *shares, "/ empty", "/ no schema"]
    head += ["BOLT 8: a second", "works µs", "BOLT 8"] if over else []
    return ["", *_table(head, [_cells(row, over) for row in rows])]


def _cells(row: HandlerRow, over: bool) -> list[str]:
    whole = sum(row.shares.values()) or 1.0
    cells = [row.name, row.how, *_figures(row.spent, waiting=True)]
    cells += [f"{100 * value / whole:.0f}%" for value in row.shares.values()]
    cells += [f"{ratio:.2f}" for ratio in row.ratios]
    if over and row.bolt8 is not None:
        cells += [*_figures(row.bolt8, waiting=False), f"{100 * row.encryption:.0f}%"]
    return cells


def _figures(spent: Spent, *, waiting: bool) -> list[str]:
    figures = [f"{1e6 / spent.elapsed:,.0f}", f"{spent.waiting:.1f}", f"{spent.working:.1f}"]
    return figures if waiting else [figures[0], figures[2]]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return lines in columns; the first two columns are texts, the others numbers."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(
            text.ljust(width) if column < 2 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
