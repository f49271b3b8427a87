#!/usr/bin/env python3
"""An extension whose handlers do all that no handler should, each when a peer asks for it by name."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oddwire import AppContext, Context, Extension, Message, message, u32

extension = Extension("rough", version="1.0")
kept: list[Any] = []
questions: list[int] = []

print("printed while loading")
print("printed, no line ended", end="")


@message(0x8D01)
class Trouble(Message):
    """Do the thing of this name."""

    how: str


@message(0x8D03, codec="bolt")
class Question(Message):
    number: u32


@message(0x8D05, codec="bolt")
class Answer(Message):
    number: u32


@message(0x8D07)
class Padding(Message):
    """Handled by nobody for as long as the handler before it takes."""

    number: u32
    rest: bytes


troubles: dict[str, Callable[[Context], Any]] = {}


def trouble(function: Callable[[Context], Any]) -> Callable[[Context], Any]:
    troubles[function.__name__.replace("_", "-")] = function
    return function


@trouble
async def raise_an_error(context: Context) -> None:
    raise RuntimeError("raised on purpose")


@trouble
async def wait_for_what_is_cancelled(context: Context) -> None:
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task


@trouble
async def answer_nonsense(context: Context) -> Any:
    return {"result": "disconnect"}


@trouble
async def answer_an_unregistered_message(context: Context) -> Any:
    @message(0x8DFF)
    class Stray(Message):
        number: u32

    return Stray(number=1)


@trouble
async def leave(context: Context) -> None:
    sys.exit(3)


@trouble
async def leave_in_a_task(context: Context) -> None:
    async def depart() -> None:
        sys.exit(4)

    kept.append(asyncio.create_task(depart()))


@trouble
async def leave_in_a_callback(context: Context) -> None:
    asyncio.get_running_loop().call_soon(sys.exit, 5)


@trouble
async def raise_generator_exit(context: Context) -> None:
    raise GeneratorExit("by hand")


@trouble
async def raise_keyboard_interrupt(context: Context) -> None:
    raise KeyboardInterrupt("by hand")


@trouble
async def interrupt_in_a_task(context: Context) -> None:
    kept.append(asyncio.create_task(raise_keyboard_interrupt(context)))


@trouble
async def hang(context: Context) -> None:
    await asyncio.Event().wait()


@trouble
async def hang_on(context: Context) -> None:
    """Hang, and do not take cancellation for an answer."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            context.logger.info("not yet")


@trouble
async def wait(context: Context) -> None:
    """Hold up the peer's own messages until the file ``go`` is there."""
    context.logger.info("waiting")
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    Path("go").unlink()


@trouble
async def lock(context: Context) -> None:
    """Hold up every thread of the process, in C code that keeps Python's lock, until somebody writes to the pipe."""
    context.logger.info("keeping the lock")
    os.close(ctypes.PyDLL(None).open(b"pipe", os.O_RDONLY))


@trouble
async def block(context: Context) -> None:
    """Hold up the whole loop until the file ``go`` is there."""
    context.logger.info("blocking the loop")
    while not Path("go").exists():
        time.sleep(0.01)
    Path("go").unlink()


@trouble
async def print_something(context: Context) -> None:
    print("printed by a handler")
    sys.stdout.write('{"jsonrpc": "2.0", "id": "cln:custommsg#1", "result": {"result": "crash"}}\n\n')
    sys.stdout.flush()
    os.write(1, b"written by a handler\n\n")
    os.write(1, b"\xff\xfe no UTF-8, no line ended")
    print("x" * 100_000)
    print("printed after all")


@trouble
async def have_a_child_print(context: Context) -> None:
    subprocess.run(["/bin/echo", "printed by a child"], check=True)


@trouble
async def leave_a_child(context: Context) -> None:
    kept.append(subprocess.Popen(["/bin/sleep", "60"], close_fds=False, stderr=subprocess.DEVNULL))
    context.logger.info("left a child")


@trouble
async def read_what_is_not_there(context: Context) -> None:
    print(f"read {sys.stdin.read()!r} and {os.read(0, 100)!r}")


@trouble
async def close_the_standard_streams(context: Context) -> None:
    for descriptor in (0, 1):
        os.close(descriptor)


@trouble
async def log_what_cannot_be_written(context: Context) -> None:
    context.logger.info("half a pair \ud800, a NUL \0, a %s", "line\nand another")
    context.logger.info("%d is no number", "this")


@trouble
async def ignore_sigterm(context: Context) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@extension.on(Trouble)
async def make_trouble(context: Context, asked: Trouble) -> Any:
    return await troubles[asked.how](context)


@extension.on(Question)
async def answer(context: Context, question: Question) -> Answer:
    questions.append(question.number)
    return Answer(number=question.number)


@extension.on(Padding)
async def swallow(context: Context, padding: Padding) -> None:
    questions.append(padding.number)


@extension.rpc("rough-do")
async def do(context: AppContext, how: str) -> Any:
    """Do one of the things that peers may ask for."""
    return await troubles[how](context)


@extension.rpc("rough-told")
async def tell(context: AppContext) -> dict[str, Any]:
    """Tell which questions came."""
    return {"pid": os.getpid(), "questions": questions}


@extension.on_shutdown
async def end(context: AppContext) -> None:
    Path("rough-ended").write_text(f"{len(questions)}\n")


if __name__ == "__main__":
    extension.run(receive=os.environ.get("ROUGH_RECEIVE"))
