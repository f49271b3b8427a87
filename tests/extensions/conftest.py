"""Two connected applications, over every transport there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from oddwire import Application, PrivateKey, hookimpl
from oddwire.app import TraceEvent
from oddwire.transports import Bolt8Transport, MemoryNetwork

Pair = Callable[..., AbstractAsyncContextManager[tuple[Application, Application]]]


def key(number: int) -> PrivateKey:
    return PrivateKey(bytes(31) + bytes([number]))


@pytest.fixture(params=["memory", "bolt8"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Run two applications; the right one has dialed the left one, which has the options."""

    @asynccontextmanager
    async def run(
        left: tuple[object, ...], right: tuple[object, ...], options: dict[str, str] | None = None
    ) -> AsyncIterator[tuple[Application, Application]]:
        if request.param == "memory":
            network = MemoryNetwork()
            transports = network.transport(), network.transport()
        else:
            transports = Bolt8Transport(key(1), listen=["127.0.0.1:0"]), Bolt8Transport(key(2))
        async with (
            Application(*left, transport=transports[0], store=":memory:", options=options) as listener,
            Application(*right, transport=transports[1], store=":memory:") as dialer,
        ):
            await dialer.connect(listener.uris[0])
            yield listener, dialer

    return run


class Recorder:
    """A plugin that keeps what it sees, and lets a test wait for it."""

    def __init__(self) -> None:
        self.events: list[TraceEvent] = []
        self._changed = asyncio.Event()

    @hookimpl
    def message_traced(self, event: TraceEvent) -> None:
        self.events.append(event)
        self._changed.set()

    async def until(self, direction: str, *type_ids: int) -> list[TraceEvent]:
        """Wait until messages of all these types went that way; give them all, in order."""
        async with asyncio.timeout(30):
            while True:
                found = [event for event in self.events if event.direction == direction]
                if set(type_ids) <= {event.type_id for event in found}:
                    return [event for event in found if event.type_id in type_ids]
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
def recorder() -> Recorder:
    """One recorder."""
    return Recorder()
