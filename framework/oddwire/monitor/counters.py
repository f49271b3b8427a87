"""`Counters`: rates and series of numbers that only grow, from samples of them over a sliding window."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from math import floor
from typing import Final, Generic, TypeVar

__all__ = ["SECONDS", "Counters"]

K = TypeVar("K", bound=Hashable)

SECONDS: Final = 60
"""The length of the window, and of a series: a value a second."""
_RATE: Final = 5.0  # seconds over which a rate is taken


class Counters(Generic[K]):
    """Samples of counters by key: `take` them all at once, about once a second, with a clock that never goes back.

    The first sample is where counting begins. A counter that is lower than in the sample before has begun anew from 0,
    as that of a peer which has connected again.
    """

    def __init__(self) -> None:
        self._now: float | None = None
        self._last: Mapping[K, int] = {}
        self._steps: deque[tuple[float, float, dict[K, int]]] = deque()  # from, until, growth

    def take(self, now: float, values: Mapping[K, int]) -> None:
        """Add a sample. One that is as old as the last is left for the next."""
        if self._now is None:
            self._now, self._last = now, dict(values)
            return
        if now <= self._now:
            return
        growth = {}
        for key, value in values.items():
            before = self._last.get(key, 0)
            grown = value - before if value >= before else value
            if grown:
                growth[key] = grown
        self._steps.append((self._now, now, growth))
        self._now, self._last = now, dict(values)
        while self._steps[0][1] <= now - SECONDS:
            self._steps.popleft()

    def clear(self) -> None:
        """Forget all samples."""
        self._now, self._last = None, {}
        self._steps.clear()

    def rate(self, key: K) -> float:
        """Return the growth a second over the last five seconds, or as long as it is known; 0 before that."""
        if self._now is None or not self._steps:
            return 0.0
        grown, begun = 0, self._now
        for begin, _, growth in reversed(self._steps):
            if begin < self._now - _RATE and begun < self._now:
                break
            grown, begun = grown + growth.get(key, 0), begin
        return grown / (self._now - begun)

    def series(self, *keys: K) -> list[float]:
        """Return the growth of ``keys`` in sum in each of the last 60 seconds, oldest first."""
        values = [0.0] * SECONDS
        if self._now is None:
            return values
        start = self._now - SECONDS
        for begin, end, growth in self._steps:
            grown = sum(growth.get(key, 0) for key in keys)
            if not grown:
                continue
            # A sample comes about once a second: what came is spread over the seconds that it spans
            for slot in range(max(0, floor(begin - start)), min(SECONDS, floor(end - start) + 1)):
                shared = min(end, start + slot + 1) - max(begin, start + slot)
                if shared > 0:
                    values[slot] += grown * shared / (end - begin)
        return values
