"""The session protocol in JavaScript on LDK: written from the document alone, judged by its test vectors."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from oddwire.proto import NodeId
from oddwire.testing.conversations import Stage, play

pytestmark = pytest.mark.interop

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "session.json").read_text())
DEADLINE = 30  # seconds; reached only by a peer that says nothing


# The vectors ------------------------------------------------------------------------------------------


class LdkStage(Stage):
    """The JavaScript peer plays its part; ours is a bare transport."""

    def __init__(self, ldk, transport, sink):
        self.ldk = ldk
        self.transport = transport
        self.sink = sink
        self.us = str(transport.node_id)
        self.peer = NodeId(ldk.node_id)

    async def connect(self):
        await self.transport.connect(self.ldk.uri, keep=False)
        await self.sink.connected.get()
        await self.ldk.event("connected", peer=self.us)

    async def disconnect(self):
        await self.transport.disconnect(self.peer)
        await self.sink.disconnected.get()
        await self.ldk.event("disconnected", peer=self.us)

    async def send(self, payload):
        await self.transport.send(self.peer, payload)

    async def receive(self):
        async with asyncio.timeout(DEADLINE):
            _, payload = await self.sink.payloads.get()
        return payload

    async def begin(self, what, payload, step):
        options = {name: value for name, value in step.items() if name in ("credit", "used")}
        await self.ldk.command(what.replace(" ", "_"), peer=self.us, payload=payload.hex(), **options)

    async def result(self):
        return await self.ldk.command("result")

    async def happened(self, what, payload):
        event = await self.ldk.event(what, payload=payload.hex())
        return {name: event[name] for name in ("code", "text") if name in event}


@pytest.fixture
async def stage(start_ldk_session, start_ours):
    ldk = await start_ldk_session()
    await ldk.listen()
    transport, sink = await start_ours()
    return LdkStage(ldk, transport, sink)


async def test_javascript_plays_every_conversation(start_ldk_session, start_ours):
    ldk = await start_ldk_session()
    await ldk.listen()
    for talk in VECTORS["conversations"]:
        transport, sink = await start_ours()
        await play(talk, VECTORS["preamble"], VECTORS["closing"], LdkStage(ldk, transport, sink))
        await transport.aclose()


async def test_javascript_reads_and_writes_every_frame(start_ldk_session):
    ldk = await start_ldk_session()
    for vector in VECTORS["frames"]:
        read = await ldk.command("decode", payload=vector["bytes"])
        assert read["frame"] == vector["frame"], vector["name"]
        if vector.get("same", True):
            assert read["bytes"] == vector["bytes"], vector["name"]
        assert await ldk.command("encode", frame=vector["frame"]) == read["bytes"], vector["name"]


async def test_javascript_refuses_every_frame_that_is_wrong_for_the_same_reason(start_ldk_session):
    ldk = await start_ldk_session()
    for vector in VECTORS["refused"]:
        found = await ldk.command("decode", payload=vector["bytes"])
        wanted = {name: vector[name] for name in ("reason", "subject") if name in vector}
        assert found == wanted, vector["name"]


async def test_javascript_finds_what_hellos_have_in_common(start_ldk_session):
    ldk = await start_ldk_session()
    for vector in VECTORS["pairs"]:
        wanted = (
            None if vector["version"] is None else {"version": vector["version"], "extensions": vector["extensions"]}
        )
        assert await ldk.command("in_common", hellos=vector["hellos"]) == wanted
        assert await ldk.command("in_common", hellos=vector["hellos"][::-1]) == wanted
    for lower, higher in VECTORS["versions"]:
        assert await ldk.command("compare", versions=[lower, higher]) == -1
        assert await ldk.command("compare", versions=[higher, lower]) == 1
        assert await ldk.command("compare", versions=[higher, higher]) == 0
