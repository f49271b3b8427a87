"""Answers of stats, read into tables whatever is in them."""

from __future__ import annotations

import pytest
from tests.support.watched_program import ALICE, BOB

from oddwire.monitor.snapshot import Program, read_snapshot, short_peer


def test_rows_of_one_type_are_added_up():
    rows = [
        {"type": 1001, "message": "a.B", "direction": "received", "outcome": "ok", "count": 3, "bytes": 30},
        {"type": 1001, "message": "a.B", "direction": "received", "outcome": "failed", "count": 2, "bytes": 20},
        {"type": 1001, "message": "a.B", "direction": "received", "outcome": "pending", "count": 1, "bytes": 10},
        {"type": 1001, "message": "a.B", "direction": "sent", "outcome": "ok", "count": 4, "bytes": 40},
        {"type": None, "message": None, "direction": "received", "outcome": "unknown", "count": 5, "bytes": 50},
    ]
    other, line = read_snapshot({"messages": rows}).types
    assert (line.name, line.received, line.sent, line.size, line.troubled) == ("a.B", 6, 4, 100, 2)
    assert (other.name, other.received) == ("all other types", 5)


def test_a_type_without_a_name_has_that_of_protocols_in_the_wild():
    snapshot = read_snapshot({"messages": [{"type": 32769}, {"type": 42069}]})
    assert snapshot.types[0].name == "0x8001"
    assert "PeerSwap swap_in_request" in snapshot.types[1].name


def test_peers_and_sums():
    snapshot = read_snapshot(
        {
            "peers": [
                {"id": ALICE, "connected": 5, "queue": 2, "received": 7},
                {"id": BOB, "connected": 50.5, "session": True, "direction": "out", "sent": 9},
            ],
            "peers_total": 2000,
            "queues": {"messages": 2, "bytes": 1000, "tasks": 1},
            "outbox": [{"waiting": 2}, {"waiting": 3}],
            "errors": [{"count": 4}],
            "limits": {"connections": {"refused": 3, "dropped": 0}},
        }
    )
    assert [peer.id for peer in snapshot.peers] == [BOB, ALICE]  # the longest first
    assert snapshot.peers_total == 2000
    assert snapshot.peer_counts[ALICE, "received"] == 7
    assert snapshot.bottom == {
        "queue": 2,
        "queue_bytes": 1000,
        "tasks": 1,
        "outbox": 5,
        "errors": 4,
        "limits": ("connections refused 3",),
    }


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"messages": 3, "peers": "x", "queues": [], "outbox": {}, "limits": 1, "errors": None},
        {"messages": [1, None, {"count": "x", "type": []}], "peers": [{}, {"id": 5, "queue": -1, "connected": "y"}]},
        {"uptime": 10**400, "time": float("nan"), "peers": [{"connected": 10**400, "received": 10**400}]},
        {"limits": {"a": 3, "b": {"c": "d"}}, "extensions": [{"name": 1}], "pid": "x", "uptime": None},
    ],
)
def test_nothing_is_taken_on_trust(answer):
    assert read_snapshot(answer).program.pid == 0


def test_text_of_others_is_made_printable():
    snapshot = read_snapshot({"program": "a\x1b[2J", "messages": [{"type": 1, "message": "b\n"}]})
    assert snapshot.program.title == "a\\x1b[2J (unknown kind)"
    assert snapshot.types[0].name == "b\\n"


def test_another_run_is_another_process_or_a_clock_that_went_back():
    first = Program(pid=1, node_id=ALICE, uptime=50)
    assert not Program(pid=1, node_id=ALICE, uptime=51).is_another_run_of(first)
    assert Program(pid=2, node_id=ALICE, uptime=60).is_another_run_of(first)
    assert Program(pid=1, node_id=ALICE, uptime=3).is_another_run_of(first)


def test_a_short_peer():
    assert short_peer(ALICE) == "0279be66...1798"
    assert short_peer("bob") == "bob"
