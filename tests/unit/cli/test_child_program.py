"""oddwire.cli.child_program, and the start of such a child."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys

import pytest
from tests.support.waiting import until

from oddwire.cli.child_program import ChildProgram
from oddwire.cli.child_start import end_with
from oddwire.cli.events import Printer
from oddwire.cli.exit import CommandFailure


@pytest.fixture
def told():
    return io.StringIO()


@pytest.fixture
async def child(told):
    """`oddwire types`, which prints one object and ends."""
    made = ChildProgram("looker", ["types", "42069"], Printer(stdout=io.StringIO(), stderr=told))
    yield made
    made.kill()


async def test_its_first_event_is_waited_for_and_its_end(child):
    await child.start()

    assert (await child.event())["method"] == "types"
    assert await child.done() == 0
    assert child.pid is None
    await child.stop()
    await child.stop()


async def test_what_it_says_is_told_behind_its_name_and_a_failure_is_ours(told):
    child = ChildProgram("looker", ["types", "--colour"], Printer(stdout=io.StringIO(), stderr=told))
    await child.start()

    with pytest.raises(CommandFailure, match=r"looker: .*--colour") as failure:
        await child.event()

    assert failure.value.code == 2
    assert "looker: Error: No such option: --colour\n" in told.getvalue()


async def test_one_that_ends_is_started_again_until_it_is_stopped(child, told):
    await child.start()
    keeping = asyncio.create_task(child.keep_up())

    await until(lambda: child.restarts >= 1)
    await child.stop()
    await keeping

    assert told.getvalue().startswith("looker has ended, exit code 0; it is started again\n")


async def test_one_that_is_just_being_started_again_is_stopped_as_well(told):
    child = ChildProgram("node", ["node", "--listen", "127.0.0.1:0"], Printer(stdout=io.StringIO(), stderr=told))
    await child.start()
    await child.event()
    keeping = asyncio.create_task(child.keep_up())
    os.kill(child.pid, signal.SIGKILL)

    await until(lambda: child.restarts == 1)
    async with asyncio.timeout(60):
        await child.stop()
        await keeping

    assert child.pid is None


async def test_a_child_whose_parent_is_gone_does_not_begin():
    if sys.platform == "linux":
        pid = os.fork()
        if pid == 0:
            try:
                end_with(1 << 22)  # nobody's
            except SystemExit as ended:
                os._exit(int(ended.code or 0))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGTERM
