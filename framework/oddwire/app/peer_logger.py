"""The logger of an extension's handlers: its records say which peer they are about."""

from __future__ import annotations

import logging
from typing import Any

__all__ = ["PeerLogger"]


class PeerLogger(logging.Logger):
    """An extension's logger, whose records have ``peer``, a node id in hex digits, unless the caller gives another.

    All else is that logger's: its level, its filters, its handlers.
    """

    def __init__(self, inner: logging.Logger, peer: str) -> None:
        super().__init__(inner.name)
        self._inner = inner
        self._peer = peer
        self.parent = inner.parent

    def makeRecord(self, *arguments: Any, **named: Any) -> logging.LogRecord:  # noqa: N802 - logging's name
        """Return a record with the peer."""
        record = super().makeRecord(*arguments, **named)
        record.__dict__.setdefault("peer", self._peer)
        return record

    def handle(self, record: logging.LogRecord) -> None:
        """Let the extension's logger handle a record."""
        self._inner.handle(record)

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802
        """Return whether the extension's logger is enabled for a level."""
        return self._inner.isEnabledFor(level)

    def getEffectiveLevel(self) -> int:  # noqa: N802
        """Return the level of the extension's logger."""
        return self._inner.getEffectiveLevel()

    def setLevel(self, level: int | str) -> None:  # noqa: N802
        """Set the level of the extension's logger."""
        if hasattr(self, "_inner"):  # `logging.Logger` calls it while it is created
            self._inner.setLevel(level)

    def addHandler(self, hdlr: logging.Handler) -> None:  # noqa: N802
        """Add a handler to the extension's logger."""
        self._inner.addHandler(hdlr)

    def removeHandler(self, hdlr: logging.Handler) -> None:  # noqa: N802
        """Remove a handler from the extension's logger."""
        self._inner.removeHandler(hdlr)

    def hasHandlers(self) -> bool:  # noqa: N802
        """Return whether the extension's logger, or one above it, has handlers."""
        return self._inner.hasHandlers()

    def addFilter(self, filter: Any) -> None:  # noqa: N802, A002
        """Add a filter to the extension's logger."""
        self._inner.addFilter(filter)

    def removeFilter(self, filter: Any) -> None:  # noqa: N802, A002
        """Remove a filter from the extension's logger."""
        self._inner.removeFilter(filter)

    def getChild(self, suffix: str) -> Any:  # noqa: N802
        """Return a logger below the extension's."""
        return self._inner.getChild(suffix)
