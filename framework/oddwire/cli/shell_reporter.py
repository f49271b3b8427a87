"""What happens while someone types at `oddwire shell`: printed above the prompt, and gathered."""

from __future__ import annotations

import sys
from collections import deque
from io import TextIOBase
from typing import TYPE_CHECKING, Any, Final

from oddwire.app import TraceEvent, hookimpl
from oddwire.cli.events import Printer
from oddwire.cli.reporter import Reporter
from oddwire.schema import Message

if TYPE_CHECKING:
    from oddwire.app import Application, Peer

__all__ = ["RECEIVED", "CurrentStream", "ShellReporter"]

RECEIVED: Final = 1000
"""Max messages that ``received`` holds, the latest."""


class ShellReporter(Reporter):
    """A plugin that prints connections, failures, and messages of peers that answer no request; these it gathers.

    ``received`` has the messages, of types that are not known their payloads. ``scope["peer"]``, if it is None, is set
    to the first peer that connects.
    """

    def __init__(self, printer: Printer, scope: dict[str, Any]) -> None:
        super().__init__(printer, takes_all=True)
        self.received: deque[Message | bytes] = deque(maxlen=RECEIVED)
        self._scope = scope

    @hookimpl
    def peer_connected(self, peer: Peer) -> None:
        """Print that a peer has connected."""
        super().peer_connected(peer)
        if self._scope.get("peer") is None:
            self._scope["peer"] = peer

    @hookimpl
    def message_traced(self, app: Application, event: TraceEvent) -> None:
        """Print and gather a message that is not the answer to a request, whose caller gets it anyway."""
        if event.direction == "sent" or event.latency is not None:
            return
        if event.direction == "received" and event.error is None:
            self.received.append(event.payload if event.message is None else event.message)
        super().message_traced(app, event)


class CurrentStream(TextIOBase):
    """A stream that writes to what ``sys.stdout``, or another name, is at that moment: a prompt puts its own there.

    It has no descriptor, so that nothing is written past the prompt.
    """

    def __init__(self, name: str = "stdout") -> None:
        self._name = name

    def write(self, text: str, /) -> int:
        """Write a text at once."""
        stream = getattr(sys, self._name)
        stream.write(text)
        stream.flush()
        return len(text)

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return bool(getattr(sys, self._name).isatty())
