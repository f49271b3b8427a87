"""A plugin that keeps what is traced."""

from __future__ import annotations

from oddwire.app import TraceEvent, hookimpl


class Tracer:
    """Keeps every traced message in ``events``, in order."""

    def __init__(self) -> None:
        self.events: list[TraceEvent] = []

    @hookimpl
    def message_traced(self, event: TraceEvent) -> None:
        self.events.append(event)
