"""The queue of a peer that does not read."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.waiting import until

from oddwire.errors import NodeRefused, PeerNotConnected
from oddwire.node.peer_backlog import PeerBacklog
from oddwire.proto import PrivateKey
from oddwire.proto.keys import NodeId

PAYLOAD = b"\x80\x01" + bytes(998)


@pytest.fixture
async def pair(node, dial):
    """A node, and a peer of it that has stopped reading, with as much on its way as the sockets take."""
    peer = await dial(node)
    peer.connection.pause()
    node_id = NodeId(peer.id)
    while node.transport.send_nowait(node_id, PAYLOAD):
        await asyncio.sleep(0)
    return node.transport, node_id, peer


async def test_nothing_waits_while_the_peer_reads(node, dial) -> None:
    peer = await dial(node)
    backlog = PeerBacklog(node.transport, NodeId(peer.id))
    for _ in range(100):
        backlog.send(PAYLOAD)
    assert backlog.queued == 0
    assert [await peer.read() for _ in range(100)] == [PAYLOAD] * 100


async def test_it_fills_up_to_its_limit_and_drains_in_order(pair) -> None:
    transport, node_id, peer = pair
    backlog = PeerBacklog(transport, node_id, max_queued=10_000)
    marked = [b"\x80\x03" + bytes([number]) * 998 for number in range(20)]
    accepted = 0
    with pytest.raises(NodeRefused, match="does not read") as caught:  # noqa: PT012 - how many it takes is counted
        for payload in marked:
            backlog.send(payload)
            accepted += 1
    assert caught.value.code == -1
    assert accepted == 10_000 // 1064
    assert backlog.queued == accepted * 1064
    small = b"\x80\x05"
    backlog.send(small)  # there is room for that
    peer.connection.resume()
    arrived = []
    while len(arrived) < accepted + 1:
        payload = await peer.read()
        if payload != PAYLOAD:
            arrived.append(payload)
    assert arrived == [*marked[:accepted], small]
    await until(lambda: backlog.queued == 0)


async def test_what_waits_is_dropped_when_the_connection_ends(pair) -> None:
    transport, node_id, peer = pair
    backlog = PeerBacklog(transport, node_id)
    backlog.send(PAYLOAD)
    peer.connection.abort("gone")
    await until(lambda: not transport.is_connected(node_id))
    backlog.close()
    assert backlog.queued == 0
    with pytest.raises(PeerNotConnected):
        backlog.send(PAYLOAD)


async def test_nobody_there(node) -> None:
    stranger = NodeId(PrivateKey(b"\5" * 32).public_key())
    with pytest.raises(PeerNotConnected):
        PeerBacklog(node.transport, stranger).send(PAYLOAD)
