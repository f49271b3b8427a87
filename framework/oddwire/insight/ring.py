"""A ring of events, which whoever looks on reads by polling: the last ones are kept, and numbered."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple

__all__ = ["MOST_BYTES", "MOST_EVENTS", "Ring", "Seen"]

MOST_EVENTS: Final = 4096
"""Events that are kept."""
MOST_BYTES: Final = 8 << 20
"""Bytes of events that are kept, as JSON."""

_LARGE: Final = 16 << 10  # bytes of a payload from which on an event has only the first of them
_KEPT: Final = 1024
_IDLE: Final = 60.0  # seconds after the last call until nothing is kept any more


class Seen(NamedTuple):
    """Some events, the number to ask for next, and how many between were kept no more."""

    events: list[dict[str, Any]]
    next: int
    missed: int


class Ring:
    """The last events. ``start`` is called when somebody looks, and ``stop`` when nobody has for a minute.

    Events are objects of JSON types; each gets a number, ``n``. A payload of more than 16 KiB is cut: ``payload`` is
    its first 1024 bytes, ``size`` its length, and its fields, ``message``, are left out.
    """

    def __init__(self, start: Callable[[], object], stop: Callable[[], object]) -> None:
        self._start = start
        self._stop = stop
        self._events: deque[tuple[dict[str, Any], int]] = deque()
        self._bytes = 0
        self._next = 1
        self._waiting: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._on = False
        self._callers = 0
        self._ended = False

    @property
    def is_kept(self) -> bool:
        """Whether events are kept."""
        return self._on

    def add(self, event: dict[str, Any]) -> None:
        """Keep an event, and wake those that wait for one."""
        payload = event.get("payload")
        if isinstance(payload, str) and len(payload) > 2 * _LARGE:
            event = {**event, "payload": payload[: 2 * _KEPT], "size": len(payload) // 2}
            event.pop("message", None)
        event = {"n": self._next, **event}
        size = len(json.dumps(event, default=str))
        self._next += 1
        self._events.append((event, size))
        self._bytes += size
        while len(self._events) > MOST_EVENTS or (self._bytes > MOST_BYTES and len(self._events) > 1):
            self._bytes -= self._events.popleft()[1]
        self._wake()

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def read(
        self,
        after: int | None = None,
        wait: float = 0.0,
        limit: int = 1000,
        types: Collection[int] = (),
        peers: Collection[str] = (),
    ) -> Seen:
        """Return up to ``limit`` events with a number above ``after``, by default those from now on.

        If there is none, waits up to ``wait`` seconds for one. ``types`` are the types of messages, ``peers`` the node
        ids, that are wanted, by default all; events without a type or peer are not of any. Cancelling has no effect.
        """
        self._use()
        first = self._next if after is None or after >= self._next else after + 1
        deadline = asyncio.get_running_loop().time() + wait
        self._callers += 1
        try:
            while True:
                seen = self._find(first, limit, types, peers)
                left = deadline - asyncio.get_running_loop().time()
                if seen.events or left <= 0 or self._ended:
                    return seen
                await self._change(left)
        finally:
            self._callers -= 1
            self._use()

    def end(self) -> None:
        """Keep nothing any more, for good, and let those that wait return."""
        self._ended = True
        self.close()
        self._wake()

    def close(self) -> None:
        """Keep nothing any more, until somebody looks again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._on:
            self._on = False
            self._events.clear()
            self._bytes = 0
            self._stop()

    def _use(self) -> None:
        if self._ended:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_IDLE, self._idle)
        if not self._on:
            self._on = True
            self._start()

    def _idle(self) -> None:
        if self._callers:
            self._use()
        else:
            self.close()

    def _find(self, first: int, limit: int, types: Collection[int], peers: Collection[str]) -> Seen:
        events = self._events
        oldest = events[0][0]["n"] if events else self._next
        missed = max(0, oldest - first)
        found: list[dict[str, Any]] = []
        after = self._next
        for index in range(max(first, oldest) - oldest, len(events)):
            event = events[index][0]
            if (types and event.get("type") not in types) or (peers and event.get("peer") not in peers):
                continue
            if len(found) >= limit:
                after = event["n"]
                break
            found.append(event)
        return Seen(found, after - 1, missed)

    async def _change(self, seconds: float) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            async with asyncio.timeout(seconds):
                await waiting
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(waiting)
