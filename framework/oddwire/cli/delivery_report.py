"""A report of a conversation that compares the messages sent, as one side reports, with those the other received."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Literal

from oddwire.cli.exit import CommandFailure
from oddwire.durations import duration

__all__ = ["PATIENCE", "Delivery", "DeliveryReport", "Direction"]

PATIENCE: Final = 10.0
"""Default for the max seconds of a delivery."""

Direction = Literal["alice → bob", "bob → alice"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One payload, as its sender or its receiver reported it; ``time`` is seconds since 1970."""

    payload: bytes
    time: float


class DeliveryReport:
    """The messages that each side reports as sent, and the other as received, in order.

    ``patience`` is the max number of seconds of a delivery.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self.sent: dict[Direction, list[Delivery]] = {"alice → bob": [], "bob → alice": []}
        self.received: dict[Direction, list[Delivery]] = {"alice → bob": [], "bob → alice": []}
        self.errors: list[str] = []
        self._changed = asyncio.Event()

    def write(self, direction: Direction, page: Literal["sent", "received"], delivery: Delivery) -> None:
        """Add one message that was sent or received."""
        book = self.sent if page == "sent" else self.received
        book[direction].append(delivery)
        self._changed.set()

    def fail(self, text: str) -> None:
        """Add an error."""
        self.errors.append(text)
        self._changed.set()

    @property
    def settled(self) -> int:
        """The number of messages that both sides report alike. Raises `CommandFailure` for a difference or an error."""
        if self.errors:
            raise CommandFailure(self.errors[0])
        count = 0
        for direction, sent in self.sent.items():
            for number, (one, other) in enumerate(zip(sent, self.received[direction], strict=False), 1):
                if one.payload != other.payload:
                    raise CommandFailure(f"message {number} {direction} arrived changed: {other.payload.hex()}")
                count += 1
        return count

    def balance(self) -> None:
        """Check that all messages sent were received, and no others, and at least one. Raises `CommandFailure`."""
        count = self.settled
        for direction, sent in self.sent.items():
            received = self.received[direction]
            if len(sent) != len(received):
                raise CommandFailure(f"{len(sent)} messages were sent {direction}, {len(received)} received")
        if not count:
            raise CommandFailure("nothing was delivered")

    async def settle(self, count: int) -> None:
        """Wait until ``count`` messages were delivered in total. Raises `CommandFailure`, also after ``patience``."""
        try:
            async with asyncio.timeout(self._patience):
                while self.settled < count:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise CommandFailure(
                f"only {self.settled} of {count} messages arrived within {duration(self._patience)}"
            ) from None
