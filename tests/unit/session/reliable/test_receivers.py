"""Whom a lane's messages go to, of the programs behind a peer's node."""

from __future__ import annotations

import math

import pytest

from oddwire.session.reliable.receivers import PATIENCE, Known, Offer, Search, Stopwatch, choose, rank

A = Offer(1, 10, (77,))
B = Offer(2, 20, (88, 99))
LOST = Offer(3, 10, (66,))  # A's program with another store
MOVED = Offer(4, 30, (55, 77))  # another program with A's store
BARE = Offer(5, 10, ())  # A's program, which does not say what stores it has
LEAST = Offer(6, 1, (1,))
KNOWN = Known(10, (77,))


@pytest.mark.parametrize(
    ("offer", "known", "expected"),
    [
        (A, KNOWN, 1),
        (MOVED, KNOWN, 1),
        (LOST, KNOWN, 2),
        (BARE, KNOWN, 2),
        (A, Known(10, ()), 2),
        (A, None, 3),
        (BARE, None, 3),
        (B, KNOWN, 4),
        (B, Known(30, (99, 5)), 1),
        (Offer(7, 20, ()), Known(10, ()), 4),
    ],
)
def test_how_well_a_session_suits(offer: Offer, known: Known | None, expected: int) -> None:
    assert rank(offer, known) == expected


@pytest.mark.parametrize(
    ("offers", "known", "current", "waited", "expected"),
    [
        ([], None, 0, 0.0, None),
        ([], KNOWN, 1, 1e9, None),
        # Nobody is known: the least number
        ([A, B], None, 0, 0.0, A),
        ([B, A, LEAST], None, 0, 0.0, LEAST),
        # The store, wherever it is; then the program; then nobody yet
        ([LEAST, B, A], KNOWN, 0, 0.0, A),
        ([LEAST, MOVED, LOST], KNOWN, 0, 0.0, MOVED),
        ([LEAST, B, LOST], KNOWN, 0, 0.0, LOST),
        ([LEAST, B, BARE], KNOWN, 0, 0.0, BARE),
        ([LEAST, B], KNOWN, 0, 0.0, None),
        ([LEAST, B], KNOWN, 0, PATIENCE - 0.1, None),
        ([B, LEAST], KNOWN, 0, PATIENCE, LEAST),
        # It stays where it is
        ([A, LEAST], None, 1, 0.0, A),
        ([LOST, LEAST], KNOWN, 3, 1e9, LOST),
        ([B, LEAST], KNOWN, 2, 1e9, B),
        # unless one comes that stands before it
        ([LOST, MOVED], KNOWN, 3, 0.0, MOVED),
        ([B, LOST], KNOWN, 2, 0.0, LOST),
        ([B, A], KNOWN, 2, 0.0, A),
        # or it ends
        ([LEAST, A], None, 9, 0.0, LEAST),
        ([LEAST], KNOWN, 1, 0.0, None),
    ],
)
def test_which_session_a_lane_takes(
    offers: list[Offer], known: Known | None, current: int, waited: float, expected: Offer | None
) -> None:
    assert choose(offers, known, current, waited) == expected
    assert choose([*reversed(offers)], known, current, waited) == expected, "whatever their order"


def test_of_several_that_have_the_store_the_last_to_come_has_it_now() -> None:
    assert choose([A, MOVED], KNOWN, 1, 0.0) == MOVED
    assert choose([MOVED, A, LEAST], KNOWN, 4, 0.0) == A
    assert choose([MOVED, Offer(7, 25, (77,))], KNOWN, 0, 0.0) == Offer(7, 25, (77,))


def test_a_stopwatch() -> None:
    watch = Stopwatch()
    assert (watch.seconds(5.0), watch.due(10.0)) == (0.0, math.inf)
    watch.start(5.0)
    watch.start(7.0)
    assert (watch.seconds(8.0), watch.due(10.0)) == (3.0, 15.0)
    watch.stop(9.0)
    watch.stop(11.0)
    assert (watch.seconds(20.0), watch.due(10.0)) == (4.0, math.inf)
    watch.start(20.0)
    assert (watch.seconds(21.0), watch.due(10.0)) == (5.0, 26.0)
    watch.reset()
    assert (watch.seconds(30.0), watch.due(10.0)) == (0.0, math.inf)


class TestSearch:
    def test_what_only_others_were_there_counts_and_no_more(self) -> None:
        search = Search()
        assert search.choose([B], KNOWN, 0, 100.0) is None
        assert search.due(1e9) == 100.0 + PATIENCE
        assert search.choose([], KNOWN, 0, 120.0) is None, "20 s"
        assert search.choose([B], KNOWN, 0, 1000.0) is None
        search.pause(1030.0)  # 50 s
        assert search.due(1e9) == math.inf
        assert search.choose([B], KNOWN, 0, 5000.0) is None
        assert search.due(1e9) == 5010.0
        assert search.choose([B], KNOWN, 0, 5009.9) is None
        assert search.choose([B], KNOWN, 0, 5010.0) == B
        assert search.due(1e9) == math.inf

    def test_who_is_known_and_comes_begins_it_anew(self) -> None:
        search = Search()
        search.choose([B], KNOWN, 0, 0.0)
        assert search.choose([B, LOST], KNOWN, 0, 59.0) == LOST
        assert search.choose([B], KNOWN, 0, 61.0) is None
        assert search.due(1e9) == 61.0 + PATIENCE

    def test_how_long_nobody_is_there(self) -> None:
        search = Search()
        search.choose([], KNOWN, 0, 0.0)
        assert search.due(60.0) == 60.0
        search.pause(40.0)
        search.choose([], KNOWN, 0, 1000.0)
        assert not search.is_alone(1019.0, 60.0)
        assert search.is_alone(1020.0, 60.0)
        search.reported = True
        assert search.due(60.0) == math.inf
        search.choose([B], KNOWN, 0, 1030.0)
        assert not search.reported
        assert not search.is_alone(1e9, 60.0)
