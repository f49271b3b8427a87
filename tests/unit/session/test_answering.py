from __future__ import annotations

import asyncio

from oddwire.session.answering import Answering


async def test_a_task_that_is_cancelled_before_it_begins_is_told_of_all_the_same() -> None:
    ended: list[asyncio.Task[None]] = []

    async def work() -> None:
        raise AssertionError("it was cancelled first")

    task = asyncio.create_task(work())
    Answering(task, ended.append).cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert ended == [task]
    assert task.cancelled()


async def test_credit_wakes_who_waits_for_it() -> None:
    answering = Answering(asyncio.create_task(asyncio.sleep(0)), lambda _: None)
    answering.wake()  # nobody waits
    answering.credit = asyncio.get_running_loop().create_future()
    answering.wake()
    answering.wake()
    await answering.credit
    await answering.task
