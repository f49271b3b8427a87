"""What is obeyed, and what is a failure."""

from __future__ import annotations

import asyncio

import pytest

from oddwire.app.interrupts import must_pass


@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit()])
async def test_the_programs_end_passes(error: BaseException) -> None:
    assert must_pass(error)


@pytest.mark.parametrize("error", [ValueError(), SystemExit(1), asyncio.CancelledError()])
async def test_failures_do_not_and_nor_does_a_cancellation_of_something_else(error: BaseException) -> None:
    assert not must_pass(error)


async def test_a_cancellation_of_our_own_task_passes() -> None:
    passed = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            passed.append(must_pass(error))

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert passed == [True]
