"""What is sent: batches, order, room, and what is acknowledged when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support.waiting import until

from oddwire.errors import ConnectionClosed, EncodeError, PayloadTooLarge, PeerNotConnected
from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo
from oddwire.transports.nats.outbound import MOST_WAITING, Outbound
from oddwire.transports.nats.packing import MAX_BATCH, Accepted, MalformedBatch, Outgoing
from oddwire.transports.nats.peer_connections import PeerConnection, StreamMessage

ALICE = NodeId("02" + "aa" * 32)
BOB = NodeId("03" + "bb" * 32)


class Post:
    """An `Outbound` whose requests a test answers one by one."""

    def __init__(self) -> None:
        self.asked: list[Outgoing] = []
        self.failures: list[tuple[str, str]] = []
        self.done: list[int] = []
        self.outbound = Outbound(
            3, 7, 5, ask=self._ask, failed=self._failed, acknowledge=lambda message: self.done.append(message.sequence)
        )
        self._answer: asyncio.Future[bytes] | None = None
        self.running = asyncio.ensure_future(self.outbound.run())

    async def _ask(self, raw: bytes) -> bytes:
        self.asked.append(Outgoing.unpack(raw))
        self._answer = asyncio.get_running_loop().create_future()
        return await self._answer

    def _failed(self, status: str, text: str) -> None:
        self.failures.append((status, text))

    @property
    def payloads(self) -> list[tuple[int, bytes]]:
        """Of the last request."""
        return [(conn, payload) for conn, payload in self.asked[-1].payloads]

    async def request(self) -> list[tuple[int, bytes]]:
        """Wait for a request."""
        await until(lambda: self._answer is not None)
        return self.payloads

    async def answer(self, **values: object) -> None:
        """Answer it, and let that be handled."""
        await self.request()
        assert self._answer is not None
        self._answer.set_result(Accepted(**values).pack())  # type: ignore[arg-type]
        self._answer = None
        for _ in range(5):
            await asyncio.sleep(0)

    def handle(self, sequence: int, *connections: PeerConnection) -> None:
        message = StreamMessage(sequence, 5)
        message.peers = (*(connection.peer for connection in connections),)
        self.outbound.handled(message, [*connections])


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    made = Post()
    yield made
    made.outbound.close("the end")
    made.running.cancel()
    await asyncio.wait([made.running])


@pytest.fixture
def alice() -> PeerConnection:
    return PeerConnection(1, PeerInfo(node_id=ALICE), 1)


@pytest.fixture
def bob() -> PeerConnection:
    return PeerConnection(2, PeerInfo(node_id=BOB), 1)


def note(number: int, size: int = 4) -> bytes:
    return b"\x8c\x05" + number.to_bytes(2, "big") + bytes(size - 4)


async def test_batches_are_numbered_and_one_is_under_way(
    post: Post, alice: PeerConnection, bob: PeerConnection
) -> None:
    assert post.outbound.send_nowait(alice, note(1))
    await post.outbound.send(bob, note(2))
    assert await post.request() == [(1, note(1)), (2, note(2))]
    assert post.asked[0][:4] == (3, 7, 5, 1)
    await post.outbound.send(alice, note(3))
    assert len(post.asked) == 1
    await post.answer()
    assert await post.request() == [(1, note(3))]
    assert post.asked[1].batch == 2


async def test_a_batch_has_a_size(post: Post, alice: PeerConnection) -> None:
    for number in range(12):
        await post.outbound.send(alice, note(number, 60_000))
    await post.answer()
    sizes = [sum(len(payload) for _, payload in post.asked[0].payloads)]
    await post.answer()
    sizes.append(sum(len(payload) for _, payload in post.asked[1].payloads))
    assert all(MAX_BATCH <= size < MAX_BATCH + 65_536 for size in sizes)


@pytest.mark.parametrize(("size", "error"), [(0, EncodeError), (1, EncodeError), (65_536, PayloadTooLarge)])
async def test_lengths(post: Post, alice: PeerConnection, size: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        await post.outbound.send(alice, bytes(size))


async def test_a_send_waits_above_a_mebibyte_in_turn_and_cancelled_is_not_sent(
    post: Post, alice: PeerConnection, bob: PeerConnection
) -> None:
    number = 0
    while post.outbound.send_nowait(alice, note(number, 60_000)):
        number += 1
    assert MOST_WAITING <= alice.size < MOST_WAITING + 61_000
    first, second, third = (asyncio.ensure_future(post.outbound.send(alice, note(900 + one))) for one in range(3))
    await asyncio.sleep(0)
    assert not post.outbound.send_nowait(alice, note(999)), "others were there before"
    assert post.outbound.send_nowait(bob, note(1))
    second.cancel()
    await asyncio.wait([second])
    while not first.done() or not third.done():
        await post.answer()
    while post.outbound._passed < post.outbound._appended:
        await post.answer()
    sent = [
        int.from_bytes(payload[2:4], "big") for batch in post.asked for conn, payload in batch.payloads if conn == 1
    ]
    assert sent == [*range(number), 900, 902]
    assert alice.size == 0


async def test_the_end_of_a_connection(post: Post, alice: PeerConnection, bob: PeerConnection) -> None:
    while post.outbound.send_nowait(alice, note(0, 60_000)):
        pass
    waiting = [asyncio.ensure_future(post.outbound.send(alice, note(one))) for one in range(2)]
    idle = asyncio.ensure_future(post.outbound.until_idle(alice))
    await post.request()
    alice.gone = "bye"
    post.outbound.over(alice, "bye")
    for task in waiting:
        with pytest.raises(ConnectionClosed, match="bye"):
            await task
    await idle
    with pytest.raises(PeerNotConnected):
        post.outbound.send_nowait(alice, note(1))
    post.outbound.send_nowait(bob, note(5))
    await post.answer()
    assert await post.request() == [(2, note(5))], "what waited for the other is dropped"
    await post.outbound.until_idle(alice)


async def test_a_message_waits_for_what_was_sent_before(post: Post, alice: PeerConnection, bob: PeerConnection) -> None:
    post.handle(1, alice)
    assert post.done == [1], "nothing was sent"
    await post.outbound.send(bob, note(1))
    post.handle(2, alice)
    await post.request()
    await post.outbound.send(alice, note(2))
    post.handle(3, alice)
    assert post.done == [1]
    await post.answer()
    assert post.done == [1, 2]
    draining = asyncio.ensure_future(post.outbound.drain())
    await post.answer()
    assert post.done == [1, 2, 3]
    await draining
    await post.outbound.drain()


async def test_who_is_full_keeps_its_own_messages_and_nobody_elses(
    post: Post, alice: PeerConnection, bob: PeerConnection
) -> None:
    await post.outbound.send(alice, note(1))
    await post.request()
    await post.outbound.send(alice, note(2))
    await post.outbound.send(bob, note(3))
    await post.outbound.send(alice, note(4))
    post.handle(1, alice)
    post.handle(2, bob)
    await post.answer(full=[1])
    assert await post.request() == [(2, note(3))]
    await post.outbound.send(alice, note(5))
    post.handle(3, alice, bob)
    await post.answer()
    assert post.done == [2]
    post.outbound.has_room(alice)
    post.outbound.has_room(alice)
    assert await post.request() == [(1, note(2)), (1, note(4)), (1, note(5))]
    assert post.done == [2]
    await post.answer()
    assert post.done == [2, 1, 3]


async def test_who_was_full_and_ends_keeps_nothing(post: Post, alice: PeerConnection) -> None:
    await post.outbound.send(alice, note(1))
    await post.answer(full=[1])
    await post.outbound.send(alice, note(2))
    post.handle(1, alice)
    assert post.done == []
    alice.gone = "bye"
    post.outbound.over(alice, "bye")
    assert post.done == [1]


async def test_room_that_comes_before_it_is_known_to_be_full(post: Post, alice: PeerConnection) -> None:
    await post.outbound.send(alice, note(1))
    await post.request()
    post.outbound.has_room(alice)
    await post.answer(full=[1])
    await post.outbound.send(alice, note(2))
    assert await post.request() == [(1, note(2))]


async def test_who_was_full_for_a_former_owner_gets_it_again(
    post: Post, alice: PeerConnection, bob: PeerConnection
) -> None:
    await post.outbound.send(alice, note(1))
    await post.outbound.send(bob, note(2))
    await post.outbound.send(alice, note(3))
    await post.request()
    await post.outbound.send(alice, note(4))
    post.handle(1, alice)
    await post.answer(refused=[(0, "full", ""), (2, "full", "")])
    assert post.done == []
    post.outbound.has_room(alice)
    assert await post.request() == [(1, note(1)), (1, note(3)), (1, note(4))]
    post.outbound.has_room(alice)
    await post.answer(refused=[(0, "full", ""), (1, "full", ""), (2, "full", "")])
    assert await post.request() == [(1, note(1)), (1, note(3)), (1, note(4))], "it has room already"
    await post.answer()
    assert post.done == [1]
    assert alice.size == 0


async def test_who_is_gone_at_the_gateway(post: Post, alice: PeerConnection) -> None:
    await post.outbound.send(alice, note(1))
    await post.request()
    await post.outbound.send(alice, note(2))
    post.handle(1, alice)
    draining = asyncio.ensure_future(post.outbound.drain())
    await post.answer(refused=[(0, "gone", ""), (5, "gone", "")])
    await draining
    assert alice.unreachable
    assert post.done == [1]
    assert len(post.asked) == 1


async def test_a_gateway_that_takes_nothing(post: Post, alice: PeerConnection) -> None:
    await post.outbound.send(alice, note(1))
    post.handle(1, alice)
    await post.answer(status="stale", text="term 9")
    assert post.failures == [("stale", "term 9")]
    assert post.done == []
    await post.running
    with pytest.raises(PeerNotConnected):
        await post.outbound.send(alice, note(2))
    await post.outbound.drain()


async def test_an_answer_that_is_none(post: Post, alice: PeerConnection) -> None:
    await post.outbound.send(alice, note(1))
    await post.request()
    assert post._answer is not None
    post._answer.set_result(b"\xc0")
    with pytest.raises(MalformedBatch):
        await post.running
