"""Ending tasks."""

import asyncio
import weakref

import pytest

from oddwire.transports.lnd.tasks import end_tasks, let_go


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


def test_what_led_to_an_error_holds_nothing():
    things = []

    def fail(then):
        thing = Thing()
        things.append(weakref.ref(thing))
        try:
            if then:
                fail(then - 1)
        except ValueError as error:
            raise ValueError("after another") from error
        raise ValueError("first")

    with pytest.raises(ValueError, match="after another") as caught:
        fail(2)
    assert all(thing() is not None for thing in things)
    let_go(caught.value)
    assert [thing() for thing in things] == [None] * 3
    let_go(None)
