"""What the inbox knows of each peer and lane."""

from __future__ import annotations

from oddwire.proto.keys import NodeId
from oddwire.session.reliable.inbox_state import NEVER, InboxPeer, Lane
from oddwire.session.reliable.lanes import Receiver

PEER = NodeId(b"\x02" * 33)


def test_a_lane_is_idle_when_all_that_was_taken_is_done() -> None:
    lane = Lane(InboxPeer(PEER), 7, Receiver(epoch=1, last=3), kept=True)
    assert lane.is_idle
    lane.receiver.taken = 4
    assert not lane.is_idle
    lane.receiver.last = 4
    lane.busy = True
    assert not lane.is_idle
    lane.busy = False
    assert lane.is_idle


def test_what_is_on_disk_has_been_written_and_what_is_not_has_not() -> None:
    for kept in (False, True):
        lane = Lane(InboxPeer(PEER), 7, Receiver(), kept)
        assert (lane.kept, lane.written, lane.seen) == (kept, kept, NEVER)


def test_its_key_is_as_the_database_has_it() -> None:
    lane = Lane(InboxPeer(PEER), (1 << 64) - 2, Receiver(), kept=False)
    assert lane.key == (b"\x02" * 33, b"\xff" * 7 + b"\xfe")
