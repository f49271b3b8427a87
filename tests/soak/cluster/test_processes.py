"""The kill harness's processes: they are killed and frozen, and ends that nobody asked for are seen."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.soak.cluster.processes import Program
from tests.support.waiting import until

WAITS = "import time; time.sleep(600)"


def program(folder: Path, code: str) -> Program:
    return Program("program", (sys.executable, "-I", "-S", "-c", code), folder, {})


async def test_what_is_killed_is_started_again(tmp_path: Path) -> None:
    one = program(tmp_path, WAITS)
    await one.start()
    first = one.pid
    await one.kill()
    assert one.pid != first
    assert [*one.deaths] == [first]
    await one.end()
    assert len(one.deaths) == 2
    assert one.surprises == []


async def test_what_is_killed_while_it_is_frozen_is_started_again(tmp_path: Path) -> None:
    one = program(tmp_path, WAITS)
    await one.start()
    first = one.pid
    await one.freeze(0.01)
    assert one.pid == first
    await one.kill()
    assert [*one.deaths] == [first]
    await one.end()


async def test_an_end_that_nobody_asked_for_is_a_surprise(tmp_path: Path) -> None:
    file = tmp_path / "been"
    ends_once = f"import pathlib, sys, time; f = pathlib.Path({str(file)!r})\n"
    ends_once += "if not f.exists(): f.touch(); print('why'); sys.exit(3)\ntime.sleep(600)"
    one = program(tmp_path, ends_once)
    await one.start()
    await until(lambda: one.deaths)
    await one.kill()
    await one.end()
    assert one.surprises == ["program ended by itself with 3: ['why']"]


async def test_another_code_than_0_is_a_surprise_once_it_has_run(tmp_path: Path) -> None:
    code = (
        f"import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(4)); print('up', flush=True); {WAITS}"
    )
    one = program(tmp_path, code)
    await one.start()
    await until(lambda: "up" in one.log.read_text())
    await one.restart()
    await one.end()
    assert one.surprises == ["program ended with 4 when it was asked to: ['up']"]
