"""What the messages of peers may take in memory while they wait or are handled, for one peer and for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from oddwire import (
    Application,
    Context,
    Extension,
    Limits,
    MemoryNetwork,
    Message,
    NodeId,
    Peer,
    QuotaExceeded,
    RemoteFailure,
    describe,
    message,
    subtype,
)
from oddwire.app.room import LARGE, Room
from oddwire.testing import ScriptedTransport

ALICE, BOB = NodeId("02" + "aa" * 32), NodeId("03" + "bb" * 32)


@subtype
class Nothing:
    pass


@message(0x8CE1)
class Note(Message):
    body: bytes


@message(0x8CE3)
class Many(Message):
    items: list[Nothing]


@message(0x8CE9)
class Pile(Message):
    items: list[Nothing]


@message(0x8CE5)
class Ask(Message):
    body: bytes = b""
    items: list[Nothing] | None = None


@message(0x8CE7)
class Answer(Message):
    pass


class Shop:
    """An extension whose handlers wait until they are let go."""

    def __init__(self) -> None:
        self.extension = Extension("shop", version="1.0")
        self.go = asyncio.Event()
        self.began = 0

        @self.extension.on(Note)
        async def note(context: Context, note: Note) -> None:
            await self._work()

        @self.extension.on(Pile)
        async def pile(context: Context, pile: Pile) -> None:
            await self._work()

        @self.extension.on(Many, concurrent=True)
        async def many(context: Context, many: Many) -> None:
            await self._work()

        @self.extension.on(Ask)
        async def ask(context: Context, ask: Ask) -> Answer:
            await self._work()
            return Answer()

    async def _work(self) -> None:
        self.began += 1
        await self.go.wait()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
def shop() -> Shop:
    return Shop()


def encoded(app: Application, what: Message) -> bytes:
    return app.registry.encode(what)


async def test_a_queue_counts_what_messages_decode_to(shop: Shop) -> None:
    transport = ScriptedTransport()
    async with Application(shop.extension, transport=transport, grace=0.0) as app:
        transport.connect_peer(ALICE)
        payload = encoded(app, Many(items=[Nothing()] * 30_000))
        assert len(payload) < 40_000
        assert not transport._paused
        transport.receive(ALICE, encoded(app, Note(body=b"first")))
        transport.receive(ALICE, payload)
        assert ALICE in transport._paused  # 30 KB that take over a megabyte
        shop.go.set()
        await until(lambda: ALICE not in transport._paused)


async def test_when_there_is_no_room_each_peer_has_one_message_at_a_time(shop: Shop) -> None:
    transport = ScriptedTransport()
    limits = Limits(total_message_bytes=100_000)
    async with Application(shop.extension, transport=transport, limits=limits, grace=0.0) as app:
        transport.connect_peer(ALICE)
        transport.connect_peer(BOB)
        large = encoded(app, Pile(items=[Nothing()] * 2_000))
        transport.receive(ALICE, large)
        assert not transport._paused
        transport.receive(ALICE, large)
        assert ALICE in transport._paused
        transport.receive(BOB, encoded(app, Note(body=b"small")))  # he has nothing that is large
        assert BOB not in transport._paused
        transport.receive(BOB, large)
        assert BOB in transport._paused
        assert app.counters.throttled == {"total_message_bytes": 2}
        shop.go.set()
        await until(lambda: not transport._paused)
        assert shop.began == 4


async def test_concurrent_handlers_count_as_long_as_they_run(shop: Shop) -> None:
    transport = ScriptedTransport()
    limits = Limits(total_message_bytes=2_000_000)
    async with Application(shop.extension, transport=transport, limits=limits, grace=0.0) as app:
        transport.connect_peer(ALICE)
        payload = encoded(app, Many(items=[Nothing()] * 30_000))
        for _ in range(2):
            transport.receive(ALICE, payload)
        await until(lambda: shop.began == 2)
        assert ALICE in transport._paused
        shop.go.set()
        await until(lambda: ALICE not in transport._paused)


@pytest.fixture
async def pair(shop: Shop) -> AsyncIterator[Callable[[Limits], object]]:
    network = MemoryNetwork()
    stack = []

    async def meet(limits: Limits) -> tuple[Application, Peer]:
        there = Application(shop.extension, transport=network.transport(), limits=limits, grace=0.0)
        asking = Extension("shop", version="1.0")
        for kind in (Ask, Answer, Note):
            asking.register(kind)
        here = Application(asking, transport=network.transport())
        for app in (there, here):
            stack.append(app)
            await app.start()
        peer = await here.connect(there.uris[0])
        await peer.introduced()
        return there, peer

    yield meet
    for app in reversed(stack):
        await app.aclose()


async def outcome(asking: asyncio.Task[Answer]) -> str:
    try:
        return describe(await asking)
    except RemoteFailure as error:
        return error.text


@pytest.mark.parametrize("ask", [Ask(body=bytes(100_000)), Ask(items=[Nothing()] * 2_500)], ids=["bytes", "objects"])
async def test_requests_of_a_peer_have_bytes_of_their_own(pair, shop: Shop, ask: Ask) -> None:
    there, peer = await pair(Limits(request_bytes=250_000))
    asking = [asyncio.create_task(peer.request(ask, Answer)) for _ in range(4)]
    await until(lambda: sum(task.done() for task in asking) >= 2)
    assert shop.began == 2
    small = asyncio.create_task(peer.request(Ask(), Answer))
    await until(lambda: shop.began == 3)
    shop.go.set()
    outcomes = sorted([await outcome(task) for task in asking])
    assert [text.startswith("Answer 0x8ce7") for text in outcomes] == [True, True, False, False]
    assert outcomes[-1] == "requests and messages of a peer that are handled at once take 250000 bytes at most"
    assert (await small) == Answer()
    assert there.counters.refused == {"request_bytes": 2}
    assert await peer.request(ask, Answer) == Answer()  # all is given back


async def test_one_request_may_be_larger_than_all_of_them(pair, shop: Shop) -> None:
    _, peer = await pair(Limits(request_bytes=50_000))
    shop.go.set()
    for _ in range(3):
        assert await peer.request(Ask(body=bytes(200_000)), Answer) == Answer()


async def test_what_is_cancelled_is_given_back(pair, shop: Shop) -> None:
    there, peer = await pair(Limits(request_bytes=250_000, total_message_bytes=10_000_000))
    for _ in range(3):
        asking = [asyncio.create_task(peer.request(Ask(body=bytes(100_000)), Answer)) for _ in range(2)]
        began = shop.began
        await until(lambda began=began: shop.began == began + 2)
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
        await until(lambda: there.peers[0]._messenger.room.held == 0)
    assert there.counters.refused == {}


async def test_transfers_and_large_requests_wait_for_room_that_others_took(pair, shop: Shop) -> None:
    _, peer = await pair(Limits(total_message_bytes=150_000))
    asking = [asyncio.create_task(peer.request(Ask(body=bytes(90_000)), Answer)) for _ in range(2)]
    await until(lambda: shop.began == 2)
    with pytest.raises((RemoteFailure, QuotaExceeded)) as caught:
        async with asyncio.timeout(30):
            await peer.request(Ask(body=bytes(90_000)), Answer)
    assert "no room for more messages of this peer" in str(caught.value)
    shop.go.set()
    assert [await task for task in asking] == [Answer(), Answer()]
    assert await peer.request(Ask(body=bytes(90_000)), Answer) == Answer()


def test_room_is_for_what_is_large() -> None:
    room = Room(LARGE)
    assert not room.full
    room.held += LARGE
    assert room.full
