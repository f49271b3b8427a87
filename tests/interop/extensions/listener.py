#!/usr/bin/env python3
"""An extension that keeps what it hears, in order; LISTENER_RECEIVE says how it wants to be told of messages."""

import os
from typing import Any

from oddwire import AppContext, Context, Extension, Message, message

extension = Extension("listener", version="1.0")
heard: list[tuple[str, str, str]] = []


@message(0xC0DF, codec="raw")
class First(Message):
    body: bytes


@message(0x8001, codec="raw")
class Second(Message):
    body: bytes


@message(0xFFFF, codec="raw")
class Last(Message):
    body: bytes


@message(0xC0DE, codec="raw")
class Even(Message):
    body: bytes


@extension.on_connect
async def note_connect(context: Context) -> None:
    info = context.peer.info
    heard.append(("connect", str(context.peer), info.features.hex() if info else ""))


@extension.on_disconnect
async def note_disconnect(context: Context, reason: str) -> None:
    heard.append(("disconnect", str(context.peer), ""))


@extension.on(First)
async def note_first(context: Context, came: First) -> None:
    heard.append(("first", str(context.peer), came.body.hex()))


@extension.on(Second)
async def note_second(context: Context, came: Second) -> None:
    heard.append(("second", str(context.peer), came.body.hex()))


@extension.on(Last)
async def note_last(context: Context, came: Last) -> None:
    heard.append(("last", str(context.peer), came.body.hex()))


@extension.on(Even)
async def note_even(context: Context, came: Even) -> None:
    heard.append(("even", str(context.peer), came.body.hex()))


@extension.rpc("listener-heard")
async def tell(context: AppContext) -> list[Any]:
    """Tell what was heard."""
    return heard


if __name__ == "__main__":
    extension.run(receive=os.environ.get("LISTENER_RECEIVE"))
