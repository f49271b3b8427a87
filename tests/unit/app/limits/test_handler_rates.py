"""``@extension.on(M, rate=...)``: how often one peer has one handler called."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.messages import Answer, Ask, Note
from tests.support.waiting import until

from oddwire.app import Application, Context, Extension
from oddwire.errors import ExtensionError, RemoteFailure
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Limits
from oddwire.session.wire.frame_types import Code
from oddwire.testing import ScriptedTransport
from oddwire.testing.apps import app_pair
from oddwire.transports.memory import MemoryNetwork

LOOPS = ("jumping",)
ALICE, BOB = NodeId("02" + "aa" * 32), NodeId("03" + "bb" * 32)


def make(limits: Limits | None = None, **rate: Any) -> tuple[Extension, list[tuple[float, int]]]:
    extension = Extension("shop", version="1.0", limits=limits)
    handled: list[tuple[float, int]] = []

    def note_it(number: int) -> None:
        handled.append((round(asyncio.get_running_loop().time(), 3), number))

    @extension.on(Ask, **rate)
    async def ask(context: Context, message: Ask) -> Answer:
        note_it(message.number)
        return Answer(number=message.number)

    @extension.on(Note, reliable=True, **rate)
    async def note(context: Context, message: Note) -> None:
        note_it(message.number)

    @extension.on(Answer)
    async def free(context: Context, message: Answer) -> None:
        note_it(message.number)

    return extension, handled


async def test_requests_beyond_it_are_refused_and_do_not_count() -> None:
    server, _ = make(rate=2, burst=3)
    async with app_pair(MemoryNetwork())(server, make()[0]) as (app, client):
        peer = client.peers[0]
        for number in range(3):
            await peer.request(Ask(number=number), Answer)
        for _ in range(5):
            with pytest.raises(RemoteFailure) as caught:
                await peer.request(Ask(number=9), Answer)
            assert caught.value.code == Code.QUOTA
            assert caught.value.text == "shop accepts no more Ask from this node: 2 a second, after the first 3"
        assert app.counters_of("shop").to_json() == {"refused": {"rate": 5}}
        assert app.counters.refused == {"rate": 5}
        await asyncio.sleep(0.6)
        await peer.request(Ask(number=4), Answer)
        with pytest.raises(RemoteFailure):
            await peer.request(Ask(number=5), Answer)


async def test_without_a_burst_it_is_a_second_s_worth() -> None:
    for rate, most in ((0.5, 1), (4, 4)):
        server, _ = make(rate=rate)
        async with app_pair(MemoryNetwork())(server, make()[0]) as (_, client):
            for number in range(most):
                await client.peers[0].request(Ask(number=number), Answer)
            with pytest.raises(RemoteFailure, match=rf"after the first {most}\b"):
                await client.peers[0].request(Ask(number=9), Answer)


async def test_after_plain_messages_beyond_it_the_peer_is_read_later_and_nothing_is_lost() -> None:
    extension, handled = make(rate=2, burst=2)
    transport = ScriptedTransport()
    async with Application(extension, transport=transport, store=":memory:", session=True) as app:
        for node_id in (ALICE, BOB):
            transport.connect_peer(node_id)
        began = asyncio.get_running_loop().time()
        for number in range(6):
            transport.receive(ALICE, b"\x8c\x01" + number.to_bytes(8, "big"))
        transport.receive(ALICE, b"\x8c\x03" + (6).to_bytes(8, "big"))
        transport.receive(BOB, b"\x8c\x01" + (7).to_bytes(8, "big"))
        await until(lambda: len(handled) == 8)
        assert {number: round(time - began, 1) for time, number in handled} == {
            0: 0.0,
            1: 0.0,
            7: 0.0,
            2: 0.5,
            3: 1.0,
            4: 1.5,
            5: 2.0,
            6: 2.0,
        }
        assert app.counters_of("shop").throttled == {"rate": 4}


@pytest.mark.parametrize("way", ["plain", "concurrent", "request", "reliable"])
async def test_exactly_the_burst_is_handled_at_once_in_whatever_way_it_comes(way: str) -> None:
    server, handled = make(rate=2, burst=3, **({"concurrent": True} if way == "concurrent" else {}))
    async with app_pair(MemoryNetwork())(server, make()[0]) as (_, client):
        peer = client.peers[0]
        for number in range(5):
            if way == "reliable":
                await peer.deliver(Note(number=number))
            elif way == "request":
                with contextlib.suppress(RemoteFailure):
                    await peer.request(Ask(number=number), Answer)
            else:
                await peer.send(Ask(number=number))
        await asyncio.sleep(0.4)
        assert [number for _, number in handled] == [0, 1, 2]
        await asyncio.sleep(0.2)
        assert [number for _, number in handled] == ([0, 1, 2] if way == "request" else [0, 1, 2, 3])
        await asyncio.sleep(0.5)
        assert [number for _, number in handled] == ([0, 1, 2] if way == "request" else [0, 1, 2, 3, 4])


async def test_a_message_that_waits_is_handled_when_its_peer_goes_and_when_the_application_ends() -> None:
    extension, handled = make(rate=0.001, burst=1)
    transport = ScriptedTransport()
    async with Application(extension, transport=transport, store=":memory:", session=True) as app:
        transport.connect_peer(ALICE)
        transport.connect_peer(BOB)
        began = asyncio.get_running_loop().time()
        for node_id in (ALICE, BOB):
            for number in range(2):
                transport.receive(node_id, b"\x8c\x01" + number.to_bytes(8, "big"))
        await asyncio.sleep(1)
        assert [number for _, number in handled] == [0, 0]
        transport.lose_peer(ALICE)
        await until(lambda: len(handled) == 3)
        assert [peer.node_id for peer in app.peers] == [BOB]
    assert [number for _, number in handled] == [0, 0, 1, 1]
    assert asyncio.get_running_loop().time() - began < 500, "nothing waits for the rate at the end"
    assert app.counters.dropped == {}


async def test_who_waits_for_a_rate_does_not_hang(caplog: pytest.LogCaptureFixture) -> None:
    extension = Extension("shop", version="1.0")
    ended: list[int] = []

    @extension.on(Ask, rate=0.05, burst=1)
    async def ask(context: Context, message: Ask) -> None:
        await asyncio.sleep(5)
        ended.append(message.number)

    transport = ScriptedTransport()
    async with Application(extension, transport=transport, session=False):
        transport.connect_peer(ALICE)
        for number in range(2):
            transport.receive(ALICE, b"\x8c\x01" + number.to_bytes(8, "big"))
        await asyncio.sleep(30)
    assert ended == [0, 1]
    assert "has not ended" not in caplog.text


async def test_reliable_messages_beyond_it_wait() -> None:
    server, handled = make(rate=2, burst=2)
    async with app_pair(MemoryNetwork())(server, make()[0]) as (app, client):
        peer = client.peers[0]
        receipts = [await peer.deliver(Note(number=number)) for number in range(4)]
        for receipt in receipts:
            await receipt.delivered()
        times = [time for time, _ in handled]
        assert [number for _, number in handled] == [0, 1, 2, 3]
        assert [round(later - times[0], 1) for later in times[2:]] == [0.5, 1.0]
        assert app.counters_of("shop").throttled == {"rate": 2}


async def test_the_extension_s_own_limits_hold_besides() -> None:
    server, _ = make(Limits(messages_per_second=2), rate=5)
    async with app_pair(MemoryNetwork())(server, make()[0]) as (app, client):
        peer = client.peers[0]
        for number in range(2):
            await peer.request(Ask(number=number), Answer)
        with pytest.raises(RemoteFailure, match=r"messages_per_second is 2"):
            await peer.request(Ask(number=3), Answer)
        assert app.counters_of("shop").refused == {"messages_per_second": 1}


async def test_a_stream_counts_once() -> None:
    extension = Extension("shop", version="1.0")

    @extension.on(Ask, rate=1)
    async def ask(context: Context, message: Ask) -> AsyncIterator[Answer]:
        for number in range(5):
            yield Answer(number=number)

    async with app_pair(MemoryNetwork())(extension) as (_, client):
        peer = client.peers[0]
        assert len([part async for part in peer.stream(Ask(number=1), Answer)]) == 5
        with pytest.raises(RemoteFailure, match=r"accepts no more Ask"):
            await anext(peer.stream(Ask(number=1), Answer))


async def test_handlers_without_one_are_not_metered() -> None:
    app = Application(make(rate=1)[0], transport=ScriptedTransport(), store=":memory:")
    async with app:
        routes = app._running().core.routes
        assert routes[b"\x8c\x01"].access is not None
        assert routes[b"\x8c\x03"].access is None
        assert not routes[b"\x8c\x03"].slow
    async with Application(make()[0], transport=ScriptedTransport(), store=":memory:") as app:
        assert app._running().core.access == {}


@pytest.mark.parametrize(("given", "text"), [
    ({"rate": 0}, r"rate should be messages per second, more than 0, not 0$"),
    ({"rate": -1.5}, r"rate should be messages per second, more than 0, not -1.5$"),
    ({"rate": True}, r"rate should be messages per second, more than 0, not True$"),
    ({"rate": "5/s"}, r"rate should be messages per second, more than 0, not '5/s'$"),
    ({"rate": float("inf")}, r"rate should be messages per second, more than 0, not inf$"),
    ({"rate": 10**5000}, r"rate should be messages per second, more than 0, not a number of 16610 bits"),
    ({"rate": 5, "burst": 10**400}, r"burst should be a number of messages, 1 or more, not 1000"),
    ({"rate": 5, "burst": 0.5}, r"burst should be a number of messages, 1 or more, not 0.5$"),
    ({"rate": 5, "burst": None}, None),
    ({"burst": 5}, r"burst should come with a rate, the messages per second after it$"),
])  # fmt: skip
def test_what_is_no_rate_is_refused(given: dict[str, Any], text: str | None) -> None:
    if text is None:
        make(**given)
        return
    with pytest.raises(ExtensionError, match=rf"make.<locals>.ask, handler of Ask 0x8c01: {text}"):
        make(**given)
