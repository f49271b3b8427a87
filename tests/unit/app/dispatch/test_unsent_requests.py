"""Requests that time out before they are sent: the error says so, why, and what helps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from oddwire.app import Application, Context, Extension, Peer, PeerRpc
from oddwire.errors import OutOfStep, ReplyTimeout
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message, u64
from oddwire.session.wire.frame_types import Hello, Spoken
from oddwire.session.wire.frames import encode
from oddwire.testing import ScriptedTransport
from oddwire.transports.host import HostTransport
from oddwire.transports.memory import MemoryNetwork

LOOPS = ("jumping",)
ALICE = NodeId("02" + "aa" * 32)


@message(0x8D41, codec="bolt")
class Answer(Message):
    number: u64


@message(0x8D43, codec="bolt", replies=Answer, match="number")
class Ask(Message):
    number: u64


@message(0x8D46, codec="bolt", replies=Answer, match="number")
class Even(Message):
    number: u64


class Host(ScriptedTransport, HostTransport):
    """A host node, which may send what is cancelled here."""

    async def configure(self, *_: Any, **__: Any) -> Any:
        return {}


def asker() -> Extension:
    extension = Extension("asker", version="1.0")
    for cls in (Ask, Even):
        extension.register(cls)
    return extension


def sent(transport: ScriptedTransport, cls: type[Message]) -> int:
    prefix = cls.__oddwire__.type_id.to_bytes(2, "big")  # type: ignore[attr-defined]
    return sum(payload.startswith(prefix) for _, payload in transport.sent)


async def test_a_request_that_only_waited_for_the_hello_was_not_sent() -> None:
    transport = ScriptedTransport()
    async with Application(asker(), transport=transport) as app:
        transport.connect_peer(ALICE)
        with pytest.raises(
            ReplyTimeout,
            match=r"^Ask was not sent within 0\.3 s: still waiting for the hello of 02aa\w+, up to a second after it "
            r"connected; plain=True does not wait for it$",
        ) as caught:
            await app.peer(ALICE).request(Ask(number=1), timeout=0.3)
        assert (caught.value.timeout, caught.value.sent) == (0.3, False)
        assert sent(transport, Ask) == 0
        with pytest.raises(ReplyTimeout, match=r"^no Answer from 02aa\w+ within 0\.3 s of Ask$") as caught:
            await app.peer(ALICE).request(Ask(number=1), timeout=0.3, plain=True)
        assert caught.value.sent
        assert sent(transport, Ask) == 1


async def test_one_that_waited_for_the_hello_and_then_for_its_answer_says_how_long() -> None:
    transport = ScriptedTransport()
    async with Application(asker(), transport=transport) as app:
        transport.connect_peer(ALICE)
        told = r"within 1\.5 s of Ask, 1 s of which it waited for the peer's hello; plain=True does not wait$"
        with pytest.raises(ReplyTimeout, match=told) as caught:
            await app.peer(ALICE).request(Ask(number=1), timeout=1.5)
        assert caught.value.sent
        assert sent(transport, Ask) == 1
        with pytest.raises(ReplyTimeout, match=r"within 1\.5 s of Ask$"):  # it is known now that there is no session
            await app.peer(ALICE).request(Ask(number=2), timeout=1.5)


async def test_a_stream_needs_the_hello() -> None:
    transport = ScriptedTransport()
    async with Application(asker(), transport=transport) as app:
        transport.connect_peer(ALICE)
        with pytest.raises(
            ReplyTimeout, match=r"^Ask was not sent within 0\.3 s: .*; a stream needs it, so a timeout of more than a"
        ) as caught:
            await anext(app.peer(ALICE).stream(Ask(number=1), Answer, timeout=0.3))
        assert not caught.value.sent


async def test_an_even_type_waits_for_the_hello_even_plainly() -> None:
    transport = ScriptedTransport()
    async with Application(asker(), transport=transport) as app:
        transport.connect_peer(ALICE)
        with pytest.raises(
            ReplyTimeout,
            match=r"^Even was not sent within 0\.3 s: still waiting for the hello of 02aa\w+, to see that it knows "
            r"this even type; force=True does not wait for it$",
        ) as caught:
            await app.peer(ALICE).request(Even(number=1), timeout=0.3, plain=True)
        assert not caught.value.sent
        assert sent(transport, Even) == 0


@pytest.mark.parametrize(("kind", "told"), [(ScriptedTransport, False), (Host, True)])
async def test_a_plain_one_that_the_peer_does_not_read(kind: type[ScriptedTransport], told: bool) -> None:
    transport = kind()
    async with Application(asker(), transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        transport.stick()
        with pytest.raises(ReplyTimeout) as caught:
            await app.peer(ALICE).request(Ask(number=1), timeout=0.3)
        text = "no Answer from" if told else f"Ask was not sent within 0.3 s: {ALICE} is slow to read"
        assert str(caught.value).startswith(text)
        assert caught.value.sent is told  # a host node may still send it


async def ask(peer: Peer) -> None:
    await peer.request(Ask(number=1), timeout=0.3)


async def read(peer: Peer) -> None:
    await anext(peer.stream(Ask(number=1), Answer, timeout=0.3))


@pytest.mark.parametrize("call", [ask, read])
@pytest.mark.parametrize("stuck", [True, False])
async def test_with_a_session(call: Callable[[Peer], Coroutine[Any, Any, None]], stuck: bool) -> None:
    transport = ScriptedTransport()
    async with Application(asker(), transport=transport) as app:
        transport.connect_peer(ALICE)
        spoken = Spoken("asker", ("1.0",), (0x8D41, 0x8D43))
        transport.receive(ALICE, encode(Hello(0, 1, 1, program=10, extensions=(spoken,), requests=1), 3))
        peer = app.peer(ALICE)
        assert await peer.wait_for_hello()
        first = None
        if stuck:
            transport.stick()
            why = f"{ALICE} is slow to read what is sent to it"
        else:
            first = asyncio.create_task(peer.request(Ask(number=7), timeout=None))
            await asyncio.sleep(0)
            why = f"as many requests as {ALICE} handles at once wait for their replies, 1"
        with pytest.raises(ReplyTimeout) as caught:
            await call(peer)
        assert str(caught.value) == f"Ask was not sent within 0.3 s: {why}"
        assert not caught.value.sent
        transport.stuck.set()
        if first is not None:
            first.cancel()


async def test_those_that_wait_for_their_turn_were_not_sent() -> None:
    transport = ScriptedTransport()
    async with Application(asker(), transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        peer = app.peer(ALICE)
        first = asyncio.create_task(peer.request(Ask(number=1), timeout=1.0))
        await asyncio.sleep(0)
        with pytest.raises(ReplyTimeout, match=r"was not sent within 0\.3 s: other requests") as caught:
            await peer.request(Ask(number=1), timeout=0.3)
        assert not caught.value.sent
        with pytest.raises(ReplyTimeout) as caught:
            await first
        assert caught.value.sent
    assert not OutOfStep("not sent", timeout=1.0).sent


@pytest.mark.parametrize(("kind", "told"), [(ScriptedTransport, False), (Host, True)])
async def test_a_call_of_json_rpc_that_the_peer_does_not_read(kind: type[ScriptedTransport], told: bool) -> None:
    transport = kind()
    extension = Extension("lsps", version="1.0")
    rpc = PeerRpc(extension, 37913)
    async with Application(extension, transport=transport) as app:
        transport.connect_peer(ALICE)
        transport.stick()
        with pytest.raises(ReplyTimeout) as caught:
            await rpc.call(app.peer(ALICE), "get_info", timeout=0.3)
        text = "no answer from" if told else f"'get_info' was not sent within 0.3 s: {ALICE} is slow to read"
        assert str(caught.value).startswith(text)
        assert caught.value.sent is told
        transport.stuck.set()


async def test_between_two_applications_the_first_request_waits_for_the_hello_and_is_answered() -> None:
    server = Extension("asker", version="1.0")

    @server.on(Ask)
    async def answer(context: Context, request: Ask) -> Answer:
        return Answer(number=request.number)

    network = MemoryNetwork()
    async with (
        Application(server, transport=network.transport()) as left,
        Application(asker(), transport=network.transport()) as right,
    ):
        peer = await right.connect(left.uris[0])
        assert await peer.request(Ask(number=1), timeout=0.3) == Answer(number=1)
