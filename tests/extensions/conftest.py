"""Two connected applications, over every transport there is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from oddwire import hookimpl
from oddwire.app import TraceEvent
from oddwire.testing import AppPair, RunningApp

Pair = Callable[..., AbstractAsyncContextManager[tuple[RunningApp, RunningApp]]]


@pytest.fixture(params=["memory", "bolt8"])
def pair(request: pytest.FixtureRequest, app_pair: AppPair) -> Pair:
    """Run two applications; the right one has dialed the left one, which has the options."""

    def run(
        left: tuple[object, ...], right: tuple[object, ...], options: dict[str, str] | None = None
    ) -> AbstractAsyncContextManager[tuple[RunningApp, RunningApp]]:
        return app_pair(left, right, transport=request.param, options=(options, None))

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
