from __future__ import annotations

from oddwire.app.resending.entries import KeptPeer
from oddwire.proto.keys import NodeId
from oddwire.session.reliable.outbox_state import Load

ALICE = NodeId("02" + "aa" * 32)


def test_what_waits_is_counted_by_extension_and_peer_and_in_sum() -> None:
    total = Load()
    peer, other = KeptPeer(ALICE, total), KeptPeer(NodeId("03" + "bb" * 32), total)
    peer.add("shop", 1, 10)
    peer.add("chat", 2, 5)
    other.add("shop", 1, 7)
    assert (peer.load_of("shop").bytes, peer.load_of("chat").messages) == (10, 2)
    assert (peer.load.messages, peer.load.bytes) == (3, 15)
    assert (total.messages, total.bytes) == (4, 22)
    peer.add("chat", -2, -5)
    assert (peer.load_of("chat").messages, peer.load_of("none").bytes) == (0, 0)
    assert (total.messages, total.bytes) == (2, 17)
