"""Waiting: for a broker that is not there, for as long as that takes; for what should end soon, not long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from oddwire.log_limits import get_logger
from oddwire.transports.nats.errors import BrokerUnavailable

__all__ = ["patiently", "soon"]

logger = get_logger("oddwire.cluster.gateway")

T = TypeVar("T")

_AGAIN: Final = 0.5  # seconds between attempts
_SOON: Final = 2.0  # seconds
_LOOK: Final = 0.02  # seconds between looks


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Return what a call returns, made again and again as long as the broker is not there, or silent."""
    said = ""
    while True:
        try:
            return await call()
        except BrokerUnavailable as failure:
            if failure.reason != said:
                said = failure.reason
                logger.warning("waiting for the broker: %s", said)
        await asyncio.sleep(_AGAIN)


async def soon(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, but for two seconds at most."""
    for _ in range(round(_SOON / _LOOK)):
        if condition():
            return
        await asyncio.sleep(_LOOK)
