"""Calls of the `message_traced` hooks for received and sent messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from oddwire import clocks
from oddwire.app.hookspecs import TraceEvent
from oddwire.app.plugins.manager import HookCall
from oddwire.errors import DecodeError, Refuse
from oddwire.exit_exceptions import must_pass
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.schema import Message

if TYPE_CHECKING:
    from oddwire.app.application import Application

__all__ = ["Tracer"]

logger = get_logger("oddwire.app")


class Tracer:
    """Calls the `message_traced` hooks. Created only if a plugin has one: else tracing costs nothing."""

    def __init__(self, app: Application, calls: Sequence[HookCall]) -> None:
        self._app = app
        self._calls = (*calls,)

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
    ) -> float:
        """Call the hooks for one message; its latency counts from ``since``. Return the current time."""
        now = clocks.monotonic()
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
                logger.exception("message_traced of %r failed", call.plugin)
        return now
