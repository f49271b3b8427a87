"""Which exceptions out of an author's code are no failure of that code."""

from __future__ import annotations

__all__ = ["must_pass"]


def must_pass(error: BaseException) -> bool:
    """Say whether an exception out of an author's code is no failure of it: our own task is to end, or the program."""
    import asyncio  # slow to import; a host node need not wait for it to hear what we are

    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, (GeneratorExit, KeyboardInterrupt))
