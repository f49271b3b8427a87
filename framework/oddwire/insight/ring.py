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

_MOST_ANSWER: Final = 1 << 20  # bytes of events, as JSON, from which on no more are read at once
_LARGE: Final = 16 << 10  # bytes of a payload from which on an event has only the first of them
_KEPT: Final = 1024
_IDLE: Final = 60.0  # seconds after the last call until nothing is kept any more


class Seen(NamedTuple):
    """Some events, the number to ask for next, and how many between were kept no more."""

    events: list[dict[str, Any]]
    next: int
    missed: int


class _Kept(NamedTuple):
    """An event: as JSON, as its objects would take many times the memory of what a peer had to send for them."""

    number: int
    type: object
    peer: object
    text: str

    def is_wanted(self, types: Collection[int], peers: Collection[str]) -> bool:
        return not ((types and self.type not in types) or (peers and self.peer not in peers))


class _Waiting(NamedTuple):
    """Who waits for an event, the number of which is to be the future's result."""

    number: asyncio.Future[int]
    types: Collection[int]
    peers: Collection[str]


class Ring:
    """The last events. ``start`` is called when somebody looks, and ``stop`` when nobody has for a minute.

    Events are objects of JSON types; each gets a number, ``n``. A payload of more than 16 KiB is cut: ``payload`` is
    its first 1024 bytes, ``size`` its length, and its fields, ``message``, are left out.
    """

    def __init__(self, start: Callable[[], object], stop: Callable[[], object]) -> None:
        self._start = start
        self._stop = stop
        self._events: deque[_Kept] = deque()
        self._bytes = 0
        self._next = 1
        self._waiting: set[_Waiting] = set()
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
        text = json.dumps({"n": self._next, **event}, default=str)
        kept = _Kept(self._next, event.get("type"), event.get("peer"), text)
        self._next += 1
        self._events.append(kept)
        self._bytes += len(text)
        while len(self._events) > MOST_EVENTS or (self._bytes > MOST_BYTES and len(self._events) > 1):
            self._bytes -= len(self._events.popleft().text)
        for waiting in self._waiting:
            if kept.is_wanted(waiting.types, waiting.peers) and not waiting.number.done():
                waiting.number.set_result(kept.number)

    async def read(
        self,
        after: int | None = None,
        wait: float = 0.0,
        limit: int = 1000,
        types: Collection[int] = (),
        peers: Collection[str] = (),
    ) -> Seen:
        """Return up to ``limit`` events with a number above ``after``, by default those from now on.

        They are fewer if they have more than 1 MiB as JSON; ``next`` of the answer goes on behind the last one read.
        If there is none, waits up to ``wait`` seconds for one. ``types`` are the types of messages, ``peers`` the node
        ids, that are wanted, by default all; events without a type or peer are not of any. Cancelling has no effect.
        """
        self._use()
        types, peers = frozenset(types), frozenset(peers)
        first = self._next if after is None or after >= self._next else after + 1
        missed = 0
        deadline = asyncio.get_running_loop().time() + wait
        self._callers += 1
        try:
            while True:
                seen = self._find(first, limit, types, peers)
                missed += seen.missed
                left = deadline - asyncio.get_running_loop().time()
                if seen.events or left <= 0 or self._ended:
                    return seen._replace(missed=missed)
                first = await self._change(left, types, peers)
        finally:
            self._callers -= 1
            self._use()

    def end(self) -> None:
        """Keep nothing any more, for good, and let those that wait return."""
        self._ended = True
        self.close()
        for waiting in self._waiting:
            if not waiting.number.done():
                waiting.number.set_result(self._next)

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
        oldest = events[0].number if events else self._next
        missed = max(0, oldest - first)
        found: list[dict[str, Any]] = []
        after, size = self._next, 0
        for index in range(max(first, oldest) - oldest, len(events)):
            kept = events[index]
            if not kept.is_wanted(types, peers):
                continue
            if len(found) >= limit or size > _MOST_ANSWER:
                after = kept.number
                break
            found.append(json.loads(kept.text))
            size += len(kept.text)
        return Seen(found, after - 1, missed)

    async def _change(self, seconds: float, types: Collection[int], peers: Collection[str]) -> int:
        """Wait for an event that is wanted; return its number. After ``seconds`` it is that of the next event."""
        waiting = _Waiting(asyncio.get_running_loop().create_future(), types, peers)
        self._waiting.add(waiting)
        try:
            async with asyncio.timeout(seconds):
                return await waiting.number
        except TimeoutError:  # an event may have come at the same moment
            number = waiting.number
            return number.result() if number.done() and not number.cancelled() else self._next
        finally:
            self._waiting.discard(waiting)
