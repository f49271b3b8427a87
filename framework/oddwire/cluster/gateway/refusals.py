"""What workers asked for and did not get: counted by reason, and logged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from oddwire.log_limits import get_logger
from oddwire.printable import printable

__all__ = ["Refusals"]

logger = get_logger("oddwire.cluster.gateway")

_SHOWN: Final = 200  # characters of a text


class Refusals:
    """Counts refusals by reason, a code of `oddwire.transports.nats.packing`; so no worker adds a name."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<{self._counts.total()} refused>"

    @property
    def counts(self) -> Mapping[str, int]:
        """How many there were of each reason."""
        return dict(self._counts)

    def add(self, reason: str, text: str, count: int = 1) -> None:
        """Count one or more of one kind, and log the last of them."""
        self._counts[reason] += count
        times = "" if count == 1 else f" ({count} times)"
        logger.warning("refused: %s: %s%s", reason, printable(text[:_SHOWN]), times)
