"""Connections on loopback, for the tests of the asyncio shell."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from oddwire.proto import PrivateKey, connect, serve

DIALER, LISTENER = PrivateKey(b"\x11" * 32), PrivateKey(b"\x21" * 32)


@contextlib.asynccontextmanager
async def _connected(**callbacks):
    opened = asyncio.get_running_loop().create_future()

    def on_open(connection):
        if "on_open" in callbacks:
            callbacks["on_open"](connection)
        opened.set_result(connection)

    server = await serve(None, LISTENER, "127.0.0.1", 0, on_open=on_open, on_close=callbacks.get("on_close"))
    async with server:
        dialer = await connect(DIALER, LISTENER.public_key(), "127.0.0.1", server.port)
        listener = await opened
        try:
            yield dialer, listener
        finally:
            await asyncio.gather(dialer.aclose(), listener.aclose())


@pytest.fixture
def connected():
    """``async with connected() as (dialer, listener)``: both ends of a connection; callbacks are the listener's."""
    return _connected
