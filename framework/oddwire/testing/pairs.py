"""Helpers of the transport kit: two connected transports, numbered payloads, a flooding sender."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from oddwire.proto.keys import NodeId
from oddwire.testing.sinks import RecordingSink
from oddwire.transports.base import Transport

__all__ = ["Flood", "Pair", "Side", "has_more_than", "payload_of", "raises"]


@dataclass(frozen=True, slots=True)
class Side:
    """One end: its transport, the recording sink of that, and the node id of the other end."""

    transport: Transport
    sink: RecordingSink
    peer: NodeId

    async def send(self, payload: bytes) -> None:
        """Send a payload to the other end."""
        await self.transport.send(self.peer, payload)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two opened transports, connected to each other."""

    left: Side
    right: Side

    @property
    def ways(self) -> tuple[tuple[Side, Side], ...]:
        """Both directions, each as (sender, receiver)."""
        return (self.left, self.right), (self.right, self.left)


class Flood:
    """A task that sends numbered payloads of 60 000 bytes until it has sent ``total`` bytes."""

    def __init__(self, side: Side, total: int = 1 << 26) -> None:
        self.accepted = 0
        self._side = side
        self._total = total
        self.task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        while self.accepted * 60_000 < self._total:
            await self._side.send(payload_of(self.accepted, 60_000))
            self.accepted += 1

    async def cancel(self) -> None:
        """Cancel the send that waits."""
        self.task.cancel()
        await asyncio.wait([self.task])


class raises:  # noqa: N801 - reads as pytest.raises, which a kit for any runner does without
    """Context manager: expect one exception and keep it."""

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error
        self._caught: list[Any] = []

    def __enter__(self) -> list[Any]:
        return self._caught

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        if kind is None:
            raise AssertionError(f"{self._error.__name__} should have been raised")
        self._caught.append(error)
        return issubclass(kind, self._error)


def has_more_than(count: int, sink: RecordingSink) -> bool:
    """Return whether a sink has received more than ``count`` payloads."""
    return len(sink.payloads) > count


def payload_of(number: int, size: int = 100) -> bytes:
    """Return a numbered payload, as far as its size allows: an odd type of ours, the number, padding."""
    return (b"\x8c\x01" + number.to_bytes(4, "big") + bytes(range(256)) * (size // 256 + 1))[:size]
