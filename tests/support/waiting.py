"""Wait for what others bring about: no test sleeps for as long as something might take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

PATIENCE = 30.0  # seconds; reached only where something does not happen at all
SPINS = 20  # most of what is waited for comes in a few iterations of the loop; then others need the processor more

T = TypeVar("T")


async def until(condition: Callable[[], object], *, every: float = 0.001, patience: float = PATIENCE) -> None:
    """Return as soon as a condition holds, asking every so many seconds.

    Raises:
        TimeoutError: it did not hold for so many seconds of the loop's clock. Where that clock jumps or hurries, its
            seconds are short: ask for more of them.
    """
    async with asyncio.timeout(patience):
        for _ in range(SPINS):
            if condition():
                return
            await asyncio.sleep(0)
        while not condition():
            await asyncio.sleep(every)


async def until_answered(
    probe: Callable[[], Awaitable[T | None]], *, every: float = 0.02, patience: float = 2 * PATIENCE
) -> T:
    """Await a probe again and again until it gives something, and return that.

    Raises:
        TimeoutError: it gave nothing for so many seconds.
    """
    async with asyncio.timeout(patience):
        while not (answer := await probe()):
            await asyncio.sleep(every)
        return answer


def until_blocking(condition: Callable[[], object], *, every: float = 0.01, patience: float = PATIENCE) -> None:
    """Do as `until` does where there is no loop, or where it may stand still.

    Raises:
        TimeoutError: it did not hold for so many seconds.
    """
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{patience} s passed without what was waited for")
        time.sleep(every)
