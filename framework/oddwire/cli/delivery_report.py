"""Accounts of a conversation: what one side says it sent must be what the other says it received."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Literal

from oddwire.cli.exit import CommandFailure
from oddwire.durations import duration

__all__ = ["PATIENCE", "Delivery", "DeliveryReport", "Direction"]

PATIENCE: Final = 10.0
"""Seconds a delivery may take, if nothing else is said."""

Direction = Literal["alice → bob", "bob → alice"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One payload, as its sender or its receiver told of it; ``time`` is seconds since 1970."""

    payload: bytes
    time: float


class DeliveryReport:
    """What each side says it sent, and what the other says it received, in order.

    ``patience`` is how many seconds a delivery may take.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self.sent: dict[Direction, list[Delivery]] = {"alice → bob": [], "bob → alice": []}
        self.received: dict[Direction, list[Delivery]] = {"alice → bob": [], "bob → alice": []}
        self.errors: list[str] = []
        self._changed = asyncio.Event()

    def write(self, direction: Direction, page: Literal["sent", "received"], delivery: Delivery) -> None:
        """Enter one message."""
        book = self.sent if page == "sent" else self.received
        book[direction].append(delivery)
        self._changed.set()

    def fail(self, text: str) -> None:
        """Enter what went wrong."""
        self.errors.append(text)
        self._changed.set()

    @property
    def settled(self) -> int:
        """How many messages both sides agree on. Raises `CommandFailure` if they disagree, or something went wrong."""
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
        """Close the books. Raises `CommandFailure` unless every message sent was received, and none besides."""
        count = self.settled
        for direction, sent in self.sent.items():
            received = self.received[direction]
            if len(sent) != len(received):
                raise CommandFailure(f"{len(sent)} messages were sent {direction}, {len(received)} received")
        if not count:
            raise CommandFailure("nothing was delivered")

    async def settle(self, count: int) -> None:
        """Wait until ``count`` messages were delivered, in all. Raises `CommandFailure`."""
        try:
            async with asyncio.timeout(self._patience):
                while self.settled < count:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise CommandFailure(
                f"only {self.settled} of {count} messages arrived within {duration(self._patience)}"
            ) from None
