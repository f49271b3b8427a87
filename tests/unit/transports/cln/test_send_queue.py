"""Turns: first come, first served, whatever is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from oddwire.errors import ConnectionClosed
from oddwire.transports.cln.pacing import ClnLimits
from oddwire.transports.cln.send_queue import SendQueue

LOOPS = ("jumping",)


def queue_of(**limits: float | None) -> SendQueue:
    return SendQueue(b"", ClnLimits(**limits), asyncio.get_running_loop())


class Senders:
    """Sends of 65 000 bytes, which keep when they began, in order."""

    def __init__(self, queue: SendQueue) -> None:
        self.queue = queue
        self.began: list[tuple[str, float]] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def add(self, name: str, size: int = 65_000) -> None:
        self.tasks[name] = asyncio.create_task(self.send(name, size))

    async def send(self, name: str, size: int) -> None:
        if not self.queue.start_send(size):
            await self.queue.turn(size)
        self.began.append((name, asyncio.get_running_loop().time()))
        await asyncio.sleep(0)
        self.queue.end_send()

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.began]


async def test_the_pace() -> None:
    senders = Senders(queue_of(rate=65_000, burst=130_000))
    for name in "abcd":
        senders.add(name)
    await asyncio.gather(*senders.tasks.values())
    assert senders.names == list("abcd")
    times = [when for _, when in senders.began]
    assert times == pytest.approx([times[0], times[0], times[0] + 1, times[0] + 2])


async def test_small_ones_do_not_overtake() -> None:
    senders = Senders(queue_of(rate=1000, burst=65_535))
    senders.add("a")
    senders.add("b")
    senders.add("small", 2)
    await asyncio.gather(*senders.tasks.values())
    assert senders.names == ["a", "b", "small"]


async def test_a_newcomer_does_not_overtake_who_was_just_waked() -> None:
    queue = queue_of(rate=None, depth=1)
    assert queue.start_send(1)
    senders = Senders(queue)
    senders.add("first", 1)
    await asyncio.sleep(0)
    queue.end_send()  # wakes the first
    assert not queue.start_send(1)
    senders.add("second", 1)
    await asyncio.gather(*senders.tasks.values())
    assert senders.names == ["first", "second"]


async def test_who_is_cancelled_is_not_sent_and_the_others_keep_their_order() -> None:
    senders = Senders(queue_of(rate=65_000, burst=65_535))
    for name in "abcde":
        senders.add(name)
    await asyncio.sleep(0.1)
    senders.tasks["b"].cancel()
    senders.tasks["d"].cancel()
    await asyncio.gather(*senders.tasks.values(), return_exceptions=True)
    assert senders.names == ["a", "c", "e"]


async def test_cancelled_in_the_moment_of_its_turn() -> None:
    queue = queue_of(rate=None, depth=1)
    assert queue.start_send(1)
    senders = Senders(queue)
    for name in "ab":
        senders.add(name, 1)
    await asyncio.sleep(0)
    queue.end_send()
    senders.tasks["a"].cancel()
    await asyncio.gather(*senders.tasks.values(), return_exceptions=True)
    assert senders.names == ["b"]
    assert queue.start_send(1)


async def test_closed_while_waiting() -> None:
    begun = asyncio.get_running_loop().time()
    senders = Senders(queue_of(rate=1, burst=65_535))
    for name in "abc":
        senders.add(name)
    await asyncio.sleep(0.1)
    senders.queue.close("gone")
    results = await asyncio.gather(*senders.tasks.values(), return_exceptions=True)
    assert results[0] is None
    assert [str(error) for error in results[1:]] == ["gone", "gone"]
    assert all(isinstance(error, ConnectionClosed) for error in results[1:])
    assert asyncio.get_running_loop().time() - begun < 10


async def test_who_comes_when_others_have_been_waked_and_have_not_begun_is_behind_them() -> None:
    """Else what has to come in order, the first pieces of two large messages say, would change places."""
    queue = queue_of(rate=1e9, burst=1e9)
    senders = Senders(queue)
    taken = 0
    while queue.start_send(1):  # as many as may be under way
        taken += 1
    senders.add("a")
    senders.add("b")
    await asyncio.sleep(0)
    assert senders.names == []
    senders.add("c", 1)  # which runs before those who are waked now
    for _ in range(taken):
        queue.end_send()
    await asyncio.gather(*senders.tasks.values())
    assert senders.names == ["a", "b", "c"]
