"""Connections are numbered once, and peers remembered for as long as anything of them is there."""

from __future__ import annotations

from oddwire.cluster.gateway.peer_conns import PeerConns
from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo

ONE, TWO = NodeId("02" + "11" * 32), NodeId("02" + "22" * 32)


def test_no_two_connections_have_one_number() -> None:
    table = PeerConns()
    first, other = table.connect(PeerInfo(node_id=ONE), 0), table.connect(PeerInfo(node_id=TWO), 1)
    anew = table.connect(PeerInfo(node_id=ONE), 0)  # before the end of the first was told
    assert [first.number, other.number, anew.number] == [1, 2, 3]
    assert table.conns == {2: other, 3: anew}
    assert len(table) == 2
    assert table.disconnect(ONE) is anew
    assert table.connect(PeerInfo(node_id=ONE), 0).number == 4
    assert anew.next_payload == 1  # payloads are counted anew in each


def test_the_connections_of_a_partition_are_those_of_its_peers() -> None:
    table = PeerConns()
    one, two = table.connect(PeerInfo(node_id=ONE), 0), table.connect(PeerInfo(node_id=TWO), 1)
    assert [*table.of(0)] == [one]
    assert [*table.of(1)] == [two]
    assert [*table.of(2)] == []


def test_a_peer_is_forgotten_once_it_is_gone_and_nothing_of_it_waits() -> None:
    table = PeerConns()
    peer = table.connect(PeerInfo(node_id=ONE), 0).peer
    peer.waiting = 7
    peer.pauses.add("worker")
    table.forget(peer)
    assert table.peers == {ONE: peer}
    table.disconnect(ONE)
    assert table.peers == {ONE: peer}
    assert not peer.pauses  # a new connection is read
    peer.waiting = 0
    table.forget(peer)
    assert table.peers == {}
    assert table.disconnect(ONE) is None
