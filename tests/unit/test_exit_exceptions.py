"""What is obeyed, and what is a failure."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from oddwire.exit_exceptions import is_signal, must_pass, spelled


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [ValueError(), SystemExit(1), asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit(), BaseException()],
)
async def test_what_somebody_raises_is_a_failure(error: BaseException) -> None:
    assert not must_pass(raised(error), asyncio.current_task())
    assert not must_pass(raised(error))


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


def test_the_end_of_a_coroutine_that_is_closed_passes() -> None:
    """With and without a loop that runs, and in the middle of another task."""
    passed = []

    async def work() -> None:
        me = asyncio.current_task()
        try:
            await asyncio.Event().wait()
        except GeneratorExit as error:
            passed.append(must_pass(error, me))
            raise

    def begun() -> asyncio.Task[None]:
        task = loop.create_task(work())
        loop.run_until_complete(asyncio.sleep(0))
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        return task

    async def close(task: asyncio.Task[None]) -> None:
        task.get_coro().close()

    loop = asyncio.new_event_loop()
    begun().get_coro().close()
    loop.run_until_complete(close(begun()))
    loop.close()
    gc.collect()
    assert passed == [True, True]


# Ctrl-C ---------------------------------------------------------------------------------------------------


def of_python(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def by_a_helper(number: int, frame: object) -> None:
    of_python(number, frame)


class Handling:
    def method(self, number: int, frame: object, **more: object) -> None:
        raise KeyboardInterrupt


HANDLERS: dict[str, Callable[..., object]] = {
    "python's own": signal.default_int_handler,
    "a function": of_python,
    "a function that calls another": by_a_helper,
    "a method, in a partial as asyncio's": functools.partial(Handling().method, main_task=None),
}


@pytest.mark.parametrize("handler", HANDLERS.values(), ids=HANDLERS.keys())
def test_a_signal_is_told_from_a_raise(handler: Callable[..., object]) -> None:
    def deep(number: int) -> None:
        if number:
            deep(number - 1)
        signal.raise_signal(signal.SIGINT)
        while True:
            pass

    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            deep(3)
        assert is_signal(caught.value)
        assert must_pass(caught.value)
        assert not is_signal(raised(KeyboardInterrupt()))  # type: ignore[arg-type]
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_raise_again_is_a_raise() -> None:
    def fail() -> None:
        try:
            try:
                raise KeyboardInterrupt("by hand")
            finally:
                str(1)
        except KeyboardInterrupt:
            raise

    with pytest.raises(KeyboardInterrupt) as caught:
        fail()
    assert not is_signal(caught.value)


PROGRAM = """
import asyncio, os, signal, sys, time
from oddwire import Application, Context, Extension, Message, message
from oddwire.transports.memory import MemoryNetwork

extension = Extension("rough", version="1.0")

@message(0x8D01)
class Ask(Message):
    what: str

@extension.on(Ask)
async def ask(context: Context, ask: Ask) -> Ask | None:
    if ask.what == "raise":
        raise KeyboardInterrupt("by hand")
    if ask.what == "signal":
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            pass
    return ask

async def main():
    network = MemoryNetwork()
    asking = Extension("asking", version="1.0")
    asking.register(Ask)
    async with (
        Application(extension, transport=network.transport()) as left,
        Application(asking, transport=network.transport()) as right,
    ):
        HOW
        peer = await right.connect(left.uris[0])
        await peer.send(Ask(what="raise"))
        print(await peer.request(Ask(what="again"), Ask), flush=True)
        await peer.send(Ask(what="signal"))
        await asyncio.sleep(60)

BEGIN
"""


@pytest.mark.parametrize(
    ("how", "begin"),
    [
        ("pass", "asyncio.new_event_loop().run_until_complete(main())"),
        ("signal.signal(signal.SIGINT, signal.default_int_handler)", "asyncio.run(main())"),
    ],
    ids=["a loop", "asyncio.run"],
)
def test_a_real_one_ends_the_program_in_the_middle_of_a_handler(tmp_path: Path, how: str, begin: str) -> None:
    (tmp_path / "program.py").write_text(PROGRAM.replace("HOW", how).replace("BEGIN", begin))
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, env={**os.environ}
    )
    assert done.stdout == "Ask 0x8d01 what='again'\n", done.stderr
    assert done.returncode == -signal.SIGINT
    assert "handler of Ask of 'rough' failed" in done.stderr
    assert "\nKeyboardInterrupt\n" in done.stderr


def test_an_exception_in_a_line() -> None:
    assert spelled(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert spelled(SystemExit("no dollars")) == "SystemExit: no dollars"
