"""What the messages of peers may take in memory while they wait or are handled, for one peer and for all."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.support.waiting import until

from oddwire import (
    Application,
    Context,
    Extension,
    Limits,
    Message,
    NodeId,
    Peer,
    QuotaExceeded,
    RemoteFailure,
    describe,
    message,
    subtype,
)
from oddwire.app.dispatch.peer_queue import LONG
from oddwire.app.limits.memory_budget import LARGE, MemoryBudget, MemoryUse
from oddwire.session.wire.frame_types import Code, Failure, Hello, Request
from oddwire.session.wire.frames import decode, encode
from oddwire.testing import ScriptedTransport
from oddwire.transports import MemoryNetwork

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
        await until(lambda: not transport._paused and shop.began == 4)  # a peer is read again before its last begins


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
        await peer.wait_for_hello()
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
        await until(lambda: there.peers[0]._messenger._core.memory_budget.held == 0)
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
    room = MemoryBudget(LARGE)
    assert not room.full
    room.held += LARGE
    assert room.full


# Requests that are small, replies that nobody reads, queues, and those who have gone


def dispatcher_of(app: Application) -> Any:
    return app._running()


def hold(transport: ScriptedTransport, node_id: NodeId, number: int, ask: bytes) -> None:
    greeting = next(payload for peer, payload in transport.sent if peer == node_id)
    address = int.from_bytes(greeting[7:11], "big")
    transport.receive(node_id, encode(Request(number, 0, ask), address << 32 | 1))


async def meet(transport: ScriptedTransport, node_id: NodeId) -> None:
    transport.connect_peer(node_id)
    transport.receive(node_id, encode(Hello(0, 1, 1, 7, (), 1 << 25), 1))
    for _ in range(5):
        await asyncio.sleep(0)


def failures(transport: ScriptedTransport, node_id: NodeId) -> list[Failure]:
    frames = [decode(payload) for peer, payload in transport.sent if peer == node_id]
    return [frame for frame in frames if isinstance(frame, Failure)]


async def test_small_requests_of_all_peers_count_together_and_each_may_have_a_few(shop: Shop) -> None:
    transport = ScriptedTransport()
    limits = Limits(total_message_bytes=200_000)
    async with Application(shop.extension, transport=transport, limits=limits, grace=0.0) as app:
        ask = encoded(app, Ask(body=bytes(30_000)))
        for node_id in (ALICE, BOB):
            await meet(transport, node_id)
            for number in range(10):
                hold(transport, node_id, number, ask)
        room = dispatcher_of(app).core.memory_budget
        await until(lambda: shop.began == 9)
        assert room.held > 200_000
        # Alice's seven fill it, and Bob has what anybody has: two, of 32 KB each
        await until(lambda: len(failures(transport, BOB)) == 8)
        assert {failure.code for failure in failures(transport, BOB)} == {Code.QUOTA}
        assert app.counters.refused == {"total_message_bytes": 11}
        shop.go.set()
        await until(lambda: room.held == 0)
        hold(transport, ALICE, 11, ask)
        await until(lambda: shop.began == 10)


async def test_at_twice_the_limit_room_is_taken_from_who_has_most(shop: Shop) -> None:
    transport = ScriptedTransport()
    limits = Limits(total_message_bytes=200_000, faults_per_second=1e9)
    async with Application(shop.extension, transport=transport, limits=limits, grace=0.0) as app:
        for node_id in (ALICE, BOB):
            await meet(transport, node_id)
        large, larger = (encoded(app, Ask(items=[Nothing()] * count)) for count in (2_000, 7_000))
        hold(transport, ALICE, 1, larger)
        await until(lambda: shop.began == 1)
        room, queues = dispatcher_of(app).core.memory_budget, dispatcher_of(app).core.queues
        assert room.full
        assert queues[ALICE].requested > 3 * 66_000
        hold(transport, BOB, 1, large)  # one at a time, though there is no room
        await until(lambda: shop.began == 2)
        hold(transport, BOB, 2, large)
        await until(lambda: failures(transport, BOB))
        assert not failures(transport, ALICE)
        carol = NodeId("02" + "cc" * 32)
        await meet(transport, carol)
        hold(transport, carol, 1, large)
        await until(lambda: shop.began == 3)
        assert [(failure.id, failure.code) for failure in failures(transport, ALICE)] == [(1, Code.QUOTA)]
        assert queues[ALICE].requested == 0
        assert room.held <= 400_000
        shop.go.set()
        await until(lambda: room.held == 0)


class Fake:
    """What a room knows of a queue."""

    def __init__(self) -> None:
        self.requested = self.replies = 0


def test_a_room_takes_from_the_largest_and_else_from_the_oldest_that_has_been_there_for_long() -> None:
    room, evicted = MemoryBudget(100), list[str]()
    queues = {name: Fake() for name in "abc"}

    def take(name: str, weight: int, now: float) -> MemoryUse | None:
        return room.take(queues[name], weight, lambda: evicted.append(name), now)  # type: ignore[arg-type]

    first, second = take("a", 100, 0.0), take("b", 100, 1.0)
    assert first is not None
    assert second is not None
    assert room.closed
    assert take("c", 100, 4.0) is None, "as much as each of the others has, who came first"
    assert evicted == []
    assert take("c", 50, 4.0) is not None
    assert evicted == ["a"]
    first.end()  # again
    assert (room.held, queues["a"].requested) == (150, 0)
    assert take("a", 100, 7.0) is not None
    assert evicted == ["a", "b"]
    assert take("a", 500, 12.0) is not None, "one may be larger than all of the room"
    assert evicted == ["a", "b", "c", "a"]
    assert room.held == 500


@message(0x8CEB)
class Give(Message):
    count: int


class Library:
    """Answers with as many bytes as are asked for."""

    def __init__(self) -> None:
        self.extension = Extension("library", version="1.0")
        self.began = 0

        @self.extension.on(Give)
        async def give(context: Context, give: Give) -> Note:
            self.began += 1
            return Note(body=bytes(give.count))


async def test_replies_that_a_peer_does_not_read_are_so_many_bytes() -> None:
    transport, library = ScriptedTransport(), Library()
    limits = Limits(reply_bytes=250_000)
    async with Application(library.extension, transport=transport, limits=limits, grace=0.0) as app:
        await meet(transport, ALICE)
        room, queue = dispatcher_of(app).core.memory_budget, dispatcher_of(app).core.queues[ALICE]
        transport.stick()
        for number in range(5):
            hold(transport, ALICE, number, encoded(app, Give(count=100_000)))
        await until(lambda: app.counters.refused["reply_bytes"] == 3)
        assert 200_000 < queue.replies < 250_000
        assert room.held >= queue.replies
        hold(transport, ALICE, 9, encoded(app, Give(count=1_000)))
        await until(lambda: library.began == 6)
        transport.stuck.set()
        await until(lambda: not queue.replies)
        await until(lambda: room.held == 0)
        assert [failure.code for failure in failures(transport, ALICE)] == [Code.QUOTA] * 3
        for number in range(10, 13):  # one after the other, each may be larger than that
            hold(transport, ALICE, number, encoded(app, Give(count=400_000)))
            await until(functools.partial(lambda number: library.began == number - 3 and not queue.replies, number))
        assert len(failures(transport, ALICE)) == 3


async def test_a_reply_that_waits_makes_room_for_others() -> None:
    transport, library = ScriptedTransport(), Library()
    limits = Limits(total_message_bytes=200_000)
    async with Application(library.extension, transport=transport, limits=limits, grace=0.0) as app:
        for node_id in (ALICE, BOB):
            await meet(transport, node_id)
        room, queues = dispatcher_of(app).core.memory_budget, dispatcher_of(app).core.queues
        transport.stick()
        for number in range(3):
            hold(transport, ALICE, number, encoded(app, Give(count=120_000)))
        await until(lambda: queues[ALICE].replies > 350_000)
        hold(transport, BOB, 1, encoded(app, Give(count=120_000)))
        await until(lambda: queues[BOB].replies)
        assert queues[ALICE].replies < 250_000
        assert app.counters.refused == {"total_message_bytes": 1}
        transport.stuck.set()
        await until(lambda: room.held == 0)
        assert [failure.id for failure in failures(transport, ALICE)] == [0]
        assert failures(transport, BOB) == []


async def test_long_queues_count_together_and_are_short_when_there_is_no_room(shop: Shop) -> None:
    transport = ScriptedTransport()
    limits = Limits(total_message_bytes=300_000)
    async with Application(shop.extension, transport=transport, limits=limits, grace=0.0) as app:
        note = encoded(app, Note(body=bytes(10_000)))
        for node_id in (ALICE, BOB):
            transport.connect_peer(node_id)
            for _ in range(100):
                transport.receive(node_id, note)
        await until(lambda: shop.began == 2)
        room, queues = dispatcher_of(app).core.memory_budget, dispatcher_of(app).core.queues
        assert {ALICE, BOB} <= transport._paused
        assert 300_000 <= room.held <= 500_000
        assert queues[BOB].held < 2 * LONG
        assert app.counters.throttled["total_message_bytes"] >= 2
        shop.go.set()
        await until(lambda: shop.began == 200 and not transport._paused)
        await until(lambda: room.held == 0)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oddwire.app.dispatch.departed_peers.STANDSTILL", 0.0)


async def test_those_who_have_gone_leave_no_more_behind_than_they_may(
    shop: Shop, soon: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("oddwire.app.dispatch.departed_peers._BYTES", 200_000)
    transport = ScriptedTransport()
    async with Application(shop.extension, transport=transport, grace=0.0) as app:
        note = encoded(app, Note(body=bytes(10_000)))
        dispatcher = dispatcher_of(app)
        for node_id in (ALICE, BOB):
            transport.connect_peer(node_id)
            for _ in range(15):
                transport.receive(node_id, note)
            await until(lambda: shop.began)
            await asyncio.sleep(0.01)
            transport.lose_peer(node_id)
        assert app.counters.dropped == {"gone": 14}
        assert "14 messages of 02aaaa" in caplog.text
        assert "and 1 handlers cancelled" in caplog.text
        await until(lambda: ALICE not in dispatcher.core.queues)
        assert len(dispatcher.core.queues[BOB].waiting) >= 14
        shop.go.set()
        await until(lambda: not dispatcher.core.queues)
        assert shop.began == 16
        assert len(dispatcher._departed_peers) == 0
        assert dispatcher.core.memory_budget.held == 0


@pytest.mark.parametrize("concurrent", [False, True])
async def test_handlers_of_those_who_have_gone_are_so_many(
    shop: Shop, soon: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, concurrent: bool
) -> None:
    monkeypatch.setattr("oddwire.app.dispatch.departed_peers._QUEUES", 3)
    transport, left = ScriptedTransport(), list[NodeId]()

    @shop.extension.on_disconnect
    async def farewell(context: Context, reason: str) -> None:
        left.append(context.peer.node_id)

    async with Application(shop.extension, transport=transport, grace=0.0) as app:
        dispatcher = dispatcher_of(app)
        what = encoded(app, Many(items=[]) if concurrent else Note(body=b""))
        ids = [NodeId("02" + f"{number:02x}" * 32) for number in range(1, 11)]
        for number, node_id in enumerate(ids, 1):
            transport.connect_peer(node_id)
            transport.receive(node_id, what)
            await until(functools.partial(lambda number: shop.began == number, number))
            transport.lose_peer(node_id)
        expected = ids if concurrent else ids[:7]
        await until(lambda: left == expected)
        assert "failed" not in caplog.text
        if not concurrent:
            await until(lambda: len(dispatcher.core.queues) == 3)
            # One that is back is none of them, and its messages are handled
            transport.connect_peer(ids[7])
            assert len(dispatcher._departed_peers) == 2
        shop.go.set()
        await until(lambda: len(left) >= (9 if not concurrent else 10))
        assert app.counters.dropped.get("gone", 0) == 0


async def test_many_who_go_at_once_lose_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oddwire.app.dispatch.departed_peers._QUEUES", 3)
    transport = ScriptedTransport()
    async with Application(shop.extension, transport=transport, grace=0.0) as app:
        what = encoded(app, Note(body=b""))
        ids = [NodeId("02" + f"{number:02x}" * 32) for number in range(1, 11)]
        for node_id in ids:
            transport.connect_peer(node_id)
            transport.receive(node_id, what)
            transport.receive(node_id, what)
        for node_id in ids:
            transport.lose_peer(node_id)
        shop.go.set()
        await until(lambda: shop.began == 20)
        assert app.counters.dropped == {}
