"""Streams of replies at the end of the application that sends them; the rest is in test_session_host.py."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support.messages import Answer, Ask, Note

from oddwire.app import Application, Context, Extension
from oddwire.errors import ConnectionClosed
from oddwire.transports.memory import MemoryNetwork


async def test_a_stream_that_waits_for_credit_does_not_keep_an_application_that_closes() -> None:
    closed: list[str] = []
    extension, client = Extension("server", version="1.0"), Extension("client", version="1.0")

    @extension.on(Ask)
    async def answers(context: Context, ask: Ask) -> AsyncIterator[Answer]:
        try:
            for number in range(100):
                yield Answer(number=number)
        finally:
            closed.append("by its end")

    client.register(Ask)
    client.register(Answer)
    network = MemoryNetwork()
    async with Application(client, transport=network.transport(), store=":memory:") as caller:
        async with Application(extension, transport=network.transport(), store=":memory:", grace=3600) as server:
            parts = (await caller.connect(server.uris[0])).stream(Ask(number=1), Answer, credit=2, timeout=None)
            await anext(parts)
        assert closed == ["by its end"]
        assert server.counters.failed == {}
        with pytest.raises(ConnectionClosed):
            async for _ in parts:
                pass


async def test_a_stream_that_needs_credit_only_once_the_application_closes_ends_as_well() -> None:
    asked, closed = asyncio.Event(), list[str]()
    extension, client = Extension("server", version="1.0"), Extension("client", version="1.0")

    @extension.on(Ask)
    async def answers(context: Context, ask: Ask) -> AsyncIterator[Answer]:
        with pytest.raises(ConnectionClosed):  # raised as the application closes
            await context.peer.request(Note(number=1), Answer, timeout=None)
        try:
            for number in range(100):
                yield Answer(number=number)
        finally:
            closed.append("by its end")

    @client.on(Note)
    async def never(context: Context, note: Note) -> Answer:
        asked.set()
        return await asyncio.get_running_loop().create_future()

    client.register(Ask)
    extension.register(Note)
    network = MemoryNetwork()
    async with Application(client, transport=network.transport(), store=":memory:", grace=0) as caller:
        async with Application(extension, transport=network.transport(), store=":memory:", grace=3600) as server:
            parts = (await caller.connect(server.uris[0])).stream(Ask(number=1), Answer, credit=2, timeout=None)
            taking = asyncio.create_task(anext(parts))
            await asked.wait()
        assert closed == ["by its end"]
        await asyncio.wait([taking])
