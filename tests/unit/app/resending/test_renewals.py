from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from tests.unit.app.resending.conftest import ALICE, BOB

from oddwire.app.resending.entries import Entry, Ident
from oddwire.app.resending.renewals import Renewals

LOOPS = ("jumping",)


class Walk:
    def __init__(self) -> None:
        self.renewed: list[Entry] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.renewals = Renewals(self.renew, self.spawn)

    def renew(self, entry: Entry) -> None:
        self.renewed.append(entry)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))


def entries(count: int, node_id: Any = ALICE) -> list[Entry]:
    return [Entry(Ident("swap", node_id, number.to_bytes(4, "big")), 0x8E05, 10) for number in range(count)]


async def test_few_go_at_once_without_a_task() -> None:
    walk, few = Walk(), entries(200)
    walk.renewals.begin(ALICE, few)
    assert walk.renewed == few
    assert walk.tasks == []
    assert ALICE not in walk.renewals
    assert not walk.renewals.add(few[0])


async def test_many_go_in_order_two_hundred_at_a_time_each_peers_beside_the_others() -> None:
    walk, many, others = Walk(), entries(500), entries(300, BOB)
    walk.renewals.begin(ALICE, many)
    walk.renewals.begin(BOB, others)
    assert walk.renewed == [*many[:200], *others[:200]]
    [new] = entries(1)
    assert walk.renewals.add(new)
    for _ in range(2):
        await asyncio.sleep(0)
    assert walk.renewed[400:] == [*many[200:400], *others[200:]]
    assert BOB not in walk.renewals
    await asyncio.gather(*walk.tasks)
    assert walk.renewed[700:] == [*many[400:], new]
    assert ALICE not in walk.renewals


async def test_those_of_a_connection_that_has_ended_are_left() -> None:
    walk, many = Walk(), entries(500)
    walk.renewals.begin(ALICE, many)
    walk.renewals.end(ALICE)
    walk.renewals.end(ALICE)
    assert not walk.renewals.add(many[0])
    await asyncio.gather(*walk.tasks)
    assert walk.renewed == many[:200]


async def test_a_new_beginning_takes_the_place_of_what_is_left() -> None:
    walk, many, next_ones = Walk(), entries(500), entries(450)
    walk.renewals.begin(ALICE, many)
    walk.renewals.begin(ALICE, next_ones)
    await asyncio.gather(*walk.tasks)
    assert walk.renewed == [*many[:200], *next_ones]
    assert ALICE not in walk.renewals


async def test_one_whose_renewal_ends_the_connection_is_the_last() -> None:
    walk, many = Walk(), entries(500)

    def renew(entry: Entry) -> None:
        walk.renewed.append(entry)
        if len(walk.renewed) == 3:
            renewals.end(ALICE)

    renewals = Renewals(renew, walk.spawn)
    renewals.begin(ALICE, many)
    assert walk.renewed == many[:3]
    assert walk.tasks == []


@pytest.mark.parametrize("how", ["cancelled", "raises"])
async def test_what_ends_the_task_ends_the_walk(how: str) -> None:
    walk = Walk()

    def renew(entry: Entry) -> None:
        walk.renewed.append(entry)
        if len(walk.renewed) == 300 and how == "raises":
            raise ZeroDivisionError

    renewals = Renewals(renew, walk.spawn)
    renewals.begin(ALICE, entries(500))
    [task] = walk.tasks
    await asyncio.sleep(0)
    if how == "cancelled":
        task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() or isinstance(task.exception(), ZeroDivisionError)
    assert ALICE not in renewals
