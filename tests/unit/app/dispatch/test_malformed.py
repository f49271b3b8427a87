"""Handlers that ask for what does not decode get it in every way in which a message may come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest
from tests.support.messages import Answer, Ask, Note
from tests.support.tracing import Tracer
from tests.support.waiting import until

from oddwire import (
    Application,
    Context,
    DecodeError,
    Extension,
    ExtensionError,
    Limits,
    Message,
    Peer,
    RemoteFailure,
    message,
)
from oddwire.app import Malformed
from oddwire.codecs import Registry
from oddwire.errors import MalformedMessage, Refuse, UnknownMessage
from oddwire.proto.keys import NodeId
from oddwire.session.wire.frame_types import Code
from oddwire.testing import ScriptedTransport
from oddwire.transports import MemoryNetwork

ALICE = NodeId("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
BAD = b"\x8c\x01bad"
Either: TypeAlias = Ask | Malformed


def ask(number: int) -> bytes:
    return b"\x8c\x01" + number.to_bytes(8, "big")


def answer(number: int) -> bytes:
    return b"\x8c\x03" + number.to_bytes(8, "big")


@message(0x8C01, codec="raw")
class Loose(Message):
    """The type of `Ask`, by one who sends anything."""

    data: bytes


def picky(**options: Any) -> tuple[Extension, list[Ask | Malformed]]:
    extension, seen = Extension("test", version="1.0"), []

    @extension.on(Ask, **options)
    async def handle(context: Context, message: Ask | Malformed) -> Answer:
        seen.append(message)
        if isinstance(message, Malformed):
            return Answer(number=len(message.payload))
        return Answer(number=message.number)

    return extension, seen


@asynccontextmanager
async def raw(*extensions: object, **options: Any) -> AsyncIterator[tuple[Application, ScriptedTransport]]:
    transport = ScriptedTransport()
    async with Application(*extensions, transport=transport, session=False, **options) as app:
        transport.connect_peer(ALICE)
        yield app, transport


@pytest.mark.parametrize("concurrent", [False, True])
async def test_a_plain_message_that_does_not_decode(concurrent: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tracer, (extension, seen) = Tracer(), picky(concurrent=concurrent)
    async with raw(extension, tracer) as (_, transport):
        for payload in (ask(1), BAD, ask(2)):
            transport.receive(ALICE, payload)
        await until(lambda: len(transport.sent) == 3)
    assert [payload for _, payload in transport.sent] == [answer(1), answer(5), answer(2)]
    assert seen[::2] == [Ask(number=1), Ask(number=2)]
    malformed = seen[1]
    assert isinstance(malformed, Malformed)
    assert (malformed.payload, type(malformed.error)) == (BAD, MalformedMessage.__subclasses__()[0])  # Truncated
    assert str(malformed.error) == "test.Ask 0x8c01, $.number: u64 needs 8 bytes, 3 remain (at byte 2)"
    assert transport.warnings == []
    assert "malformed" not in caplog.text
    received = [event for event in tracer.events if event.direction == "received"]
    assert [(event.message, event.error, event.handled) for event in received] == [
        (Ask(number=1), None, True),
        (None, malformed.error, True),
        (Ask(number=2), None, True),
    ]
    assert all(event.latency is not None for event in tracer.events if event.direction == "sent")


async def test_without_it_the_policy_holds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    extension = Extension("test", version="1.0")
    seen: list[object] = []

    @extension.on(Ask)
    async def one(context: Context, message: Ask) -> None:
        seen.append(message)

    @extension.on(Note)
    async def anything(context: Context, message: Any) -> None:  # Any is no wish for it
        seen.append(message)

    async with raw(extension) as (_, transport):
        transport.receive(ALICE, BAD)
        transport.receive(ALICE, b"\x8c\x05bad")
        transport.receive(ALICE, ask(1))
        await until(lambda: seen == [Ask(number=1)])
    assert len(transport.warnings) == 2
    assert "malformed message: test.Ask 0x8c01" in caplog.text


async def test_an_alias_and_a_decorator_say_it_too() -> None:
    extension, seen = Extension("test", version="1.0"), []

    @extension.on(Ask)
    async def handle(context: Context, message: Either) -> None:
        seen.append(message)

    async with raw(extension) as (_, transport):
        transport.receive(ALICE, BAD)
        await until(lambda: len(seen) == 1)
    assert isinstance(seen[0], Malformed)


def test_malformed_alone_is_no_message() -> None:
    extension = Extension("test", version="1.0")

    @extension.on(Ask)  # type: ignore[arg-type]
    async def handle(context: Context, message: Malformed) -> None: ...

    with pytest.raises(ExtensionError, match="parameter 'message' should be Ask, not Malformed"):
        Application(extension, transport=ScriptedTransport())


async def test_what_its_handler_raises_is_told(caplog: pytest.LogCaptureFixture) -> None:
    extension = Extension("test", version="1.0")
    heard: list[Message | None] = []

    @extension.on(Ask)
    async def handle(context: Context, message: Ask | Malformed) -> None:
        if isinstance(message, Malformed):
            raise ValueError("of no use") if len(message.payload) == 5 else Refuse("no")

    @extension.on_error
    async def told(context: object, error: BaseException, message: Message | None) -> None:
        heard.append(message)

    caplog.set_level(logging.INFO)
    async with raw(extension) as (app, transport):
        transport.receive(ALICE, BAD)
        transport.receive(ALICE, BAD[:-1])
        await until(lambda: heard == [None] and "refused" in caplog.text)
        assert app.counters.failed == {"test": 1}
    assert "handler of malformed test.Ask of 'test' failed, with 02" in caplog.text
    assert "message refused by 'test': test.Ask 0x8c01 from 02" in caplog.text


async def test_who_is_not_allowed_is_not_heard() -> None:
    async def nobody(peer: Peer) -> bool:
        return False

    extension = Extension("test", version="1.0", allow=nobody)
    seen: list[object] = []

    @extension.on(Ask)
    async def handle(context: Context, message: Ask | Malformed) -> None:
        seen.append(message)

    tracer = Tracer()
    async with raw(extension, tracer) as (app, transport):
        transport.receive(ALICE, BAD)
        await until(lambda: app.counters.dropped == {"allow": 1})
    assert seen == []
    assert (tracer.events[-1].direction, tracer.events[-1].payload) == ("refused", BAD)


async def test_a_codec_that_raises_what_it_should_not() -> None:
    extension, seen = picky()
    async with raw(extension) as (app, transport):
        route = app._dispatcher.core.routes[b"\x8c\x01"]  # type: ignore[union-attr]

        def broken(payload: bytes) -> Message:
            raise ZeroDivisionError

        dispatcher = app._dispatcher
        assert dispatcher is not None
        dispatcher._fast_routes[b"\x8c\x01"] = (broken, *route[1:4])
        transport.receive(ALICE, ask(1))
        await until(lambda: len(seen) == 1)
    assert isinstance(seen[0], Malformed)
    assert str(seen[0].error) == "test.Ask 0x8c01: cannot be decoded"


@asynccontextmanager
async def session(
    extension: Extension, *more: object, **options: Any
) -> AsyncIterator[tuple[Application, Application, Peer]]:
    """Two applications, of which the second sends what it likes."""
    network = MemoryNetwork()
    careless = Extension("test", version="1.0")
    careless.register(Loose)
    careless.register(Answer)
    async with (
        Application(extension, *more, transport=network.transport(), store=":memory:", **options) as left,
        Application(careless, transport=network.transport(), store=":memory:") as right,
    ):
        yield left, right, await right.connect(left.uris[0])


@pytest.mark.parametrize("more", [(), (Tracer(),)])
@pytest.mark.parametrize("limits", [None, Limits(requests=5)])
async def test_a_request_that_does_not_decode_is_answered(more: tuple[object, ...], limits: Limits | None) -> None:
    extension, seen = picky()
    extension.limits = limits
    async with session(extension, *more) as (_, _, peer):
        assert await peer.request(Loose(data=BAD[2:]), Answer) == Answer(number=5)
        assert await peer.request(Loose(data=ask(7)[2:]), Answer) == Answer(number=7)
    assert [type(message) for message in seen] == [Malformed, Ask]


async def test_a_request_that_does_not_decode_is_refused_without() -> None:
    extension = Extension("test", version="1.0")

    @extension.on(Ask)
    async def handle(context: Context, message: Ask) -> Answer:
        return Answer(number=message.number)

    async with session(extension) as (_, _, peer):
        with pytest.raises(RemoteFailure, match="u64 needs 8 bytes") as caught:
            await peer.request(Loose(data=BAD[2:]), Answer)
        assert caught.value.code == Code.MALFORMED


@pytest.mark.parametrize("more", [(), (Tracer(),)])
async def test_a_reliable_message_that_does_not_decode_is_taken(more: tuple[object, ...]) -> None:
    extension, seen = Extension("test", version="1.0"), []

    @extension.on(Ask, reliable=True)
    async def handle(context: Context, message: Ask | Malformed) -> None:
        seen.append(message)

    async with session(extension, *more) as (left, right, peer):
        for payload in (ask(1), BAD, ask(2)):
            await (await peer.deliver(Loose(data=payload[2:]))).delivered()
        assert left.counters.declined == right.counters.undelivered == {}
    assert [type(message) for message in seen] == [Ask, Malformed, Ask]


async def test_a_whole_made_of_fragments_that_does_not_decode() -> None:
    extension, seen = picky()
    async with raw(extension) as (app, transport):
        dispatcher = app._dispatcher
        assert dispatcher is not None
        dispatcher.whole_received(ALICE, BAD)
        await until(lambda: len(transport.sent) == 1)
    assert isinstance(seen[0], Malformed)


async def test_it_waits_for_on_connect_as_messages_do() -> None:
    extension, seen = picky()
    gate = asyncio.Event()

    @extension.on_connect
    async def connected(context: Context) -> None:
        await gate.wait()

    async with raw(extension) as (_, transport):
        transport.receive(ALICE, BAD)
        transport.receive(ALICE, ask(1))
        await asyncio.sleep(0.01)
        assert seen == []
        gate.set()
        await until(lambda: len(seen) == 2)
    assert isinstance(seen[0], Malformed)


def test_it_is_a_record() -> None:
    registry = Registry()
    registry.register(Ask, "test")
    with pytest.raises(DecodeError) as caught:
        registry.decode(BAD)
    assert Malformed(BAD, caught.value) == Malformed(payload=BAD, error=caught.value)
    assert not isinstance(caught.value, UnknownMessage)
