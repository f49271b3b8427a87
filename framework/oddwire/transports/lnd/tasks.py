"""Ending tasks so that nothing of them is left."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Sequence
from typing import Any

__all__ = ["end_tasks", "let_go"]


def let_go(error: BaseException | None) -> None:
    """Drop what the frames of an error, and of those that led to it, hold, but for frames that still run."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


async def end_tasks(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel tasks, wait for their end, and let go of their errors.

    These hold frames, which hold calls of gRPC's, and its connection stays open as long as there are any.
    """
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        try:
            task.result()
        except BaseException as error:
            let_go(error)
