"""The session protocol's conversations, played with an application of ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oddwire import Application, Limits
from oddwire.testing.conversations import Stage, play
from oddwire.testing.sinks import Connected, Disconnected, Received, RecordingSink
from oddwire.transports.base import Manifest
from oddwire.transports.memory import MemoryNetwork

VECTORS = json.loads(Path(__file__).with_name("session.json").read_text())


class OurStage(Stage):
    """An application plays its part; the other end is a bare transport."""

    def __init__(self, vectors, network, transport, sink):
        self.vectors = vectors
        self.network = network
        self.transport = transport
        self.sink = sink
        self.app = vectors.app.transport.node_id
        self.us = transport.node_id
        self.seen = 0

    async def connect(self):
        await self.transport.connect(self.vectors.app.uris[0])

    async def disconnect(self):
        self.network.drop(self.us, self.app)
        await self._next(Disconnected)

    async def send(self, payload):
        await self.transport.send(self.app, payload)

    async def receive(self):
        return (await self._next(Received)).payload

    async def begin(self, what, payload, step):
        await self.vectors.begin(self.us, what, payload, step)

    async def result(self):
        return await self.vectors.result()

    async def happened(self, what, payload):
        return await self.vectors.happened(what, payload)

    async def unexpected(self):
        return self.vectors.unexpected()

    async def _next(self, cls):
        while True:
            await self.sink.until(lambda sink: len(sink.events) > self.seen)
            event = self.sink.events[self.seen]
            self.seen += 1
            if isinstance(event, cls):
                return event
            assert isinstance(event, Connected), f"{event} came where {cls.__name__} should"


@pytest.mark.parametrize("talk", VECTORS["conversations"], ids=lambda talk: talk["name"])
async def test_an_application_plays_its_part(talk, make_vector_application):
    network = MemoryNetwork()
    vectors = make_vector_application()
    transport, sink = network.transport(), RecordingSink()
    await transport.open(Manifest(), sink)
    limits = Limits(**talk.get("limits", {}))
    async with Application(
        *vectors.extensions, transport=network.transport(), store=":memory:", limits=limits, grace=0
    ) as vectors.app:
        await play(talk, VECTORS["preamble"], VECTORS["closing"], OurStage(vectors, network, transport, sink))
    await transport.aclose()
