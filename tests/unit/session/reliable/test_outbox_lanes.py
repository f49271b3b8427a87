"""The outbox's lanes: those in use in memory, the others on disk until they are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from oddwire.proto.keys import NodeId
from oddwire.session.limits import Limits
from oddwire.session.reliable.outbox_lanes import NEW, OutboxLanes
from oddwire.session.reliable.outbox_quotas import OutboxQuotas
from oddwire.session.reliable.outbox_state import OutboxLane, OutboxRow, OutboxShare
from oddwire.session.reliable.receipt import Receipt
from oddwire.session.store.ages import Ages
from oddwire.session.store.database import MEMORY, Database
from oddwire.session.wire.frame_types import MAX_NUMBER

ALICE, BOB = NodeId(b"\x02" * 33), NodeId(b"\x03" * 33)


@pytest.fixture
def writer() -> Iterator[sqlite3.Connection]:
    database = Database(MEMORY)
    yield database.writer
    database.close()


def make_lanes(writer: sqlite3.Connection, wall: float = 1_800_000_000.0) -> OutboxLanes:
    lanes = OutboxLanes(OutboxQuotas(Limits(), {}), Ages(wall=lambda: wall, uptime=lambda: 0.0, boot=lambda: ""))
    lanes.load(writer)
    return lanes


def find(lanes: OutboxLanes, node_id: NodeId, extension: str = "shop") -> OutboxLane:
    return lanes.find(lanes.peer(node_id), extension, OutboxShare(), OutboxShare())


def store(lanes: OutboxLanes, writer: sqlite3.Connection, lane: OutboxLane, *payloads: bytes) -> None:
    share = OutboxShare()
    if lane.used == NEW:
        lane.used = 1.0
    share.touched[lane] = share.whole[lane] = None
    share.settled[lane] = lane.sender.base
    for payload in payloads:
        share.rows.append(OutboxRow(lane, lane.next, 1.0, payload, Receipt()))
        lane.next += 1
    lanes.table.write(writer, share)


def test_a_new_lane_is_in_use_and_has_numbers_of_its_own(writer: sqlite3.Connection) -> None:
    lanes = make_lanes(writer)
    one, two, other = find(lanes, ALICE), find(lanes, ALICE, "chat"), find(lanes, BOB)
    assert [lane.id for lane in (one, two, other)] == [1, 2, 3]
    assert one.lane != two.lane
    assert lanes.lane(ALICE, one.lane) is one
    assert lanes.lane(BOB, one.lane) is None
    assert lanes.lane(NodeId(b"\x02" + b"n" * 32), one.lane) is None
    assert (one.used, one.stored, one.sender.epoch) == (NEW, False, 1_800_000_000_000_000)


@pytest.mark.parametrize(("wall", "epoch"), [(-5.0, 1), (1e30, MAX_NUMBER - 1)])
def test_an_epoch_can_be_written_whatever_the_clock_says(writer: sqlite3.Connection, wall: float, epoch: int) -> None:
    assert make_lanes(writer, wall).epoch() == epoch


def test_lanes_with_messages_are_in_use_at_once_and_others_when_they_are_asked_for(
    writer: sqlite3.Connection,
) -> None:
    lanes = make_lanes(writer)
    full, empty = find(lanes, ALICE), find(lanes, BOB)
    store(lanes, writer, full, b"abc", b"de")
    store(lanes, writer, empty)
    again = make_lanes(writer)
    assert again.stored == 2
    assert [*again.peers] == [ALICE]
    found = again.peers[ALICE].current["shop"]
    assert (found.lane, [*found.sizes], found.load.messages, found.load.bytes) == (full.lane, [3, 2], 2, 5)
    late = find(again, BOB)
    assert (late.id, late.lane, late.stored) == (empty.id, empty.lane, True)
    assert find(again, BOB, "chat").id == 3


def test_what_a_commit_would_forget_is_kept_when_it_is_asked_for(writer: sqlite3.Connection) -> None:
    lanes = make_lanes(writer)
    store(lanes, writer, find(lanes, BOB))
    again, gathered, writing = make_lanes(writer), OutboxShare(), OutboxShare()
    gathered.dropped[1] = None
    assert again.find(again.peer(BOB), "shop", gathered, writing).stored
    assert not gathered.dropped
    again, writing = make_lanes(writer), OutboxShare()
    writing.dropped[1] = None
    assert not again.find(again.peer(BOB), "shop", gathered, writing).stored, "it is to be written again"


def test_what_is_not_in_use_is_left_to_the_disk(writer: sqlite3.Connection) -> None:
    lanes, none = make_lanes(writer), OutboxShare()
    idle, busy, written = find(lanes, ALICE), find(lanes, ALICE, "chat"), find(lanes, ALICE, "echo")
    busy.add(1, 5)
    writing = OutboxShare()
    writing.touched[written] = None
    peer = lanes.peer(ALICE)
    lanes.tidy(peer, none, writing)
    assert {*peer.lanes.values()} == {busy, written}
    assert lanes.lane(ALICE, idle.lane) is None
    busy.add(-1, -5)
    lanes.tidy(peer, none, none)
    assert ALICE not in lanes.peers


def test_lanes_that_were_not_used_for_long_are_forgotten_but_for_those_in_memory(writer: sqlite3.Connection) -> None:
    lanes = make_lanes(writer)
    for node_id in (ALICE, BOB):
        lane = find(lanes, node_id)
        lane.used = 5.0
        store(lanes, writer, lane)
    lanes.tidy(lanes.peer(BOB), OutboxShare(), OutboxShare())
    share, writing = OutboxShare(), OutboxShare()
    assert lanes.drop_unused(share, writing, 9.0, 10) == (1, True)
    assert [*share.dropped] == [2]
    (kept,) = share.whole
    assert (kept.peer.node_id, kept.used) == (ALICE, 1_800_000_000.0)
    assert lanes.drop_unused(share, writing, 9.0, 10) == (0, True), "they are in the share already"
    assert lanes.drop_unused(OutboxShare(), writing, 1.0, 10) == (0, False)


def test_other_numbers_are_had_when_they_are_on_disk(writer: sqlite3.Connection) -> None:
    lanes, share = make_lanes(writer), OutboxShare()
    lane = find(lanes, ALICE)
    before, epoch = lane.lane, lane.sender.epoch
    lanes.renumber(share)
    assert lanes.lane(ALICE, before) is lane
    assert share.renumbered[lane] == (epoch + 1, 0)
    lanes.renumbered(share)
    assert lane.lane == share.lanes[lane] != before
    assert lanes.lane(ALICE, before) is None
    assert lanes.lane(ALICE, lane.lane) is lane
