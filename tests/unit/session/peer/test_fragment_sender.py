"""How large payloads share the way to a peer; tests/unit/app/test_requests.py has what authors see of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oddwire import Application, Context, Extension, Message, message
from oddwire.errors import ConnectionClosed, NotSupported, PeerNotConnected, QuotaExceeded, RemoteFailure
from oddwire.proto.keys import NodeId
from oddwire.session.wire.frame_types import Cancel, Code, Failure, Fragment, Hello, HelloFlag, Scope, Spoken
from oddwire.session.wire.frames import decode, encode
from oddwire.testing.sinks import RecordingSink
from oddwire.transports.base import Manifest
from oddwire.transports.memory import MemoryNetwork

ALICE = NodeId("02" + "aa" * 32)


def pieces(stage: Any) -> list[tuple[int, int]]:
    return [(frame.transfer, frame.piece) for frame in stage.sent() if isinstance(frame, Fragment)]


async def test_pieces_are_as_large_as_can_be(stage: Any) -> None:
    stage = stage()
    link = await stage.meet(assembles=1 << 20)
    payload = bytes(range(256)) * 1000
    await link.large.send(payload)
    assert [len(sent) for _, sent in stage.transport.sent] == [65535, 65535, 65535, len(payload) - 3 * 65498 + 37]
    assert b"".join(bytes(frame.content) for frame in stage.sent()) == payload
    stage.session.close()


async def test_what_the_peer_does_not_take_is_not_begun(stage: Any) -> None:
    stage = stage()
    link = await stage.meet()
    with pytest.raises(NotSupported, match="takes no message of more than 65535 bytes"):
        await link.send(bytes(70_000))
    stage.say(Hello(0, 1, 1, program=10, assembles=80_000))
    with pytest.raises(QuotaExceeded) as caught:
        await link.send(bytes(80_001))
    assert caught.value.limit == "assembles"
    await link.send(bytes(80_000))
    assert pieces(stage) == [(0, 0), (0, 1)]
    stage.session.close()


async def test_together_they_stay_within_what_the_peer_holds(stage: Any) -> None:
    stage = stage()
    link = await stage.meet(assembles=250_000)
    stage.transport.stick()
    tasks = [asyncio.create_task(link.large.send(bytes(100_000))) for _ in range(6)]
    await stage.idle()
    assert link.large._flying == 200_000
    stage.transport.stuck.set()
    await asyncio.gather(*tasks)
    assert sorted({transfer for transfer, _ in pieces(stage)}) == list(range(6))
    begun = [transfer for transfer, piece in pieces(stage) if piece == 0]
    assert begun == sorted(begun)  # ids ascend on the wire
    assert link.large._flying == 0
    stage.session.close()


async def test_a_few_at_once_and_the_others_in_their_order(stage: Any) -> None:
    stage = stage()
    link = await stage.meet(assembles=1 << 24)
    stage.transport.stick()
    order: list[int] = []

    async def send(number: int) -> None:
        await link.large.send(bytes(70_000))
        order.append(number)

    tasks = [asyncio.create_task(send(number)) for number in range(10)]
    await stage.idle()
    assert link.large._count == 4
    tasks[6].cancel()
    stage.transport.stuck.set()
    await asyncio.wait(tasks)
    assert sorted(order) == [0, 1, 2, 3, 4, 5, 7, 8, 9]
    assert not [frame for frame in stage.sent() if isinstance(frame, Cancel)]  # it had not begun
    stage.session.close()


async def test_given_up_midway_the_peer_is_told(stage: Any) -> None:
    stage = stage()
    link = await stage.meet(assembles=1 << 24)
    stage.transport.stick()
    task = asyncio.create_task(link.large.send(bytes(200_000)))
    await stage.idle()
    task.cancel()
    await asyncio.wait([task])
    stage.transport.stuck.set()
    await stage.idle()
    assert stage.sent() == [Cancel(Scope.TRANSFER, 0)]
    stage.session.close()


async def test_a_refusal_ends_it_and_one_that_comes_late_is_told_too(stage: Any) -> None:
    stage = stage()
    link = await stage.meet(assembles=1 << 24)
    told: list[Failure] = []
    stage.transport.stick()
    task = asyncio.create_task(link.large.send(bytes(200_000), failed=told.append))
    await stage.idle()
    refusal = Failure(Scope.TRANSFER, 0, Code.QUOTA, "no room")
    stage.say(refusal)
    stage.transport.stuck.set()
    with pytest.raises(RemoteFailure, match="no room"):
        await task
    assert told == [refusal]
    assert len(pieces(stage)) == 1
    await link.large.send(bytes(200_000), failed=told.append)
    late = refusal._replace(id=1)
    stage.say(late)
    stage.say(late)
    assert told == [refusal, late]
    stage.session.close()


async def test_it_ends_with_the_connection(stage: Any) -> None:
    stage = stage()
    link = await stage.meet(assembles=1 << 24)
    stage.transport.lose_peer(ALICE)
    with pytest.raises(PeerNotConnected):
        await link.large.send(bytes(200_000))
    stage.session.close()


@message(0x8CB5, codec="raw")
class Large(Message):
    data: bytes


extension = Extension("large", version="1.0")


@extension.on(Large)
async def ignore(context: Context, message: Large) -> None:
    pass


def fragments(sink: RecordingSink) -> list[Fragment]:
    frames = [decode(payload) for payload in sink.payloads]
    return [frame for frame in frames if isinstance(frame, Fragment)]


async def test_a_peer_that_restarts_gets_nothing_more_of_what_was_on_its_way() -> None:
    network, sink = MemoryNetwork(), RecordingSink()
    other = network.transport()
    await other.open(Manifest(), sink)
    hello = Hello(HelloFlag.ANSWER, 1, 1, 1, (Spoken("large", ("1.0",), (0x8CB5,)),), 1 << 24)
    async with Application(extension, transport=network.transport()) as app:
        await other.connect(app.uris[0])
        await other.send(app.node_id, encode(hello, 1))
        peer = app.peer(other.node_id)
        assert await peer.wait_for_hello()
        other.pause(app.node_id)  # the queue between them takes far less than what follows
        sends = [asyncio.create_task(peer.send(Large(data=bytes(5_000_000)))) for _ in range(2)]
        await asyncio.sleep(0)
        assert not any(send.done() for send in sends)
        await other.send(app.node_id, encode(hello, 2))
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
