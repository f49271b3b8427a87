from __future__ import annotations

import asyncio
import tracemalloc

import pytest
from tests.support.waiting import until

from oddwire.insight.ring import MOST_BYTES, MOST_EVENTS, Ring


class Looked:
    """A ring, and how often it was started and stopped."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.ring = Ring(lambda: self.calls.append("start"), lambda: self.calls.append("stop"))


@pytest.fixture
def looked() -> Looked:
    return Looked()


async def test_without_a_number_it_begins_now(looked: Looked) -> None:
    ring = looked.ring
    assert not ring.is_kept
    assert await ring.read() == ([], 0, 0)
    assert looked.calls == ["start"]
    ring.add({"event": "sent"})
    assert await ring.read() == ([], 1, 0)
    assert await ring.read(0) == ([{"n": 1, "event": "sent"}], 1, 0)
    assert await ring.read(1) == ([], 1, 0)
    assert await ring.read(99) == ([], 1, 0)


async def test_it_waits_for_the_next_event(looked: Looked) -> None:
    ring = looked.ring
    waiting = asyncio.create_task(ring.read(wait=60))
    await until(lambda: ring.is_kept)
    await asyncio.sleep(0)
    ring.add({"event": "one"})
    assert [event["event"] for event in (await waiting).events] == ["one"]
    assert (await ring.read(wait=0.01)).events == []


async def test_events_that_are_not_wanted_do_not_end_the_wait(looked: Looked) -> None:
    ring = looked.ring
    waiting = asyncio.create_task(ring.read(wait=60, types=[5], peers=["aa"]))
    await until(lambda: ring.is_kept)
    ring.add({"event": "received", "type": 5, "peer": "bb"})
    ring.add({"event": "received", "type": 7, "peer": "aa"})
    ring.add({"event": "connected", "peer": "aa"})
    await asyncio.sleep(0)
    assert not waiting.done()
    ring.add({"event": "received", "type": 5, "peer": "aa"})
    seen = await waiting
    assert [event["n"] for event in seen.events] == [4]
    assert seen.next == 4


async def test_more_than_the_limit_come_with_the_next_call(looked: Looked) -> None:
    ring = looked.ring
    await ring.read()
    for _ in range(5):
        ring.add({})
    seen = await ring.read(0, limit=2)
    assert ([event["n"] for event in seen.events], seen.next) == ([1, 2], 2)
    assert [event["n"] for event in (await ring.read(seen.next)).events] == [3, 4, 5]


async def test_the_oldest_are_missed(looked: Looked) -> None:
    ring = looked.ring
    await ring.read()
    for _ in range(MOST_EVENTS + 10):
        ring.add({})
    seen = await ring.read(3)
    assert (seen.missed, seen.events[0]["n"]) == (7, 11)


async def test_its_bytes_are_bounded_and_large_payloads_are_cut(looked: Looked) -> None:
    ring = looked.ring
    await ring.read()
    ring.add({"payload": "ab" * 60_000, "message": {"data": "ab" * 60_000}})
    (event,) = (await ring.read(0)).events
    assert event == {"n": 1, "payload": "ab" * 1024, "size": 60_000}
    size = 16 << 10
    for _ in range(600):
        ring.add({"payload": "ab" * size})
    seen = await ring.read(0, limit=10_000)
    assert sum(len(event["payload"]) for event in seen.events) <= MOST_BYTES
    assert seen.missed > 0
    assert "size" not in seen.events[0]


async def test_closed_it_begins_again_and_ended_it_does_not(looked: Looked) -> None:
    ring = looked.ring
    await ring.read()
    ring.add({})
    ring.close()
    assert looked.calls == ["start", "stop"]
    assert (await ring.read(0)).events == []
    assert looked.calls == ["start", "stop", "start"]
    waiting = asyncio.create_task(ring.read(wait=60))
    await asyncio.sleep(0)
    ring.end()
    assert (await waiting).events == []
    assert looked.calls == ["start", "stop", "start", "stop"]
    assert (await ring.read(wait=60)).events == []


async def test_a_caller_that_is_cancelled_leaves_nothing(looked: Looked) -> None:
    ring = looked.ring
    waiting = asyncio.create_task(ring.read(wait=60))
    await until(lambda: ring.is_kept)
    waiting.cancel()
    await asyncio.wait([waiting])
    ring.add({})
    assert len((await ring.read(0)).events) == 1


class Counted(int):
    """A type number that counts how often it is looked up."""

    looked_up = 0

    def __hash__(self) -> int:
        Counted.looked_up += 1
        return int.__hash__(self)

    def __eq__(self, other: object) -> bool:
        Counted.looked_up += 1
        return int.__eq__(self, other)


async def test_events_that_are_not_wanted_are_looked_at_once(looked: Looked) -> None:
    ring = looked.ring
    await ring.read()
    for _ in range(1000):
        ring.add({"event": "received", "type": Counted(5)})
    waiting = [asyncio.create_task(ring.read(0, wait=60, types=[7])) for _ in range(2)]
    for _ in range(1000):
        await asyncio.sleep(0)
        ring.add({"event": "received", "type": Counted(5)})
    assert Counted.looked_up <= 2 * 2000
    ring.add({"event": "received", "type": 7})
    for task in waiting:
        seen = await task
        assert [event["n"] for event in seen.events] == [2001]
        assert (seen.next, seen.missed) == (2001, 0)


async def test_what_was_forgotten_while_it_waited_and_was_not_wanted_is_not_missed(looked: Looked) -> None:
    ring = looked.ring
    waiting = asyncio.create_task(ring.read(wait=60, types=[7]))
    await until(lambda: ring.is_kept)
    await asyncio.sleep(0)
    for _ in range(MOST_EVENTS + 10):
        ring.add({"event": "received", "type": 5})
    ring.add({"event": "received", "type": 7})
    assert (await waiting).missed == 0


async def test_many_small_values_take_the_memory_of_their_text(looked: Looked) -> None:
    ring = looked.ring
    await ring.read()
    tracemalloc.start()
    try:
        for number in range(10):
            ring.add({"event": "received", "type": 5, "message": {"list": [{"a": number} for _ in range(5000)]}})
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2 * 10 * 5000 * len('{"a": 1}, ')


async def test_a_large_answer_comes_in_parts(looked: Looked) -> None:
    ring = looked.ring
    await ring.read()
    for _ in range(40):
        ring.add({"event": "received", "text": "x" * 100_000})
    after, read = 0, []
    while seen := (await ring.read(after)).events:
        assert sum(len(event["text"]) for event in seen) < 2 << 20
        read += [event["n"] for event in seen]
        after = read[-1]
    assert read == [*range(1, 41)]
