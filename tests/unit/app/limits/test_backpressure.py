"""When a peer is read later; test_memory_budget.py and test_dispatcher.py have it with applications."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from oddwire.app.dispatch.peer_queue import HIGH_WATER, LONG, LOW_WATER, PeerQueue
from oddwire.app.limits.backpressure import Backpressure
from oddwire.app.limits.memory_budget import LARGE, MemoryBudget
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Counters
from oddwire.testing import ScriptedTransport
from oddwire.transports.base import PeerInfo

ALICE = NodeId("02" + "aa" * 32)
LOOPS = ("jumping",)


class Scene:
    """A queue, and what paused and resumed its peer."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.transport = ScriptedTransport()
        loop = asyncio.get_running_loop()
        budget, counters = MemoryBudget(most), Counters()
        self.core = SimpleNamespace(
            transport=self.transport, memory_budget=budget, counters=counters, loop=loop, closing=False, queues={}
        )
        self.budget, self.counters = budget, counters
        self.backpressure = Backpressure(self.core)  # type: ignore[arg-type]
        peer: Any = SimpleNamespace(node_id=ALICE)
        self.queue = PeerQueue(peer, PeerInfo(node_id=ALICE, address="script"), 1, False)
        self.core.queues[ALICE] = self.queue

    @property
    def flow(self) -> list[str]:
        return [what for what, _ in self.transport.flow]

    def hold(self, weight: int) -> None:
        self.backpressure.hold(self.queue, weight)

    def drain(self, weight: int) -> None:
        self.queue.held -= weight
        if self.queue.paused:
            self.backpressure.resume_if_drained(self.queue)


async def test_a_full_queue_is_read_on_once_it_is_nearly_empty() -> None:
    scene = Scene()
    scene.hold(HIGH_WATER)
    assert scene.flow == []
    scene.hold(LONG + 1)  # from one look to the next it may grow by so much
    assert scene.flow == ["pause"]
    scene.drain(HIGH_WATER + LONG - LOW_WATER)
    assert scene.flow == ["pause"]
    scene.drain(1)
    assert scene.flow == ["pause", "resume"]
    assert scene.counters.throttled == {}


async def test_a_long_queue_counts_for_all_peers_and_is_full_when_there_is_no_room() -> None:
    scene = Scene(most=2 * LONG)
    scene.hold(LONG)
    assert scene.budget.held == 0
    scene.hold(1)
    assert (scene.budget.held, scene.flow) == (LONG + 1, [])
    scene.hold(LONG)
    scene.hold(1)
    assert scene.budget.held == 2 * LONG + 2
    assert scene.flow == ["pause"]
    assert scene.counters.throttled == {"total_message_bytes": 1}
    scene.drain(LONG + 2)
    assert scene.flow == ["pause", "resume"]
    scene.backpressure.recount(scene.queue)
    assert scene.budget.held == 0


async def test_a_large_message_that_takes_the_last_room_is_the_last_for_now() -> None:
    scene = Scene(most=LARGE)
    scene.backpressure.take(scene.queue, LARGE + 1)
    assert scene.flow == ["pause"]
    assert scene.backpressure.is_crowded(scene.queue)
    assert not scene.backpressure.is_crowded(None), "another may have one"
    scene.backpressure.release(scene.queue, LARGE + 1)
    assert scene.flow == ["pause", "resume"]
    assert (scene.budget.held, scene.queue.large) == (0, 0)


async def test_dropping_what_waits_gives_back_what_it_counted_for() -> None:
    scene = Scene()
    weight = LARGE + 1
    scene.queue.waiting.append((None, 1, None, weight))  # type: ignore[arg-type]
    scene.backpressure.take(scene.queue, weight)
    scene.hold(weight)
    assert scene.backpressure.drop(scene.queue, "gone") == 1
    assert (scene.budget.held, scene.queue.large, scene.queue.held) == (0, 0, 0)
    assert scene.counters.dropped == {"gone": 1}


@pytest.mark.parametrize("closing", [False, True])
async def test_who_is_throttled_is_read_when_the_longest_wait_is_over_unless_we_close(closing: bool) -> None:
    scene = Scene()
    loop = scene.core.loop
    start = loop.time()
    scene.backpressure.throttle(scene.queue, 5.0)
    scene.backpressure.throttle(scene.queue, 2.0)
    assert scene.queue.throttle is not None
    assert scene.queue.throttle.when() == start + 5.0
    assert scene.flow == ["pause"]
    scene.core.closing = closing
    await asyncio.sleep(6.0)
    assert scene.flow == (["pause"] if closing else ["pause", "resume"])


async def test_a_queue_whose_peer_has_another_one_does_not_resume_that() -> None:
    scene = Scene()
    scene.hold(HIGH_WATER + LONG + 1)
    scene.core.queues[ALICE] = PeerQueue(scene.queue.peer, PeerInfo(node_id=ALICE, address="script"), 1, False)
    scene.drain(HIGH_WATER + LONG + 1)
    assert scene.flow == ["pause"]


async def test_what_is_read_elsewhere_makes_room_and_who_waits_has_the_peer_read_on() -> None:
    scene = Scene()
    scene.hold(HIGH_WATER + LONG + 1)
    assert scene.budget.held > HIGH_WATER
    scene.backpressure.ask(scene.queue)
    assert scene.flow == ["pause", "resume"]
    scene.queue.request_ended()
    scene.hold(1)
    assert scene.flow == ["pause", "resume"], "it is looked at again when it has grown"
    scene.backpressure.let_go(scene.queue, HIGH_WATER + LONG + 2)
    assert (scene.queue.held, scene.queue.counted, scene.budget.held) == (0, 0, 0)
