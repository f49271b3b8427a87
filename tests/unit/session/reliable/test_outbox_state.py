"""What the outbox remembers of a lane."""

from __future__ import annotations

from oddwire.proto.keys import NodeId
from oddwire.session.reliable.lanes import Sender
from oddwire.session.reliable.outbox_state import OutboxLane, OutboxPeer
from oddwire.session.reliable.receipt import Receipt


def test_a_receipt_that_nobody_keeps_is_not_kept_here_either() -> None:
    sender = Sender(epoch=1, offset=0, base=3, stop=5)
    lane = OutboxLane(1, OutboxPeer(NodeId(b"\x02" * 33)), 7, "test", sender)
    assert lane.next == 5
    kept = Receipt()
    lane.receipts[5] = kept
    lane.receipts[6] = Receipt()
    assert dict(lane.receipts) == {5: kept}


def test_what_waits_counts_for_its_lane_and_its_peer() -> None:
    peer = OutboxPeer(NodeId(b"\x02" * 33))
    one, two = (OutboxLane(n, peer, n, f"{n}", Sender(epoch=1, offset=0, base=1, stop=1)) for n in (1, 2))
    one.add(2, 30)
    two.add(1, 5)
    one.add(-1, -10)
    assert [(load.messages, load.bytes) for load in (one.load, two.load, peer.load)] == [(1, 20), (1, 5), (2, 25)]
