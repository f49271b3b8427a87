"""Logs of partitions for tests: one in memory that behaves as JetStream does, and gates around any.

`tests/unit/cluster/log/test_subject.py` holds the one in memory against a real nats-server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from oddwire.cluster.gateway.streams import DEFAULT_BYTES, stream_settings
from oddwire.cluster.log.subject import LogPlace, Message, Subject
from oddwire.proto.keys import NodeId
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerRefused, UnexpectedSequence


async def create_log_streams(connection: BrokerConnection, node: NodeId) -> None:
    """Make the streams of a node's logs and snapshots, if they are not there, as a gateway does."""
    for settings in stream_settings(node, 1, DEFAULT_BYTES):
        if settings["retention"] == "limits":
            await connection.api(f"STREAM.CREATE.{settings['name']}", settings)


class MemorySubject:
    """One subject of a `MemoryStream`."""

    def __init__(self, stream: MemoryStream, name: str) -> None:
        self._stream = stream
        self.name = name

    @property
    def messages(self) -> list[Message]:
        """Its messages, which a test may change."""
        return self._stream.subjects.setdefault(self.name, [])

    async def append(self, data: bytes, expected: int) -> int:
        if len(data) > self._stream.max_message:
            raise BrokerRefused(f"{len(data)} bytes are too many")
        messages = self.messages
        if (messages[-1].sequence if messages else 0) != expected:
            raise UnexpectedSequence(f"{self.name}: wrong last sequence")
        self._stream.sequence += 1
        messages.append(Message(self._stream.sequence, data))
        return self._stream.sequence

    async def last(self) -> Message | None:
        return self.messages[-1] if self.messages else None

    async def following(self, sequence: int) -> Message | None:
        return next((message for message in self.messages if message.sequence > sequence), None)

    async def read(self, after: int) -> AsyncIterator[Message]:
        for message in [*self.messages]:
            if message.sequence > after:
                yield message

    async def purge(self, before: int | None = None) -> None:
        self.messages[:] = [m for m in self.messages if before is not None and m.sequence >= before]


class MemoryStream:
    """A stream in memory: one sequence for all its subjects."""

    def __init__(self, max_message: int) -> None:
        self.max_message = max_message
        self.sequence = 0
        self.subjects: dict[str, list[Message]] = {}


class MemoryPlace:
    """A `LogPlace` in memory. A small ``max_message`` has entries in several parts."""

    def __init__(self, *, max_message: int = 1 << 20) -> None:
        self.max_message = max_message
        self._pieces = MemoryStream(max_message)
        self.log = MemorySubject(MemoryStream(max_message), "ow.log.test.0")

    def snapshot(self, name: str) -> MemorySubject:
        return MemorySubject(self._pieces, f"ow.snap.test.0.{name}")

    async def snapshots(self) -> list[str]:
        return [name.rpartition(".")[2] for name, messages in self._pieces.subjects.items() if messages]


Gate = Callable[[str, str], Awaitable[object]]
"""Awaited around each call, with ``append`` say and ``before`` or ``after``: it may raise, or never return."""


class GatedSubject:
    """A subject with a gate around what changes it."""

    def __init__(self, inner: Subject, kind: str, gate: Gate) -> None:
        self._inner = inner
        self._kind = kind
        self._gate = gate
        self.name = inner.name

    async def _pass(self, call: str, work: Callable[[], Awaitable[Any]]) -> Any:
        await self._gate(f"{call} {self._kind}", "before")
        found = await work()
        await self._gate(f"{call} {self._kind}", "after")
        return found

    async def append(self, data: bytes, expected: int) -> int:
        return int(await self._pass("append", lambda: self._inner.append(data, expected)))

    async def purge(self, before: int | None = None) -> None:
        await self._pass("purge", lambda: self._inner.purge(before))

    async def last(self) -> Message | None:
        return await self._inner.last()

    async def following(self, sequence: int) -> Message | None:
        return await self._inner.following(sequence)

    def read(self, after: int) -> AsyncIterator[Message]:
        return self._inner.read(after)


class GatedPlace:
    """One program's way to a place, with a gate of its own."""

    def __init__(self, inner: LogPlace, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate
        self.log = GatedSubject(inner.log, "log", gate)

    @property
    def max_message(self) -> int:
        return self._inner.max_message

    def snapshot(self, name: str) -> GatedSubject:
        return GatedSubject(self._inner.snapshot(name), "piece", self._gate)

    async def snapshots(self) -> list[str]:
        return await self._inner.snapshots()


async def for_ever() -> None:
    """Never return."""
    await asyncio.get_running_loop().create_future()
