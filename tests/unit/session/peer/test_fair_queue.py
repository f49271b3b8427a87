"""Waiting in order for room."""

from __future__ import annotations

import asyncio

from oddwire.session.peer.fair_queue import FairQueue


class Room:
    def __init__(self) -> None:
        self.left = 0
        self.turns = FairQueue(lambda size: size <= self.left)
        self.went: list[int] = []

    def come(self, size: int) -> asyncio.Task[None]:
        return asyncio.create_task(self._go(size))

    async def _go(self, size: int) -> None:
        await self.turns.wait(asyncio.get_running_loop(), size)
        self.left -= size
        self.went.append(size)
        self.turns.next()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_all_go_in_order_though_a_later_one_would_fit() -> None:
    room = Room()
    tasks = [room.come(size) for size in (5, 1, 2)]
    await settle()
    room.left = 3
    room.turns.next()
    await settle()
    assert room.went == []
    assert len(room.turns) == 3
    room.left = 8
    room.turns.next()
    await asyncio.gather(*tasks)
    assert room.went == [5, 1, 2]
    assert not room.turns


async def test_who_is_cancelled_when_its_turn_has_come_gives_it_to_the_next() -> None:
    room = Room()
    first, second = room.come(1), room.come(1)
    await settle()
    room.left = 1
    room.turns.next()
    first.cancel()
    await settle()
    assert first.cancelled()
    assert second.done()
    assert room.went == [1]


async def test_who_is_cancelled_while_it_waits_is_forgotten() -> None:
    room = Room()
    first, second = room.come(1), room.come(1)
    await settle()
    first.cancel()
    await settle()
    assert len(room.turns) == 1
    room.left = 1
    room.turns.next()
    await second
    assert not room.turns


async def test_closed_nobody_waits_any_more() -> None:
    room = Room()
    tasks = [room.come(size) for size in (5, 1)]
    await settle()
    room.turns.close()
    await asyncio.gather(*tasks)
    assert room.went == [5, 1]
