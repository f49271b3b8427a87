from __future__ import annotations

import asyncio

import pytest

from oddwire.proto.keys import NodeId
from oddwire.testing import Connected, Disconnected, Received, RecordingSink
from oddwire.transports.base import PeerInfo

ALICE = NodeId("02" + "aa" * 32)
BOB = NodeId("03" + "bb" * 32)


async def test_remembers_everything_in_order() -> None:
    sink = RecordingSink()
    info = PeerInfo(node_id=ALICE)
    sink.peer_connected(info)
    sink.payload_received(ALICE, b"one")
    sink.payload_received(BOB, b"two")
    sink.peer_disconnected(ALICE, "bye")
    assert sink.events == [Connected(info), Received(ALICE, b"one"), Received(BOB, b"two"), Disconnected(ALICE, "bye")]
    assert sink.connected == [info]
    assert sink.payloads == [b"one", b"two"]
    assert sink.disconnected == [ALICE]


async def test_calls_back_after_it_has_recorded() -> None:
    seen = []
    sink = RecordingSink(lambda peer, payload: seen.append((peer, payload, len(sink.payloads))))
    sink.payload_received(ALICE, b"one")
    assert seen == [(ALICE, b"one", 1)]


async def test_waits_until_a_condition_holds() -> None:
    sink = RecordingSink()
    await sink.until(lambda _: True)
    waiting = asyncio.create_task(sink.until(lambda sink: len(sink.payloads) == 2))
    for payload in (b"one", b"two"):
        await asyncio.sleep(0)
        assert not waiting.done()
        sink.payload_received(ALICE, payload)
    await waiting


async def test_says_what_it_had_when_it_waited_in_vain() -> None:
    sink = RecordingSink(patience=0.01)
    sink.peer_disconnected(ALICE, "bye")
    with pytest.raises(
        TimeoutError, match=r"waited 0\.01 s without success; 1 events, the last: Disconnected\(.*'bye'\)"
    ):
        await sink.until(lambda sink: sink.payloads)
