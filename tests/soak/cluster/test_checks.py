"""Each check of the kill harness finds its fault, and nothing where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.soak.cluster.checks import (
    all_faults,
    order_faults,
    overlap_faults,
    overlaps,
    reliable_faults,
    repeat_faults,
    tick_faults,
)
from tests.soak.cluster.records import Handling, Life, PlainConn, ReliablePeer, Run, parse

ANN, BOB = "02" + "a" * 64, "03" + "b" * 64


def handled(kind: str, number: int, start: int, end: int | None, *, term: int = 1, pid: int = 7) -> Handling:
    peer, conn = (ANN, 1) if kind == "tick" else (BOB, 0)
    token = f"{pid}.0.{term}.{kind}{number}"
    return Handling(peer, kind, conn, number, 0, term, pid, token, start, end)


def whole() -> Run:
    """A run in which the second owner handles one tick again, and nothing is wrong."""
    ticks = [handled("tick", 1, 0, 5), handled("tick", 2, 10, 15)]
    ticks += [handled("tick", number, number * 10 + 10, number * 10 + 15, term=2, pid=8) for number in (2, 3)]
    orders = [handled("order", 0, 1, 2), handled("order", 1, 50, 51, term=2, pid=8)]
    tokens = [(each.number, each.token) for each in orders]
    return Run(
        handlings=sorted([*ticks, *orders], key=lambda each: each.start),
        reliable={BOB: ReliablePeer(sent=2, settled=[1, 0], done=[*tokens], counter=2, stored=[*tokens])},
        plain={ANN: {1: PlainConn(sent=3)}},
        tocks={ANN: [each.token for each in ticks]},
    )


def bob(run: Run) -> ReliablePeer:
    return run.reliable[BOB]


def test_a_whole_run_has_no_faults() -> None:
    assert all_faults(whole()) == []
    assert all_faults(Run()) == []


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda one: one.settled.remove(1), "receipts lost: [1]"),
        (lambda one: one.settled.append(1), "receipts twice: [1]"),
        (lambda one: one.failed.append("expired"), "a receipt failed: expired"),
        (lambda one: one.stored.pop(), "stored orders lost: [1]"),
        (lambda one: one.stored.append(one.stored[0]), "stored orders twice: [0]"),
        (lambda one: one.stored.reverse(), "stored orders out of order from 0 on: [1, 0]"),
        (lambda one: one.done.pop(0), "answers lost: [0]"),
        (lambda one: one.done.append(one.done[1]), "answers twice: [1]"),
        (lambda one: one.done.reverse(), "answers out of order from 0 on: [1, 0]"),
        (lambda one: setattr(one, "counter", 3), "the counter in the store is 3 after 2 orders"),
        (lambda one: one.done.__setitem__(1, (1, "9.9")), "answers of other handlings than those that stored: [1]"),
    ],
)
def test_reliable_faults_are_found(spoil: Callable[[ReliablePeer], object], fault: str) -> None:
    run = whole()
    spoil(bob(run))
    assert [fault in found for found in reliable_faults(run)] == [True]
    assert all_faults(run) == reliable_faults(run)


def test_a_tick_that_a_living_connection_lost_is_found() -> None:
    run = whole()
    run.plain[ANN][1].sent = 4
    assert tick_faults(run) == ["02aaaaaa: connection 1, which lives: not handled [4] and in all 1"]
    run.plain[ANN][1].lives = False
    assert tick_faults(run) == []


def test_a_hole_is_found_though_the_connection_was_cut() -> None:
    run = whole()
    run.plain[ANN][1].lives = False
    run.handlings = [each for each in run.handlings if (each.kind, each.number) != ("tick", 2)]
    text = "connection 1, which was cut after 3 had been handled: not handled [2] and in all 1"
    assert tick_faults(run) == [f"02aaaaaa: {text}"]


def test_a_tick_that_nobody_sent_is_found() -> None:
    run = whole()
    run.plain[ANN][1].sent = 2
    assert tick_faults(run) == ["02aaaaaa: connection 1: handled and never sent [3]"]


def test_a_newer_tick_before_an_older_one_is_found() -> None:
    run = whole()
    run.handlings = [handled("tick", 1, 0, 1), handled("tick", 3, 2, 3), handled("tick", 2, 4, 5)]
    assert order_faults(run) == [
        "02aaaaaa: connection 1: 3 was handled right after 1",
        "02aaaaaa: connection 1: 2 came after 3, to one owner (7, term 1)",
    ]


def test_a_tick_that_one_owner_handles_twice_is_found() -> None:
    run = whole()
    run.handlings = [*run.handlings, handled("tick", 3, 90, 91, term=2, pid=8)]
    assert order_faults(run) == ["02aaaaaa: connection 1: 3 came after 3, to one owner (8, term 2)"]


def test_two_handlings_at_once_are_found_unless_the_earlier_is_of_a_former_term() -> None:
    first, second = handled("tick", 1, 0, 20), handled("tick", 1, 10, 30, term=2, pid=8)
    run = Run(handlings=[first, second], tocks={ANN: [second.token]})
    assert list(overlaps(run.handlings)) == [(first, second)]
    assert overlap_faults(run) == []
    run.handlings = [replace(first, term=3), second]
    assert ["the earlier is not of a former term" in found for found in overlap_faults(run)] == [True]
    run.handlings = [first, replace(second, term=1)]
    assert ["the earlier is not of a former term" in found for found in overlap_faults(run)] == [True]


@pytest.mark.parametrize("end", [20, None])
def test_a_trace_of_a_former_owner_is_found(end: int | None) -> None:
    first, second = handled("order", 1, 0, end), handled("order", 1, 10, 30, term=2, pid=8)
    run = Run(handlings=[first, second], reliable={BOB: ReliablePeer(stored=[(1, first.token)])})
    assert ["a new owner's, and is in the store" in found for found in overlap_faults(run)] == [True]
    run.reliable = {BOB: ReliablePeer(done=[(1, first.token)])}
    assert ["a new owner's, and is at the peer" in found for found in overlap_faults(run)] == [True]
    run = Run(handlings=[first, second], tocks={ANN: [first.token]})
    assert ["a new owner's, and is at the peer" in found for found in overlap_faults(run)] == [True]


def test_a_handling_that_ended_in_time_may_leave_traces() -> None:
    first, second = handled("tick", 1, 0, 10), handled("tick", 2, 10, 30, term=2, pid=8)
    assert overlap_faults(Run(handlings=[first, second], tocks={ANN: [first.token]})) == []


def test_what_witnesses_write_is_read() -> None:
    started = {"peer": ANN, "kind": "tick", "conn": 1, "number": 1, "partition": 3, "term": 5, "pid": 7}
    lines = [
        {"what": "began", "partition": 3, "term": 5, "pid": 7, "at": 1},
        {"what": "start", **started, "token": "a", "at": 2},
        {"what": "start", **started, "token": "b", "at": 3},
        {"what": "end", "token": "a", "pid": 7, "at": 4},
    ]
    texts = [json.dumps(line) for line in lines]
    one = Handling(ANN, "tick", 1, 1, 3, 5, 7, "a", 2)
    other = replace(one, token="b", start=3)
    lives = [Life(7, 3, 5, 1)]
    assert parse(texts, {}) == ([replace(one, end=4), other], lives)
    assert parse(texts, {7: 9}) == ([replace(one, end=4), replace(other, end=9)], lives)


@pytest.mark.parametrize("line", ['{"what": "sang"}', '{"what": "start", "token": "a"', "{}"])
def test_what_no_witness_writes_is_refused(line: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        parse([line], {})


def test_what_is_handled_or_answered_twice_is_found() -> None:
    run = whole()
    assert repeat_faults(run) == ["02aaaaaa: tick 2 of connection 1 twice"]
    run.handlings = run.handlings[:2]
    assert repeat_faults(run) == []
    run.tocks[ANN] = ["a", "b", "a"]
    assert repeat_faults(run) == ["02aaaaaa: 1 answers twice"]
