"""Places that peers take turns in."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from oddwire import NodeId, PrivateKey, Refuse
from oddwire.app import Turn, Turns
from oddwire.app.limits import turns as module

A, B, C, D, E = (NodeId(PrivateKey(bytes([number]) * 32).public_key()) for number in range(1, 6))


async def enter(stack: AsyncExitStack, turns: Turns, peer: NodeId, *, preferred: bool = False) -> Turn:
    return await stack.enter_async_context(turns.take(peer, preferred=preferred))


async def test_one_peer_has_so_many_places_and_no_more() -> None:
    turns = Turns(4, each=2, patience=0.1)
    async with AsyncExitStack() as stack:
        await enter(stack, turns, A)
        one = AsyncExitStack()
        await enter(one, turns, A)
        with pytest.raises(Refuse, match="one peer has 2 places at most"):
            await enter(stack, turns, A)
        waiting = asyncio.create_task(enter(stack, turns, A))
        await asyncio.sleep(0)
        await enter(stack, turns, B)  # passes it by
        await one.aclose()
        assert not (await waiting).over
    async with AsyncExitStack() as stack:
        for peer in (A, A, B, B):
            await enter(stack, turns, peer)


async def test_who_waits_gets_the_place_of_the_slowest_once_its_turn_is_over() -> None:
    turns = Turns(2, seconds=0.1)
    async with AsyncExitStack() as stack:
        quick, slow = await enter(stack, turns, A), await enter(stack, turns, B)
        quick.done, slow.done = 100, 1
        await asyncio.sleep(0.15)
        assert not slow.over  # nobody waits
        async with asyncio.timeout(5):
            third = await enter(stack, turns, C)
        assert (slow.over, quick.over, third.over) == (True, False, False)
        third.done = 10_000
        async with asyncio.timeout(5):  # by the clock: nothing else happens
            await enter(stack, turns, D)
        assert (quick.over, third.over) == (True, False)


async def test_places_are_given_in_the_order_of_the_line() -> None:
    turns, got = Turns(1, seconds=60), []

    async def work(name: str, peer: NodeId, *, preferred: bool = False) -> None:
        async with turns.take(peer, preferred=preferred):
            got.append(name)

    async with turns.take(A):
        tasks = [asyncio.create_task(work("b", B)), asyncio.create_task(work("c", C))]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(work("d", D, preferred=True)))
        tasks.append(asyncio.create_task(work("e", E)))
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert got == ["d", "b", "e"]


async def test_nobody_waits_for_ever_or_twice() -> None:
    turns = Turns(1, each=2, patience=0.05, busy=lambda text: Refuse(text, code=1002))
    async with turns.take(A):
        waiting = asyncio.create_task(turns.take(B).__aenter__())
        await asyncio.sleep(0)
        with pytest.raises(Refuse, match="all places are taken") as caught:
            await turns.take(B).__aenter__()
        assert caught.value.code == 1002
        with pytest.raises(Refuse, match="all places are taken: later, perhaps"):
            await waiting
    async with turns.take(B):
        pass


async def test_the_preferred_lose_no_place_to_others() -> None:
    turns = Turns(1, seconds=0.0, patience=0.1)
    async with turns.take(A, preferred=True) as first:
        with pytest.raises(Refuse):
            await turns.take(B).__aenter__()
        assert not first.over
        async with turns.take(C, preferred=True):
            assert first.over


async def test_as_many_linger_as_there_are_places() -> None:
    turns = Turns(1, seconds=0.0, patience=5)
    async with AsyncExitStack() as stack:
        lingering = AsyncExitStack()
        first = await enter(lingering, turns, A)
        second = await enter(stack, turns, B)
        assert first.over
        waiting = asyncio.create_task(enter(stack, turns, C))
        await asyncio.sleep(0.05)
        assert not second.over
        await lingering.aclose()
        await waiting
        assert second.over


async def test_a_crowd_waits_in_a_line_of_limited_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAITING", 1)
    turns = Turns(1, seconds=60)
    async with AsyncExitStack() as stack:
        held = AsyncExitStack()
        await enter(held, turns, A)
        waiting = [asyncio.create_task(enter(stack, turns, B))]
        await asyncio.sleep(0)
        with pytest.raises(Refuse):
            await enter(stack, turns, C)
        waiting.append(asyncio.create_task(enter(stack, turns, D, preferred=True)))  # these have a line of their own
        await asyncio.sleep(0)
        await held.aclose()
        await waiting[1]
        waiting[0].cancel()


async def test_a_place_given_to_one_who_has_just_gone_is_free_again() -> None:
    turns = Turns(1, seconds=60, patience=1)
    async with AsyncExitStack() as stack:
        await enter(stack, turns, A)
        waiting = asyncio.create_task(turns.take(B).__aenter__())
        await asyncio.sleep(0)
        await stack.aclose()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(0.5), turns.take(C):
        pass
