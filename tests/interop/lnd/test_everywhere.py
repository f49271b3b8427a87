"""One extension on LND, Core Lightning and the embedded node, and its counterpart on LDK: each talks with each."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.interop.conftest import Starter
from tests.interop.lnd.lnd_node import Lnd
from tests.interop.lnd.parties import LARGE, OnDaemon, OnLdk, OnLnd, Party, meet_all, ways
from tests.support.waiting import until_answered

pytestmark = [pytest.mark.lnd, pytest.mark.cln, pytest.mark.interop]

NOTES = 20


@pytest.fixture
async def parties(lnd: Lnd, start: Starter, start_ldk_session: Any, peers: Any, tmp_path: Path) -> list[Party]:
    ldk = await start_ldk_session()
    await ldk.listen()
    on_lnd = OnLnd(lnd, tmp_path / "store")
    peers.push_async_callback(on_lnd.aclose)
    await on_lnd.start()
    daemons = [OnDaemon("cln", start.lightningd("everywhere")), OnDaemon("node", start.node("everywhere"))]
    parties = [on_lnd, *daemons, OnLdk(start_ldk_session, ldk)]
    await meet_all(parties)
    return parties


async def test_requests_streams_large_messages_and_reliable_ones_of_each_with_each(parties: list[Party]) -> None:
    async def talk(one: Party, other: Party) -> None:
        way = f"{one.name} to {other.name}"
        notes = [f"{way} {number}".encode() for number in range(NOTES)]
        await one.send(other, notes)
        for length in (0, 100, LARGE):
            assert await one.ask(other, length), f"{way}: {length} bytes"
        assert await one.count(other, 300), way

    async with asyncio.TaskGroup() as tasks:
        for way in ways(parties):
            tasks.create_task(talk(*way))
    for one in parties:

        async def all_there(one: Party = one) -> list[bytes] | None:
            notes = await one.notes()
            return notes if len(notes) >= NOTES * (len(parties) - 1) else None

        notes = await until_answered(all_there)
        assert max(Counter(notes).values()) == 1
        for other in parties:
            way = f"{other.name} to {one.name} ".encode()
            mine = [int(note.removeprefix(way)) for note in notes if note.startswith(way)]
            assert mine == ([] if other is one else list(range(NOTES)))
