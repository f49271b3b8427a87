"""Calls of the `message_traced` hooks for received and sent messages, and their counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from oddwire import clocks
from oddwire.app.hookspecs import TraceEvent
from oddwire.errors import DecodeError, Refuse
from oddwire.exit_exceptions import must_pass
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.schema import Message

if TYPE_CHECKING:
    from oddwire.app.application import Application
    from oddwire.app.insight.counts import Counts, Direction, Ticket

__all__ = ["Traced", "Tracer"]

logger = get_logger("oddwire.app")


class Tracer:
    """Calls the `message_traced` hooks, and counts messages. Created only if a plugin has one, or someone looks.

    ``calls`` are the hooks, and those of who looks on for a while; ``counts`` are None while messages are not counted.
    """

    def __init__(
        self,
        app: Application,
        calls: Sequence[Callable[..., object]] = (),
        counts: Counts | None = None,
    ) -> None:
        self._app = app
        self._calls = (*calls,)
        self.tells = bool(self._calls)
        """Whether anybody is told of each message."""
        self.counts = counts

    def trace(
        self,
        direction: Literal["received", "sent", "refused"],
        node_id: NodeId,
        payload: bytes,
        message: Message | None,
        *,
        error: DecodeError | Refuse | None = None,
        since: float | None = None,
        handled: bool = True,
        outcome: str = "",
    ) -> float:
        """Call the hooks for one message; its latency counts from ``since``. Return the current time.

        With an ``outcome`` it is counted; without one, whoever calls has a `ticket` for it.
        """
        now = clocks.monotonic()
        if outcome and self.counts is not None and direction != "refused":
            self.counts.add(direction, node_id, payload, outcome)
        if not self._calls:
            return now
        event = TraceEvent(
            direction=direction,
            peer=node_id,
            type_id=int.from_bytes(payload[:2], "big"),
            payload=payload,
            time=now,
            message=message,
            error=error,
            latency=None if since is None else now - since,
            handled=handled,
        )
        for call in self._calls:
            try:
                call(app=self._app, event=event)
            except BaseException as failure:
                if must_pass(failure):
                    raise
                logger.exception("message_traced of %r failed", getattr(call, "plugin", "oddwire"))
        return now

    def ticket(self, direction: Direction, node_id: NodeId, payload: bytes) -> Ticket | None:
        """Return the ticket of a message whose outcome is open; None while messages are not counted."""
        return None if self.counts is None else self.counts.ticket(direction, node_id, payload)

    def count(self, direction: Direction, node_id: NodeId, payload: bytes, outcome: str) -> None:
        """Count a message that is not traced, as it was not sent or not even read."""
        if self.counts is not None:
            self.counts.add(direction, node_id, payload, outcome)

    def nobodys(self, payload: bytes) -> str:
        """Return the outcome of a message that nobody handles."""
        return "" if self.counts is None else self.counts.nobodys(int.from_bytes(payload[:2], "big"))


class Traced(Protocol):
    """A part of the dispatcher that traces messages."""

    def use_tracer(self, tracer: Tracer | None) -> None:
        """Trace by this tracer from now on."""
