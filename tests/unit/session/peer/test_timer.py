"""One timer for the deadlines of all peers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oddwire.proto.keys import NodeId
from oddwire.session.wire.frame_types import Hello, Request, Spoken

ALICE = NodeId("02" + "aa" * 32)
BOB = NodeId("03" + "bb" * 32)


async def test_one_timer_wakes_every_link_when_it_is_due(stage: Any) -> None:
    stage = stage(hello_wait=1000)
    alice, bob = await stage.connect(ALICE), await stage.connect(BOB)
    now = stage.session.shared.loop.time()
    for peer, seconds in ((bob, 0.02), (alice, 0.03), (bob, 0.01), (bob, 500)):
        stage.session.shared.timer.wake(peer, now + seconds)
    async with asyncio.timeout(30):
        while len(stage.host.ticks) < 2:
            await asyncio.sleep(0.001)
    assert [node_id for node_id, _ in stage.host.ticks] == [BOB, ALICE]
    for (_, when), seconds in zip(stage.host.ticks, (0.01, 0.03), strict=True):
        assert when >= now + seconds
    assert alice.due > now + 900  # for its hello
    stage.session.close()


async def test_a_link_that_has_closed_is_not_woken(stage: Any) -> None:
    stage = stage(hello_wait=0.2)
    await stage.connect()
    stage.session.peer_disconnected(ALICE, "gone")
    await asyncio.sleep(0.3)
    assert stage.host.ticks == []
    stage.session.close()


async def test_a_peer_that_is_gone_leaves_the_timer_and_drops_what_it_said(stage: Any) -> None:
    stage = stage(hello_wait=1000)
    peer = await stage.connect()
    stage.say(Hello(0, 1, 1, program=10, extensions=(Spoken("a", ("1",), (5,)),)))
    await stage.idle()
    link = peer.links[1]
    assert link.spoken
    stage.say(Request(1, 0, b"\x8c\x01", 2**32 - 1))  # its caller waits for 49 days
    stage.session.peer_disconnected(ALICE, "gone")
    assert not link.spoken
    assert all(peer not in entry for entry in stage.session.shared.timer._due)
    stage.session.close()


async def test_what_waits_in_the_timer_is_bounded_whatever_peers_wait_for(stage: Any) -> None:
    stage = stage(hello_wait=1e6)
    link = await stage.connect()
    now = stage.session.shared.loop.time()
    for seconds in range(100_000, 1_000, -1):  # each earlier than the one before
        stage.session.shared.timer.wake(link, now + seconds)
    assert len(stage.session.shared.timer._due) < 200
    assert link.due == now + 1001
    assert min(stage.session.shared.timer._due)[0] == link.due
    stage.session.close()


async def test_closed_it_leaves_no_timer(stage: Any) -> None:
    stage = stage(hello_wait=0.2)
    await stage.connect()
    stage.session.close()
    await asyncio.sleep(0.3)
    assert stage.host.ticks == []
    stage.session.close()


async def test_a_timer_that_is_a_nanosecond_early_is_on_time(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As asyncio may be: set again for the same time, it would only cost turns of the loop until then."""
    stage = stage(hello_wait=1000)
    await stage.connect()
    timer, loop = stage.session.shared.timer, asyncio.get_running_loop()
    due = loop.time() + 100
    timer.wake(stage.session.peers[ALICE], due)
    monkeypatch.setattr(loop, "time", lambda: due - 5e-10)
    timer._tick()
    monkeypatch.undo()
    assert stage.host.ticks == [(ALICE, due)]
    stage.session.close()
