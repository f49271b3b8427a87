from __future__ import annotations

import asyncio
import contextlib
import contextvars

import pytest

from oddwire.app.dispatch.tasks import Tasks

colour = contextvars.ContextVar("colour", default="none")


async def test_a_task_is_known_until_it_ends() -> None:
    tasks, gate = Tasks(), asyncio.Event()

    async def wait() -> None:
        await gate.wait()

    async def wait_and_tell() -> None:
        await gate.wait()
        tasks.discard(asyncio.current_task())  # type: ignore[arg-type]

    started = [tasks.spawn(wait()), tasks.spawn_briefly(wait_and_tell())]
    await asyncio.sleep(0)
    assert all(task in tasks for task in started)
    assert asyncio.current_task() not in tasks
    gate.set()
    await asyncio.wait(started)
    await asyncio.sleep(0)
    assert not any(task in tasks for task in started)


async def test_a_task_is_no_part_of_what_its_maker_does() -> None:
    tasks, seen = Tasks(), []

    async def look() -> None:
        seen.append(colour.get())
        colour.set("blue")

    colour.set("red")
    tasks.spawn(look())
    tasks.spawn(look())
    await tasks.settle(10.0)
    assert seen == ["none", "none"]


async def test_settling_waits_for_what_tasks_start_too() -> None:
    tasks, done = Tasks(), []

    async def count(number: int) -> None:
        await asyncio.sleep(0)
        if number:
            tasks.spawn(count(number - 1))
        done.append(number)

    tasks.spawn(count(5))
    await tasks.settle(60.0)
    assert done == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("end_grace", [False, True])
async def test_what_does_not_end_in_time_is_cancelled_and_what_that_starts_too(end_grace: bool) -> None:
    tasks, cancelled = Tasks(), []

    async def wait(number: int) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            if number:
                tasks.spawn(wait(number - 1))
                await asyncio.sleep(0)  # the other one begins
            raise

    task = tasks.spawn(wait(2))
    await asyncio.sleep(0)
    if end_grace:
        asyncio.get_running_loop().call_soon(tasks.end_grace)
        tasks.end_grace()
    await tasks.settle(3600.0 if end_grace else 0.0)
    assert task.cancelled()
    assert cancelled == [2, 1, 0]


async def test_nothing_to_settle() -> None:
    async with asyncio.timeout(30):
        assert await Tasks().settle(3600.0) is None


async def test_a_task_that_swallows_its_cancellation_is_named_and_left_behind(caplog) -> None:
    tasks, going_on = Tasks(), True

    async def stubborn() -> None:
        while going_on:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)

    task = tasks.spawn(stubborn())
    await asyncio.sleep(0)
    await tasks.settle(0.0)
    assert "tasks that do not end when cancelled: " in caplog.text
    assert "stubborn at " in caplog.text
    assert not task.done()
    await tasks.settle(0.0)  # nobody waits for it again
    going_on = False
    task.cancel()
    await asyncio.wait([task])
