"""The end of a process in which no Python runs any more: C code keeps the interpreter's lock."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

PROGRAM = """
import ctypes, os, signal, sys
from oddwire.cli.backstop import Backstop

reading, writing = os.pipe()
os.set_blocking(writing, False)
signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda *_: os.write(1, b"heard\\n"))
backstop = Backstop()
backstop.arm(reading, (signal.SIGTERM,))
if "hold" in sys.argv:
    signal.raise_signal(signal.SIGTERM)
    backstop.hold()
if "disarm" in sys.argv:
    backstop.disarm()
    os.close(writing)
    os.close(reading)
    print("closed", flush=True)
    sys.exit()
mutex, lock = ctypes.create_string_buffer(64), ctypes.PyDLL(None).pthread_mutex_lock
lock(mutex)  # all zeros it is free; PyDLL keeps the interpreter's lock
os.write(1, b"ready\\n")
def compute():
    lock(mutex)  # no signal ends that
compute()
"""


@pytest.fixture
def begin(start, tmp_path: Path):
    (tmp_path / "program.py").write_text(PROGRAM)

    async def begin(*arguments: str):
        program = await start(*arguments, program=tmp_path / "program.py")
        await program.line("closed" if "disarm" in arguments else "ready")
        await asyncio.sleep(0.2)
        return program

    return begin


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the backstop is made of what Linux has")


async def test_the_second_signal_is_the_kernels(begin) -> None:
    program = await begin()
    program.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.5)
    code, out, _ = await program.interrupt(signal.SIGTERM)
    assert (code, out) == (-signal.SIGTERM, "ready\n")


async def test_the_first_one_sets_an_alarm_that_tells_where_it_stands(begin, tmp_path: Path) -> None:
    program = await begin()
    code, out, err = await program.interrupt(signal.SIGUSR1)
    assert (code, out) == (-signal.SIGALRM, "ready\n")
    assert f'File "{tmp_path}/program.py", line 25 in compute' in err


async def test_once_some_python_has_heard_of_it_the_next_one_is_heard_too(begin) -> None:
    program = await begin("hold")
    assert program.lines == ["heard", "ready"]
    program.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.5)
    assert program.process.returncode is None


async def test_disarmed_it_does_nothing(begin) -> None:
    program = await begin("disarm")
    assert (await program.end())[0] == 0
