"""Ending tasks."""

import asyncio
import weakref

import pytest

from oddwire.transports.lnd.tasks import end_tasks


class Thing:
    """Something that a task's frame holds."""


async def test_nothing_of_them_is_left():
    things = []

    async def hold(error):
        thing = Thing()
        things.append(weakref.ref(thing))
        if error is not None:
            raise error
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(hold(error)) for error in (None, None)]
    await asyncio.sleep(0)
    await end_tasks(tasks)
    assert all(task.done() for task in tasks)
    assert [thing() for thing in things] == [None, None]
    await end_tasks([])
    failed = asyncio.create_task(hold(ValueError("of ours")))
    await end_tasks([failed])
    with pytest.raises(asyncio.CancelledError):  # it had not begun
        failed.result()
