"""One peer of bolt8: what it makes of BOLT 1's messages, and who is told when it comes and goes."""

from __future__ import annotations

import asyncio

import pytest

from oddwire.errors import ConnectionClosed, LocalProtocolError
from oddwire.proto.bolt1 import Bolt1, Init, Notice, Ping, Pong
from oddwire.proto.keys import NodeId, PrivateKey
from oddwire.transports.base import PeerInfo
from oddwire.transports.bolt8.limits import Bolt8Limits
from oddwire.transports.bolt8.peer import Bolt8Peer

NODE_ID = NodeId(PrivateKey(b"\1" * 32).public_key())
INFO = PeerInfo(node_id=NODE_ID)


class Wire:
    """What a peer needs of its connection, kept to be looked at."""

    peer_address = "192.0.2.1:9735"

    def __init__(self):
        self.sent = []
        self.closed = None

    def send_nowait(self, payload):
        self.sent.append(payload)

    answer = send_nowait

    def close(self, reason):
        self.closed = reason


@pytest.fixture
async def peer():
    ready = asyncio.get_running_loop().create_future()
    peer = Bolt8Peer(Wire(), NODE_ID, Bolt1(now=0.0), 0.0, ready)
    return peer, ready


async def test_an_init_is_handed_on_and_a_ping_answered(peer):
    peer, _ = peer
    assert peer.control(Init().encode()) == Init()
    assert peer.control(Ping(num_pong_bytes=3).encode()) is None
    peer.flush()
    assert peer.connection.sent == [Pong(3).encode()]
    assert peer.connection.closed is None


async def test_a_broken_rule_is_told_and_ends_the_connection(peer):
    peer, _ = peer
    peer.control(Ping().encode())  # before init, and even
    peer.flush()
    assert Notice.decode(peer.connection.sent[0]).kind == "warning"
    assert "before init" in peer.connection.closed


async def test_a_notice_is_logged_with_its_sender(peer, caplog):
    peer, _ = peer
    peer.control(Notice("error", "go away").encode())
    assert str(NODE_ID) in caplog.text
    assert "go away" in caplog.text


async def test_a_ping_ends_with_its_own_pong_only(peer):
    peer, _ = peer
    peer.control(Init().encode())
    pinging = asyncio.create_task(peer.ping(0, 7))
    await asyncio.sleep(0)
    with pytest.raises(LocalProtocolError, match="under way"):
        await peer.ping(0, 7)
    peer.control(Pong(6).encode())
    await asyncio.sleep(0)
    assert not pinging.done()
    peer.control(Pong(7).encode())
    assert await pinging == 4 + 7
    assert await peer.ping(0, 65532) == 0  # BOLT 1: not answered, so not awaited


async def test_who_dialed_hears_once(peer):
    peer, ready = peer
    peer.is_ready(INFO)
    peer.is_ready(PeerInfo(node_id=NODE_ID, address="elsewhere"))
    peer.is_gone("too late to matter")
    assert await ready == INFO


async def test_who_waits_is_told_of_the_end(peer):
    peer, ready = peer
    peer.control(Init().encode())
    pinging = asyncio.create_task(peer.ping(0, 7))
    await asyncio.sleep(0)
    peer.is_gone("closed by the peer")
    for waiting in (ready, pinging):
        with pytest.raises(ConnectionClosed, match="closed by the peer"):
            await waiting


def test_limits_are_those_documented():
    assert Bolt8Limits() == Bolt8Limits(max_peers=4096, max_handshakes=512, handshake_timeout=10, redial_most=60)
