#!/usr/bin/env python3
"""An extension with every hook, job and task there is: it writes down what happens, a word a line."""

import asyncio
from pathlib import Path

from oddwire import AppContext, Context, Extension, Message, message

extension = Extension("living", version="1.0")


@message(0x8D21, codec="raw")
class Ask(Message):
    data: bytes


@message(0x8D23, codec="raw")
class Answer(Message):
    data: bytes


@message(0x8D25, codec="raw")
class Goodbye(Message):
    data: bytes


extension.register(Answer)
extension.register(Goodbye)


@extension.option("living-file")
def file(value: Path = Path("living")) -> Path:
    """Where to write what happens."""
    return value


@extension.option("living-interval", dynamic=True)
def interval(value: float = 0.01) -> float:
    """Seconds from one run to the next."""
    return value


def write(context: AppContext, word: str) -> None:
    with context.options["living-file"].open("a") as written:
        written.write(f"{word}\n")


@extension.on_startup
async def start(context: AppContext) -> None:
    write(context, "startup")


@extension.on_ready
async def ready(context: AppContext) -> None:
    write(context, f"ready {len(context.app.peers)}")


@extension.every("living-interval", at_start=True)
async def often(context: AppContext) -> None:
    """Raise each time: it is called again all the same."""
    raise RuntimeError("often")


@extension.task
async def always(context: AppContext) -> None:
    write(context, "task begins")
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.01)
        write(context, "task has ended")


@extension.on_connect
async def connected(context: Context) -> None:
    write(context, "connect")
    await asyncio.sleep(0.01)
    write(context, "connect ends")


@extension.every(0.01, per_peer=True, at_start=True)
async def beat(context: Context) -> None:
    write(context, "beat")


@extension.task(per_peer=True)
async def feed(context: Context) -> None:
    write(context, "feed begins")
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.01)
        write(context, "feed has ended")


@extension.on(Ask)
async def ask(context: Context, request: Ask) -> None:
    write(context, "ask")
    context.spawn(answer(context, request.data))


async def answer(context: Context, data: bytes) -> None:
    await context.peer.send(Answer(data=data))
    write(context, "spawned")
    try:
        await asyncio.Event().wait()
    finally:
        write(context, "spawned has ended")


@extension.on_error
async def failed(context: AppContext, error: BaseException, message: Message | None) -> None:
    write(context, f"error {error}")


@extension.on_disconnect
async def gone(context: Context, reason: str) -> None:
    write(context, "disconnect")


@extension.on_stopping
async def stopping(context: AppContext) -> None:
    write(context, f"stopping {len(context.app.peers)}")
    for peer in context.app.peers:
        await peer.send(Goodbye(data=b"bye"))


@extension.on_shutdown
async def end(context: AppContext) -> None:
    write(context, "shutdown")


if __name__ == "__main__":
    extension.run()
