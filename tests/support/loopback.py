"""BOLT 8 connections on loopback, and what they may leave behind: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc

from tests.support.waiting import until

from oddwire.proto import PrivateKey, serve

DIALER, LISTENER, STRANGER = (PrivateKey(bytes([n]) * 32) for n in (0x11, 0x21, 0x31))
NODE_ID = LISTENER.public_key()


async def settle(turns=5):
    """Let callbacks that are due run."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def echo(connection):
    async for message in connection:
        await connection.send_message(message)


def serving(handler=echo, **kwargs):
    return serve(handler, LISTENER, "127.0.0.1", 0, **kwargs)


@contextlib.asynccontextmanager
async def nothing_left():
    """Check that no task, timer or socket of the block outlives it."""
    loop = asyncio.get_running_loop()
    before = asyncio.all_tasks()
    yield
    await until(lambda: asyncio.all_tasks() <= before)
    await settle()
    assert not [handle for handle in getattr(loop, "_scheduled", ()) if not handle.cancelled()]
    gc.collect()  # a socket or transport left open warns when it is collected, and warnings are errors here
