"""The peer directory between the node's RPC and an inbound queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from oddwire.errors import ConnectionClosed, NodeRefused
from oddwire.jsonrpc import JsonRpcClient
from oddwire.proto.keys import NodeId
from oddwire.testing.sinks import Connected, Disconnected, Received, RecordingSink
from oddwire.transports.cln.pacing import ClnLimits
from oddwire.transports.cln.peer_directory import PeerDirectory
from oddwire.transports.inbound_queue import Dropped, InboundQueue

PEER = "02" + "11" * 32
PEER_ID = NodeId(PEER)
CONNECT = {"connect": {"id": PEER, "direction": "in", "address": {"type": "ipv4", "address": "127.0.0.1", "port": 1}}}


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
async def directory(node, sink: RecordingSink) -> AsyncIterator[PeerDirectory]:
    async with JsonRpcClient(node.server.path) as rpc:
        directory = PeerDirectory(rpc, InboundQueue(sink, ClnLimits(), Dropped()), ClnLimits())
        yield directory
        await directory.aclose("over")


async def test_who_is_there(node, directory: PeerDirectory, sink: RecordingSink) -> None:
    node.has_peer()
    await directory.list_peers()
    assert [info.node_id for info in sink.connected] == [PEER_ID]
    assert list(directory.send_queues) == [PEER_ID]
    assert directory.send_queues[PEER_ID].head == b'{"node_id":"%b","msg":"' % PEER.encode()
    await directory.aclose("over")
    assert sink.events[-1] == Disconnected(PEER_ID, "over")
    assert directory.send_queues == {}
    await directory.aclose("again")


async def test_a_list_that_is_none(node, directory: PeerDirectory) -> None:
    node.methods["listpeers"] = lambda params: {}
    with pytest.raises(KeyError):
        await directory.list_peers()


async def test_comings_and_goings_faster_than_answers(node, directory: PeerDirectory, sink: RecordingSink) -> None:
    """The answers are of the last state; every message arrives once, between a greeting and a farewell."""
    node.gate.clear()
    for number in range(5):
        directory.take_notification("connect", CONNECT)
        directory.take_payload(PEER_ID, bytes([0x8C, 1, number]))
        directory.ask()
        directory.take_notification("disconnect", {"disconnect": {"id": PEER}})
        directory.ask()
    node.has_peer()
    directory.take_notification("connect", CONNECT)
    directory.ask()
    node.gate.set()
    await sink.until(lambda sink: len(sink.connected) == 6)
    kinds = [type(event) for event in sink.events]
    assert kinds == [Connected, Received, Disconnected] * 5 + [Connected]
    assert [payload[2] for payload in sink.payloads] == list(range(5))
    assert sink.connected[-1].features == b"\x80"


async def test_catching_up_with_whose_connect_has_come(node, directory: PeerDirectory, sink: RecordingSink) -> None:
    node.has_peer()
    node.gate.clear()
    await directory.catch_up()  # with nobody
    directory.take_notification("connect", CONNECT)
    directory.ask()
    catching_up = asyncio.create_task(directory.catch_up())
    await asyncio.sleep(0)
    assert not catching_up.done()
    node.gate.set()
    await catching_up
    assert [info.node_id for info in sink.connected] == [PEER_ID]
    directory.take_notification("connect", CONNECT)  # once more, of a peer that is known
    await directory.catch_up()


async def test_catching_up_waits_for_nobody_who_is_gone(node, directory: PeerDirectory) -> None:
    node.gate.clear()
    directory.take_notification("connect", CONNECT)
    catching_up = asyncio.create_task(directory.catch_up())
    await asyncio.sleep(0)
    directory.take_notification("disconnect", {"disconnect": {"id": PEER}})
    await catching_up
    directory.take_notification("connect", CONNECT)
    catching_up = asyncio.create_task(directory.catch_up())
    await asyncio.sleep(0)
    catching_up.cancel()
    await asyncio.wait([catching_up])
    assert catching_up.cancelled()
    await directory.aclose("over")
    node.gate.set()


async def test_a_node_that_does_not_tell_of_a_peer(node, directory: PeerDirectory, sink: RecordingSink) -> None:
    def refuse(params: object) -> None:
        raise NodeRefused("busy", code=-1)

    node.methods["listpeers"] = refuse
    directory.take_notification("connect", CONNECT)
    directory.take_payload(PEER_ID, b"\x8c\x01")
    directory.ask()
    await sink.until(lambda sink: sink.payloads)
    assert sink.connected[0].features == b""
    assert sink.connected[0].direction == "in"


async def test_a_pause_between_sessions(node, directory: PeerDirectory, sink: RecordingSink) -> None:
    node.has_peer()
    await directory.list_peers()
    directory.inbound.pause(PEER_ID)
    directory.take_payload(PEER_ID, b"\x8c\x01a")
    directory.take_notification("disconnect", {"id": PEER})
    assert directory.send_queues == {}
    directory.take_notification("connect", CONNECT)
    directory.ask()
    await asyncio.sleep(0.05)
    directory.take_payload(PEER_ID, b"\x8c\x01b")
    assert len(sink.events) == 1
    directory.resume(PEER_ID)
    await sink.until(lambda sink: len(sink.payloads) == 2)
    assert [type(event) for event in sink.events] == [Connected, Received, Disconnected, Connected, Received]


async def test_expecting_somebody_when_it_closes(node, directory: PeerDirectory) -> None:
    node.gate.clear()
    expecting = asyncio.create_task(directory.expect(PEER_ID, {"id": PEER}))
    await asyncio.sleep(0)
    await directory.aclose("over")
    with pytest.raises(ConnectionClosed, match="over"):
        await expecting
    node.gate.set()
