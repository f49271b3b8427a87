"""Trying again, as long as a broker does not answer, or is full, or a gateway behind it does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

from oddwire.transports.nats.errors import BrokerUnavailable, StreamFull

__all__ = ["LONGEST", "patiently", "pauses"]

T = TypeVar("T")

_FIRST: Final = 0.05
LONGEST: Final = 1.0
"""Seconds of the longest pause, which is that of all further ones."""


def pauses() -> Iterator[float]:
    """Return the pauses between attempts, in seconds, without an end: each twice the one before, up to `LONGEST`."""
    pause = _FIRST
    while True:
        yield pause
        pause = min(2 * pause, LONGEST)


async def patiently(call: Callable[[], Awaitable[T]], waits: Callable[[str], object]) -> T:
    """Return what ``call`` returns, called again as long as it raises `BrokerUnavailable` or `StreamFull`.

    ``waits`` is told the reason, when it is another one than at the attempt before. Other errors are raised. If
    cancelled, it may be done or not.
    """
    following, said = pauses(), ""
    while True:
        try:
            return await call()
        except (BrokerUnavailable, StreamFull) as failure:
            if failure.reason != said:
                said = failure.reason
                waits(said)
        await asyncio.sleep(next(following))
