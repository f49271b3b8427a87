"""The rows of the monitor's tables, as cells."""

from __future__ import annotations

from typing import Final

from rich.text import Text

from oddwire.monitor.snapshot import PeerLine, TypeLine, short_peer
from oddwire.monitor.tui.cells import age, amount, clock_time, number_cell, plain, rate, spark
from oddwire.monitor.watched import Watched

__all__ = ["event_cells", "peer_cells", "type_cells"]

_SPARK: Final = 20
_SIGNS: Final = {
    "received": ("<-", "cyan"),
    "sent": ("->", "green"),
    "error": ("!!", "red"),
    "missed": ("..", "yellow"),
}


def peer_cells(line: PeerLine) -> list[Text]:
    """Return the cells of a peer."""
    return [
        plain(short_peer(line.id), "cyan"),
        plain(line.direction),
        number_cell(age(line.connected)),
        number_cell(amount(line.queue), "yellow" if line.queue else ""),
        number_cell(amount(line.outbox), "yellow" if line.outbox else ""),
        number_cell(rate(line.rate_in)),
        number_cell(rate(line.rate_out)),
    ]


def type_cells(line: TypeLine) -> list[Text]:
    """Return the cells of a message type."""
    name = plain(f"{line.name} {line.type_id:#06x}" if line.name != f"{line.type_id:#06x}" else line.name)
    name.truncate(30, overflow="ellipsis")
    return [
        name,
        number_cell(rate(line.rate_in)),
        number_cell(rate(line.rate_out)),
        number_cell(amount(line.size)),
        Text(spark(line.series, _SPARK), style="green"),
    ]


def event_cells(event: Watched) -> list[Text]:
    """Return the cells of an event."""
    sign, style = _SIGNS.get(event.event, ("**", "magenta"))
    return [
        Text(clock_time(event.time), style="dim"),
        Text(sign, style=style),
        plain(short_peer(event.peer), "cyan"),
        plain(event.title),
        number_cell(amount(event.size) if event.is_message else ""),
        plain(event.line, style if event.event in ("error", "missed") else ""),
    ]
