"""The inbox's rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from oddwire.session.reliable.inbox_records import Key, LaneRecord, LaneRecords
from oddwire.session.store.database import MEMORY, Database
from oddwire.session.wire.frame_types import Refusal

ALICE, BOB = b"\x02" * 33, b"\x03" * 33


def key(peer: bytes, lane: int) -> Key:
    return peer, lane.to_bytes(8)


@pytest.fixture
def writer() -> Iterator[sqlite3.Connection]:
    database = Database(MEMORY)
    yield database.writer
    database.close()


@pytest.fixture
def records(writer: sqlite3.Connection) -> LaneRecords:
    records = LaneRecords()
    for peer, lane, seen, refused in ((ALICE, 1, 30.0, 0), (ALICE, 2, 10.0, 2), (BOB, 1, 20.0, 1)):
        records.put(writer, key(peer, lane), (5, 9, 1, seen, refused))
        refusals = [Refusal(sequence, 4, "no") for sequence in range(1, refused + 1)]
        records.refuse(writer, key(peer, lane), 5, refusals)
    records.load(writer)
    return records


def test_a_lane_is_read_with_its_refusals(records: LaneRecords) -> None:
    assert (records.rows, records.refusals) == (3, 3)
    refusals = [Refusal(1, 4, "no"), Refusal(2, 4, "no")]
    assert records.find(key(ALICE, 2)) == LaneRecord(True, 5, 9, 1, 10.0, refusals)
    assert records.find(key(BOB, 2)) is None
    assert (records.lanes_of(ALICE), records.lanes_of(BOB), records.lanes_of(b"")) == (2, 1, 0)


def test_the_oldest_come_first(records: LaneRecords) -> None:
    assert [*records.oldest(30.0, 9)] == [(key(ALICE, 2), 2), (key(BOB, 1), 1)]
    assert [*records.oldest(99.0, 1)] == [(key(ALICE, 2), 2)]
    assert [*records.oldest_of(ALICE, 9)] == [(key(ALICE, 2), 2), (key(ALICE, 1), 0)]
    assert [*records.oldest_refused(9)] == [(key(ALICE, 2), 2), (key(BOB, 1), 1)]


def test_writing_again_replaces(records: LaneRecords, writer: sqlite3.Connection) -> None:
    records.put(writer, key(BOB, 1), (6, 1, 0, 40.0, 0))
    records.change(writer, key(ALICE, 1), (5, 10, 2))
    records.change(writer, key(BOB, 7), (5, 10, 2))  # which is not there
    records.refuse(writer, key(ALICE, 2), 5, [Refusal(2, 1000, "never")])
    assert records.find(key(BOB, 1)) == LaneRecord(True, 6, 1, 0, 40.0, []), "refusals of another epoch are not its"
    assert records.find(key(ALICE, 1)) == LaneRecord(True, 5, 10, 2, 30.0, [])
    assert records.find(key(BOB, 7)) is None
    found = records.find(key(ALICE, 2))
    assert found is not None
    assert found.refusals == [Refusal(1, 4, "no"), Refusal(2, 1000, "never")]


def test_refusals_that_the_sender_knows_go(records: LaneRecords, writer: sqlite3.Connection) -> None:
    records.settle(writer, key(ALICE, 2), 5, 2)
    records.settle(writer, key(BOB, 1), 6, 1)
    found = records.find(key(ALICE, 2))
    assert found is not None
    assert [refusal.sequence for refusal in found.refusals] == [2]
    records.load(writer)
    assert records.refusals == 1


def test_a_deleted_lane_leaves_nothing(records: LaneRecords, writer: sqlite3.Connection) -> None:
    records.delete(writer, [key(ALICE, 1), key(ALICE, 2)])
    records.load(writer)
    assert (records.rows, records.refusals) == (1, 1)


def test_a_lane_is_read_in_one_statement(records: LaneRecords, writer: sqlite3.Connection) -> None:
    """Between two, a commit may delete the lane: it would be found without its refusals."""
    statements: list[str] = []
    writer.set_trace_callback(statements.append)
    assert records.find(key(ALICE, 2)) is not None
    assert len(statements) == 1
