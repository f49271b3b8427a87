"""`Source`: asks a running program what it does, again and again, and hands the answers to a `Model`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from oddwire.errors import ConnectionClosed, NodeRefused, OddwireError, TransportError
from oddwire.jsonrpc import JsonRpcClient
from oddwire.jsonrpc.parameters import METHOD_NOT_FOUND
from oddwire.monitor.model import Model
from oddwire.printable import printable

__all__ = ["METHODS", "Methods", "NotWatchable", "Source"]

Methods = tuple[str, str]
"""The names of two methods: of counters, and of events."""

METHODS: Final[Sequence[Methods]] = (("node-stats", "node-watch"), ("oddwire-stats", "oddwire-watch"))
"""Those of the embedded node itself, and of programs; a node may have the latter's ``stats`` of a plugin, too."""
_STATS: Final = 1.0  # seconds between two looks at the counters
_WAIT: Final = 20.0  # seconds that a program waits with an answer for an event
_LIMIT: Final = 1000  # events in one answer
_PATIENCE: Final = 10.0  # seconds for an answer that waits for nothing
_AGAIN: Final = (0.1, 0.3, 1.0, 2.0)  # seconds between attempts to reach a program, the last again and again


class NotWatchable(OddwireError):
    """A program answers, and has none of the methods that show what it does."""


class Source:
    """Watches the program whose socket is at ``path``, while its context is entered.

    A program that ends is waited for, and watched on once it is back. ``model.state`` says so. ``methods`` are tried in
    order. ``every`` is the seconds between two looks at the counters.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        model: Model,
        *,
        methods: Sequence[Methods] = METHODS,
        every: float = _STATS,
        again: Sequence[float] = _AGAIN,
    ) -> None:
        self.path = os.fspath(path)
        self.model = model
        self._methods = methods
        self._every = every
        self._again = again
        self._after: int | None = None  # the next event's number
        self._followed = 0  # restarts of the program when that was its number

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch in the background. The first answer has been taken when it is entered.

        Raises `ConnectionClosed` if no program is there, and `NotWatchable`; later, neither is raised.
        """
        async with JsonRpcClient(self.path) as client:
            methods = await self._first(client)
            task = asyncio.create_task(self._go_on(client, methods), name="monitor")
            try:
                yield
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _first(self, client: JsonRpcClient) -> Methods:
        """Return the methods that the program has, having taken its counters."""
        for methods in self._methods:
            try:
                answer = await client.call(methods[0], timeout=_PATIENCE)
                begin = await client.call(methods[1], {"wait": 0, "limit": 1}, timeout=_PATIENCE)
            except NodeRefused as error:
                if error.code != METHOD_NOT_FOUND:
                    raise
                continue
            except TimeoutError:
                raise ConnectionClosed(f"{self.path}: no answer within {_PATIENCE:g} s") from None
            self.model.take_stats(_checked(answer, methods[0]), time.monotonic())
            if self._after is None or self._followed != self.model.restarts:  # else it is asked what was missed
                self._after, self._followed = _next(begin, methods[1]), self.model.restarts
            return methods
        names = " or ".join(watch for _, watch in self._methods)
        raise NotWatchable(f"{printable(self.path)}: what answers there has no method {names}")

    async def _go_on(self, client: JsonRpcClient, methods: Methods) -> None:
        failures = 0
        while True:
            try:
                if failures:
                    methods = await self._first(client)
                failures = 0
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._count(client, methods[0]))
                    group.create_task(self._follow(client, methods[1]))
            except* OddwireError as group_error:
                self.model.lose(_reason(group_error))
            pause = self._again[min(failures, len(self._again) - 1)]
            failures += 1
            await asyncio.sleep(pause)

    async def _count(self, client: JsonRpcClient, method: str) -> None:
        while True:
            await asyncio.sleep(self._every)
            answer = await _ask(client, method, {}, _PATIENCE)
            self.model.take_stats(_checked(answer, method), time.monotonic())

    async def _follow(self, client: JsonRpcClient, method: str) -> None:
        while True:
            params = {"after": self._after, "wait": _WAIT, "limit": _LIMIT}
            answer = _checked(await _ask(client, method, params, _WAIT + _PATIENCE), method)
            events, missed = answer.get("events"), answer.get("missed")
            if not isinstance(events, list):
                raise TransportError(f"{method} answers without 'events'")
            self._after = _next(answer, method)
            self.model.take_events(
                [event for event in events if isinstance(event, Mapping)],
                missed if isinstance(missed, int) and missed < 1 << 63 else 0,
                time.time(),
            )


async def _ask(client: JsonRpcClient, method: str, params: Mapping[str, Any], seconds: float) -> Any:
    try:
        return await client.call(method, params, timeout=seconds)
    except TimeoutError:
        raise ConnectionClosed(f"no answer to {method} within {seconds:g} s") from None


def _checked(answer: Any, method: str) -> Mapping[str, Any]:
    if not isinstance(answer, dict):
        raise TransportError(f"{method} answers {answer!r:.60}, not an object")
    return answer


def _next(answer: Any, method: str) -> int:
    following = _checked(answer, method).get("next")
    if not isinstance(following, int):
        raise TransportError(f"{method} answers without 'next'")
    return following


def _reason(group: BaseExceptionGroup[OddwireError]) -> str:
    """Return why a program is not watched, of the first error that says it."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return printable(f"{first}; trying again")
