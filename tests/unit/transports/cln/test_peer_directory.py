"""The roster between the node's RPC and an inbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from oddwire.errors import ConnectionClosed, NodeRefused
from oddwire.jsonrpc import JsonRpcClient
from oddwire.testing.sinks import Connected, Disconnected, Received, RecordingSink
from oddwire.transports.base import NodeId
from oddwire.transports.cln.flow import ClnLimits, Dropped, InboundQueue
from oddwire.transports.cln.peer_directory import PeerDirectory

PEER = "02" + "11" * 32
PEER_ID = NodeId(PEER)
CONNECT = {"connect": {"id": PEER, "direction": "in", "address": {"type": "ipv4", "address": "127.0.0.1", "port": 1}}}


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
async def roster(node, sink: RecordingSink) -> AsyncIterator[PeerDirectory]:
    async with JsonRpcClient(node.server.path) as rpc:
        roster = PeerDirectory(rpc, InboundQueue(sink, ClnLimits(), Dropped()), ClnLimits())
        yield roster
        await roster.aclose("over")


async def test_who_is_there(node, roster: PeerDirectory, sink: RecordingSink) -> None:
    node.has_peer()
    await roster.list_peers()
    assert [info.node_id for info in sink.connected] == [PEER_ID]
    assert list(roster.outlets) == [PEER_ID]
    assert roster.outlets[PEER_ID].head == b'{"node_id":"%b","msg":"' % PEER.encode()
    await roster.aclose("over")
    assert sink.events[-1] == Disconnected(PEER_ID, "over")
    assert roster.outlets == {}
    await roster.aclose("again")


async def test_a_list_that_is_none(node, roster: PeerDirectory) -> None:
    node.methods["listpeers"] = lambda params: {}
    with pytest.raises(KeyError):
        await roster.list_peers()


async def test_comings_and_goings_faster_than_answers(node, roster: PeerDirectory, sink: RecordingSink) -> None:
    """The answers are of the last state; every message arrives once, between a greeting and a farewell."""
    node.gate.clear()
    for number in range(5):
        roster.take_notification("connect", CONNECT)
        roster.take_payload(PEER_ID, bytes([0x8C, 1, number]))
        roster.ask()
        roster.take_notification("disconnect", {"disconnect": {"id": PEER}})
        roster.ask()
    node.has_peer()
    roster.take_notification("connect", CONNECT)
    roster.ask()
    node.gate.set()
    await sink.until(lambda sink: len(sink.connected) == 6)
    kinds = [type(event) for event in sink.events]
    assert kinds == [Connected, Received, Disconnected] * 5 + [Connected]
    assert [payload[2] for payload in sink.payloads] == list(range(5))
    assert sink.connected[-1].features == b"\x80"


async def test_catching_up_with_whose_connect_has_come(node, roster: PeerDirectory, sink: RecordingSink) -> None:
    node.has_peer()
    node.gate.clear()
    await roster.catch_up()  # with nobody
    roster.take_notification("connect", CONNECT)
    roster.ask()
    catching_up = asyncio.create_task(roster.catch_up())
    await asyncio.sleep(0)
    assert not catching_up.done()
    node.gate.set()
    await catching_up
    assert [info.node_id for info in sink.connected] == [PEER_ID]
    roster.take_notification("connect", CONNECT)  # once more, of a peer that is known
    await roster.catch_up()


async def test_catching_up_waits_for_nobody_who_is_gone(node, roster: PeerDirectory) -> None:
    node.gate.clear()
    roster.take_notification("connect", CONNECT)
    catching_up = asyncio.create_task(roster.catch_up())
    await asyncio.sleep(0)
    roster.take_notification("disconnect", {"disconnect": {"id": PEER}})
    await catching_up
    roster.take_notification("connect", CONNECT)
    catching_up = asyncio.create_task(roster.catch_up())
    await asyncio.sleep(0)
    catching_up.cancel()
    await asyncio.wait([catching_up])
    assert catching_up.cancelled()
    await roster.aclose("over")
    node.gate.set()


async def test_a_node_that_does_not_tell_of_a_peer(node, roster: PeerDirectory, sink: RecordingSink) -> None:
    def refuse(params: object) -> None:
        raise NodeRefused("busy", code=-1)

    node.methods["listpeers"] = refuse
    roster.take_notification("connect", CONNECT)
    roster.take_payload(PEER_ID, b"\x8c\x01")
    roster.ask()
    await sink.until(lambda sink: sink.payloads)
    assert sink.connected[0].features == b""
    assert sink.connected[0].direction == "in"


async def test_a_pause_between_sessions(node, roster: PeerDirectory, sink: RecordingSink) -> None:
    node.has_peer()
    await roster.list_peers()
    roster.inbox.pause(PEER_ID)
    roster.take_payload(PEER_ID, b"\x8c\x01a")
    roster.take_notification("disconnect", {"id": PEER})
    assert roster.outlets == {}
    roster.take_notification("connect", CONNECT)
    roster.ask()
    await asyncio.sleep(0.05)
    roster.take_payload(PEER_ID, b"\x8c\x01b")
    assert len(sink.events) == 1
    roster.resume(PEER_ID)
    await sink.until(lambda sink: len(sink.payloads) == 2)
    assert [type(event) for event in sink.events] == [Connected, Received, Disconnected, Connected, Received]


async def test_expecting_somebody_when_it_closes(node, roster: PeerDirectory) -> None:
    node.gate.clear()
    expecting = asyncio.create_task(roster.expect(PEER_ID, {"id": PEER}))
    await asyncio.sleep(0)
    await roster.aclose("over")
    with pytest.raises(ConnectionClosed, match="over"):
        await expecting
    node.gate.set()
