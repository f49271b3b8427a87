from __future__ import annotations

import asyncio

from tests.support.messages import Answer, Ask
from tests.support.tracing import Tracer
from tests.support.waiting import until

from oddwire.app import Application, Context, Extension, Peer
from oddwire.errors import Refuse
from oddwire.proto.keys import NodeId
from oddwire.session.wire.frame_types import Code
from oddwire.testing import ScriptedTransport

ALICE = NodeId("02" + "aa" * 32)
BOB = NodeId("03" + "bb" * 32)


def ask(number: int) -> bytes:
    return b"\x8c\x01" + number.to_bytes(8, "big")


def answer(number: int) -> bytes:
    return b"\x8c\x03" + number.to_bytes(8, "big")


async def test_a_concurrent_handler_that_is_guarded_and_traced_answers_those_it_is_for() -> None:
    both_asked: list[NodeId] = []
    gate = asyncio.Event()

    async def allow(peer: Peer) -> bool:
        both_asked.append(peer.node_id)
        await gate.wait()
        return peer.node_id == ALICE

    extension = Extension("test", version="1.0", allow=allow)

    @extension.on(Ask, concurrent=True)
    async def handle(context: Context, request: Ask) -> Answer:
        return Answer(number=request.number)

    transport, tracer = ScriptedTransport(), Tracer()
    async with Application(extension, tracer, transport=transport, session=False) as app:
        for node_id in (ALICE, BOB):
            transport.connect_peer(node_id)
            transport.receive(node_id, ask(1))
        await until(lambda: both_asked == [ALICE, BOB])
        gate.set()
        await until(lambda: app.counters.dropped == {"allow": 1})
        await until(lambda: transport.sent == [(ALICE, answer(1))])
    received, others = tracer.events[:2], {event.direction: event for event in tracer.events[2:]}
    assert [(event.direction, event.peer) for event in received] == [("received", ALICE), ("received", BOB)]
    sent, refused = others.pop("sent"), others.pop("refused")
    assert (sent.peer, refused.peer, others) == (ALICE, BOB, {})
    assert sent.latency is not None
    assert (refused.message, refused.payload) == (Ask(number=1), ask(1))
    assert isinstance(refused.error, Refuse)
    assert (refused.error.code, refused.error.text) == (Code.NOT_ALLOWED, "test is not allowed for this node")


async def test_what_a_request_waits_for_is_not_guarded() -> None:
    extension = Extension("test", version="1.0", allow=[])
    handled: list[int] = []
    extension.register(Ask)

    @extension.on(Answer)
    async def handle(context: Context, message: Answer) -> None:
        handled.append(message.number)

    transport = ScriptedTransport()
    async with Application(extension, transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        task = asyncio.create_task(app.peer(ALICE).request(Ask(number=1), Answer))
        await until(lambda: transport.sent)
        transport.receive(ALICE, answer(1))
        transport.receive(ALICE, answer(2))
        assert await task == Answer(number=1)
        await until(lambda: app.counters.dropped == {"allow": 1})
        assert handled == []
