"""Ending tasks so that nothing of them is left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

__all__ = ["end_tasks"]


async def end_tasks(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel tasks, wait for their end, and let go of their errors.

    These hold frames, which hold calls of gRPC's, and its connection stays open as long as there are any.
    """
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        with contextlib.suppress(BaseException):
            task.result()
