"""What peers who have gone may leave behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from oddwire.app.context import Peer
from oddwire.app.dispatch import departed_peers
from oddwire.app.dispatch.departed_peers import DepartedPeers
from oddwire.app.dispatch.peer_queue import PeerQueue
from oddwire.proto.keys import NodeId
from oddwire.session.peer.reassembly import STANDSTILL
from oddwire.transports.base import PeerInfo

QUEUES, MOST = 3, 4


class Dispatcher:
    """As much of a loop, the back-pressure and the workers as is asked: a clock to set, and what became of queues."""

    def __init__(self) -> None:
        self.loop = self
        self.now = 0.0
        self.dropped: list[PeerQueue] = []
        self.waked: list[PeerQueue] = []

    def time(self) -> float:
        return self.now

    def drop(self, queue: PeerQueue, why: str) -> int:
        assert why == "gone"
        self.dropped.append(queue)
        return queue.held // 10

    def wake(self, queue: PeerQueue) -> None:
        self.waked.append(queue)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {"_QUEUES": QUEUES, "_BYTES": 1000}.items():
        monkeypatch.setattr(departed_peers, name, value)
    return


@pytest.fixture
def dispatcher() -> Any:
    return Dispatcher()


@pytest.fixture
def departed(dispatcher: Any) -> DepartedPeers:
    return DepartedPeers(dispatcher, dispatcher, dispatcher)


def queue(number: int, held: int = 0) -> PeerQueue:
    node_id, messenger = NodeId(b"\x02" + bytes([number]) * 32), None
    made = PeerQueue(Peer(messenger, node_id), PeerInfo(node_id=node_id), 1, False)  # type: ignore[arg-type]
    made.held = held
    return made


def test_so_many_stay_and_the_oldest_go_when_they_have_been_there_for_long(
    dispatcher: Dispatcher, departed: DepartedPeers
) -> None:
    queues = [queue(number, held=10) for number in range(QUEUES + 1)]
    for each in queues:
        departed.add(each)
    assert len(departed) == QUEUES + 1, "none has been there for long"
    dispatcher.now = STANDSTILL
    departed.add(last := queue(99))
    assert len(departed) == QUEUES
    assert dispatcher.dropped == queues[:2]
    assert all(each.abandoned for each in queues[:2])
    assert not last.abandoned


def test_four_times_as_many_stay_in_no_case(dispatcher: Dispatcher, departed: DepartedPeers) -> None:
    for number in range(MOST * QUEUES + 1):
        departed.add(queue(number))
    assert len(departed) == MOST * QUEUES
    assert len(dispatcher.dropped) == 1


def test_what_waits_is_bounded_too(dispatcher: Dispatcher, departed: DepartedPeers) -> None:
    departed.add(large := queue(1, held=4001))
    assert dispatcher.dropped == [large]
    departed.add(queue(2, held=600))
    departed.add(back := queue(3, held=600))
    departed.remove(back)
    dispatcher.now = STANDSTILL
    departed.add(queue(4, held=400))
    assert len(departed) == 2, "what is forgotten does not count"


def test_a_peer_that_leaves_twice_counts_once(departed: DepartedPeers) -> None:
    each = queue(1, held=600)
    for _ in range(3):
        departed.add(each)
    assert len(departed) == 1
    departed.remove(each)
    departed.remove(each)
    assert len(departed) == 0


async def test_handlers_of_who_is_given_up_are_cancelled_and_the_farewell_follows(
    dispatcher: Dispatcher, departed: DepartedPeers, caplog: pytest.LogCaptureFixture
) -> None:
    busy = queue(1, held=5000)
    worker, detached = (asyncio.ensure_future(asyncio.sleep(3600)) for _ in range(2))
    busy.worker, busy.wake = worker, None
    busy.detached.add(detached)
    departed.add(busy)
    await asyncio.wait([worker, detached])
    await asyncio.sleep(0)
    assert worker.cancelled()
    assert detached.cancelled()
    assert dispatcher.waked == [busy]
    assert "500 messages of " in caplog.text
    assert "and 2 handlers cancelled: others need the room" in caplog.text


def test_nothing_is_said_of_who_leaves_nothing(departed: DepartedPeers, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(MOST * QUEUES + 1):
        departed.add(queue(number))
    assert caplog.text == ""
