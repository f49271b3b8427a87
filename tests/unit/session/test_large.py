"""Sending in fragments: what stops it."""

from __future__ import annotations

import asyncio

import pytest

from oddwire import Application, ConnectionClosed, Extension, Message, message
from oddwire.session.frames import Fragment, Hello, HelloFlag, decode, encode
from oddwire.testing.sinks import RecordingSink
from oddwire.transports.base import Manifest
from oddwire.transports.memory import MemoryNetwork


@message(0x8CB5, codec="raw")
class Large(Message):
    data: bytes


extension = Extension("large", version="1.0")


@extension.on(Large)
async def ignore(context, message: Large) -> None:
    pass


def fragments(sink):
    frames = [decode(payload) for payload in sink.payloads]
    return [frame for frame in frames if isinstance(frame, Fragment)]


async def test_a_peer_that_restarts_gets_nothing_more_of_what_was_on_its_way():
    network, sink = MemoryNetwork(), RecordingSink()
    other = network.transport()
    await other.open(Manifest(), sink)
    hello = Hello(HelloFlag.ANSWER, 1, 1, 1, (), 1 << 24)
    async with Application(extension, transport=network.transport()) as app:
        await other.connect(app.uris[0])
        await other.send(app.node_id, encode(hello))
        peer = app.peer(other.node_id)
        assert await peer.introduced()
        other.pause(app.node_id)  # the queue between them takes far less than what follows
        sends = [asyncio.create_task(peer.send(Large(data=bytes(5_000_000)))) for _ in range(2)]
        await asyncio.sleep(0)
        assert not any(send.done() for send in sends)
        await other.send(app.node_id, encode(hello._replace(instance=2)))
        other.resume(app.node_id)
        for send in sends:
            with pytest.raises(ConnectionClosed, match="restarted"):
                await send
        await peer.send(Large(data=bytes(100_000)))
        await sink.until(lambda sink: [frame.total for frame in fragments(sink)][-2:] == [100_002] * 2)
        begun = {frame.transfer for frame in fragments(sink) if frame.total == 5_000_002}
        assert len(begun) == 2
        assert len(fragments(sink)) < 20  # of 154
    await other.aclose()
