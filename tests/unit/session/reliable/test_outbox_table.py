"""The outbox's rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from oddwire.proto.keys import NodeId
from oddwire.session.reliable.lanes import Sender
from oddwire.session.reliable.outbox_state import OutboxLane, OutboxPeer, OutboxRow, OutboxShare
from oddwire.session.reliable.outbox_table import LaneRow, OutboxTable
from oddwire.session.reliable.receipt import Receipt
from oddwire.session.reliable.receivers import Known
from oddwire.session.store.database import MEMORY, Database

ALICE, BOB = NodeId(b"\x02" * 33), NodeId(b"\x03" * 33)


@pytest.fixture
def writer() -> Iterator[sqlite3.Connection]:
    database = Database(MEMORY)
    yield database.writer
    database.close()


@pytest.fixture
def table(writer: sqlite3.Connection) -> OutboxTable:
    table = OutboxTable()
    table.load(writer)
    return table


def lane(id_: int, node_id: NodeId = ALICE, extension: str = "shop", *, used: float = 10.0) -> OutboxLane:
    made = OutboxLane(id_, OutboxPeer(node_id), 100 + id_, extension, Sender(epoch=7, offset=0, base=1, stop=1))
    made.used = used
    return made


def share_of(*lanes: OutboxLane, whole: bool = True, messages: int = 0) -> OutboxShare:
    share = OutboxShare()
    for lane in lanes:
        share.touched[lane] = None
        if whole:
            share.whole[lane] = None
        share.settled[lane] = lane.sender.base
        for number in range(lane.next, lane.next + messages):
            share.rows.append(OutboxRow(lane, number, 1000.0 + number, b"x" * number, Receipt()))
        lane.next += messages
    return share


def test_without_a_database_there_is_nothing() -> None:
    table = OutboxTable()
    assert (table.last_id(), table.count(), [*table.lanes()], [*table.sizes()]) == (0, 0, [], [])
    assert (table.newest_lane(ALICE, "shop"), table.oldest(9e9, 9)) == (None, [])
    assert table.payloads(lane(1), 1, 9) == []


def test_what_is_written_is_read(table: OutboxTable, writer: sqlite3.Connection) -> None:
    one, two = lane(1), lane(2, BOB, "")
    share = share_of(one, messages=3)
    share.known[one] = Known(5, (6, 7))
    table.write(writer, share)
    table.write(writer, share_of(two))
    assert (table.last_id(), table.count()) == (2, 2)
    row = LaneRow(1, ALICE, 101, "shop", (7, 0, 1, 4), Known(5, (6, 7)), 10.0)
    assert [*table.lanes()] == [row], "the other one has no messages"
    assert table.newest_lane(ALICE, "shop") == row
    assert table.newest_lane(BOB, "shop") is None
    assert [*table.sizes()] == [(1, 1), (1, 2), (1, 3)]
    assert table.payloads(one, 2, 9) == [b"xx", b"xxx"]
    assert table.payloads(one, 1, 1) == [b"x"]
    assert table.kept(one, 2, 3) == {2: (1002.0, b"xx")}


def test_payloads_end_where_one_is_missing(table: OutboxTable, writer: sqlite3.Connection) -> None:
    one = lane(1)
    table.write(writer, share_of(one, messages=3))
    writer.execute("DELETE FROM oddwire_outbox WHERE number = 2")
    assert table.payloads(one, 1, 9) == [b"x"]
    assert table.payloads(one, 2, 9) == []


def test_what_is_settled_goes(table: OutboxTable, writer: sqlite3.Connection) -> None:
    one = lane(1)
    table.write(writer, share_of(one, messages=3))
    share = share_of(one, whole=False)
    share.settled[one] = 3
    table.write(writer, share)
    assert [*table.sizes()] == [(1, 3)]
    found = table.newest_lane(ALICE, "shop")
    assert found is not None
    assert found.numbers == (7, 0, 3, 4)


def test_the_first_that_is_young_enough(table: OutboxTable, writer: sqlite3.Connection) -> None:
    one = lane(1)
    table.write(writer, share_of(one, messages=3))
    assert table.first_younger(one, 1, 4, 1002.0) == 2
    assert table.first_younger(one, 1, 4, 2000.0) == 4
    assert table.first_younger(one, 7, 9, 0.0) == 7, "nothing is there"


def test_lanes_that_were_not_used_for_long_are_told_and_forgotten(
    table: OutboxTable, writer: sqlite3.Connection
) -> None:
    table.write(writer, share_of(lane(1, used=3.0), messages=1))
    table.write(writer, share_of(lane(2, BOB, used=1.0), lane(3, BOB, "chat", used=9.0)))
    assert table.oldest(5.0, 9) == [(2, BOB, False), (1, ALICE, True)]
    assert table.oldest(5.0, 1) == [(2, BOB, False)]
    share = OutboxShare()
    share.dropped[2] = None
    table.write(writer, share)
    assert table.count() == 2


def test_where_all_get_other_numbers_those_without_messages_go(table: OutboxTable, writer: sqlite3.Connection) -> None:
    one = lane(1)
    table.write(writer, share_of(one, lane(2, BOB)))
    table.write(writer, share_of(one, messages=1))
    share = share_of(one)
    share.renewed = True
    share.lanes[one], share.renumbered[one] = 5555, (8, 0)
    table.write(writer, share)
    (row,) = table.lanes()
    assert (row.lane, row.numbers) == (5555, (8, 0, 1, 2))
    assert table.count() == 1


def test_a_database_that_cannot_be_read_is_logged(
    table: OutboxTable, writer: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    writer.execute("DROP TABLE oddwire_outbox")
    assert table.payloads(lane(1), 1, 9) == []
    assert table.oldest(9e9, 9) == []
    assert f"the outbox for {ALICE} cannot be read" in caplog.text
    assert "the outbox cannot be read" in caplog.text
