"""A moment of every attack at once, against a real process: what it has to do for honest peers it still does."""

from __future__ import annotations

import asyncio

import pytest
from tests.hostile import attacks, good, harness

from oddwire.jsonrpc import JsonRpcClient

REQUESTS = 40


async def test_a_node_that_strangers_attack_in_every_way_still_serves_honest_peers() -> None:
    async with harness.node() as target, asyncio.timeout(240):
        memory = target.memory()
        with harness.attacking("everything", target.uri, 1) as done:
            while done[1] < len(attacks.FLOODS.keys() - attacks.SESSIONS):
                await asyncio.sleep(0.05)
            await good.get_in(target.uri)
            assert await good.ask_times(target.uri, REQUESTS) == REQUESTS
            assert target.excess(memory) == []


@pytest.mark.long
@pytest.mark.parametrize("kind", sorted(attacks.SESSIONS))
async def test_work_that_is_done_later_than_it_is_read_keeps_nobody_waiting(kind: str) -> None:
    async with harness.node() as target, asyncio.timeout(240):
        memory = target.memory()
        with harness.attacking(kind, target.uri, 2) as done:
            while done[0] < 100:
                await asyncio.sleep(0.05)
            assert await good.ask_times(target.uri, REQUESTS) == REQUESTS
            assert target.excess(memory) == []


@pytest.mark.long
@pytest.mark.parametrize("kind", attacks.DEBTORS)
async def test_what_those_who_have_gone_have_used_up_keeps_nobody_waiting(kind: str) -> None:
    async with harness.node() as target, asyncio.timeout(240):
        memory = target.memory()
        with harness.attacking(kind, target.uri, 1) as done:
            while done[1] < 120:
                await asyncio.sleep(0.05)
            await good.get_in(target.uri)
            assert await good.ask_times(target.uri, REQUESTS) == REQUESTS
            assert target.excess(memory) == []


@pytest.mark.long
@pytest.mark.parametrize("kind", attacks.HOARDS)
async def test_what_strangers_bring_is_not_kept(kind: str) -> None:
    async with harness.node() as target, asyncio.timeout(240):
        await good.ask_times(target.uri, 1)
        memory = target.memory()
        with harness.attacking(kind, target.uri, 2) as done:
            while done[0] < attacks.HOARDS[kind].enough:
                await asyncio.sleep(0.05)
            assert target.excess(memory, attacks.HOARDS[kind].most) == []
        assert await good.ask_times(target.uri, 5) == 5


@pytest.mark.long
@pytest.mark.parametrize("kind", ["unknown", "costly fields", "warnings", "talk, and gone"])
async def test_a_plugin_of_an_embedded_node_lives_and_answers(kind: str) -> None:
    async with harness.hosting() as (target, rpc_file), JsonRpcClient(rpc_file) as client, asyncio.timeout(240):
        began, memory = await client.call("seen"), target.memory()
        with harness.attacking(kind, target.uri, 2) as done:
            while done[0] < 500 or done[1] < 2:
                await asyncio.sleep(0.05)
            for _ in range(REQUESTS):
                assert (await client.call("getinfo"))["id"]
            assert (await client.call("seen"))["pid"] == began["pid"]
            assert target.excess(memory) == []


@pytest.mark.long
async def test_silent_connections_do_not_keep_honest_ones_out() -> None:
    async with harness.node(descriptors=256) as target, asyncio.timeout(240):
        uri = target.uri
        silent = await attacks.occupy(uri, 300)
        while len(silent) <= 50:  # there is room for many, but a busy machine lets in fewer of a crowd
            silent += await attacks.occupy(uri, 50)
        await good.get_in(uri)
        for hang_up in silent:
            hang_up()
        assert await good.ask_times(uri, 5) == 5
