"""Timing side by side: rounds of several courses, interleaved, so that a machine that drifts is as unfair to all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

__all__ = ["PATIENCE", "Course", "Spent", "Watch", "codec_microseconds", "side_by_side"]

PATIENCE: Final = 30.0
"""Max seconds of one run of a course."""

_ROUNDS: Final = 10
_LEAST: Final = 0.002  # seconds of a run that says how many make up a slice
_MOST: Final = 1 << 17
_WAITS: Final = 50.0  # of what waits, elapsed time is so many times that of the processor; less is a busy machine


class Spent(NamedTuple):
    """What something took: ``elapsed`` by the clock, ``working`` of the processor, in seconds or microseconds.

    The first is longer where the code waits, for a disk or a timer, and where other programs have the processor.
    """

    elapsed: float
    working: float

    @property
    def waiting(self) -> float:
        """The difference."""
        return max(0.0, self.elapsed - self.working)


class Watch:
    """A stopwatch: started when it is made."""

    def __init__(self) -> None:
        self._clock, self._processor = time.perf_counter(), time.process_time()

    def spent(self) -> Spent:
        """Return the seconds since then."""
        return Spent(time.perf_counter() - self._clock, time.process_time() - self._processor)


Course = Callable[[int], Awaitable[Spent]]
"""Does something so many times, and returns the seconds that took."""


async def side_by_side(courses: Mapping[str, Course], seconds: float) -> dict[str, Spent]:
    """Return each course's microseconds for one, the least of the rounds. All together take about ``seconds``.

    What else the machine does makes a round slower, never faster: the least is what the code itself takes. Raises
    `TimeoutError` for a course of which one run takes longer than `PATIENCE`.
    """
    share = seconds / (len(courses) * (_ROUNDS + 1))
    counts = {name: await _calibrated(course, share) for name, course in courses.items()}
    rounds: dict[str, list[Spent]] = {name: [] for name in courses}
    for _ in range(_ROUNDS):
        for name, course in courses.items():
            async with asyncio.timeout(PATIENCE):
                rounds[name].append(await course(counts[name]))
    found = {}
    for name, several in rounds.items():
        elapsed, working = min(one.elapsed for one in several), min(one.working for one in several)
        found[name] = Spent(1e6 * elapsed / counts[name], 1e6 * working / counts[name])
    return found


async def _calibrated(course: Course, share: float) -> int:
    """Return how many take ``share`` seconds, of the processor, or, of what mostly waits, by the clock."""
    count = 1
    while True:
        async with asyncio.timeout(PATIENCE):
            took = await course(count)
        waits = took.elapsed > _WAITS * took.working
        lasted = took.elapsed if waits else took.working
        if lasted >= min(share, _LEAST) or count >= _MOST:
            return max(1, min(_MOST, int(count * share / lasted)))
        count = min(count * 4, _MOST)


async def codec_microseconds(function: Callable[[], object], seconds: float) -> float:
    """Return the microseconds of one call, the least of some rounds that take ``seconds``.

    A cancellation comes between two rounds.
    """
    count = 1
    while (took := _calls(function, count)) < _LEAST and count < _MOST:
        count *= 4
    count = max(1, int(count * seconds / _ROUNDS / max(took, 1e-9)))
    found = []
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)  # for Ctrl-C
        found.append(_calls(function, count) / count)
    return 1e6 * min(found)


def _calls(function: Callable[[], object], count: int) -> float:
    numbers = range(count)
    watch = Watch()
    for _ in numbers:
        function()
    return watch.spent().working
