"""When the thread reads in the loop's place: the time and what lies in stdin are the test's."""

from __future__ import annotations

import pytest

from oddwire.transports.cln.stdin_watch import WATCH, StdinWatch
from oddwire.transports.cln.stdio_states import Reading


class Watched(StdinWatch):
    """A watch that has begun at 0.0; ``unread`` is whether something lies in stdin."""

    def __init__(self) -> None:
        super().__init__(lambda: self.unread)
        self.unread = False
        self.reading.become(Reading.QUIET)
        self.begin(0.0)

    @property
    def now(self) -> Reading:
        return self.reading.now


@pytest.fixture
def watch() -> Watched:
    watch = Watched()
    assert watch.now is Reading.WATCHED
    return watch


def test_a_loop_that_comes_keeps_reading(watch: Watched) -> None:
    watch.unread = True
    for number in range(1, 200):
        watch.beat += 1
        watch.look(number * WATCH)
        assert watch.now is Reading.WATCHED


def test_a_loop_that_does_not_come_is_replaced_when_its_time_is_over(watch: Watched) -> None:
    watch.unread = True
    watch.look(WATCH / 2)
    assert watch.now is Reading.WATCHED
    watch.look(WATCH)
    assert watch.now is Reading.REPLACED


def test_a_loop_that_is_back_reads_again_and_has_all_its_time(watch: Watched) -> None:
    watch.unread = True
    watch.look(WATCH)
    watch.has_read(1.0)
    assert watch.now is Reading.REPLACED
    watch.beat += 1
    watch.has_read(1.0)
    assert watch.now is Reading.WATCHED
    watch.look(1.0 + WATCH / 2)
    assert watch.now is Reading.WATCHED
    watch.look(1.0 + WATCH)
    assert watch.now is Reading.REPLACED


def test_after_a_hundred_looks_at_nothing_the_thread_sleeps(watch: Watched) -> None:
    watch.beat += 1
    watch.look(1.0)
    for second in range(2, 101):
        watch.look(float(second))
    assert watch.now is Reading.WATCHED
    watch.look(101.0)
    assert watch.now is Reading.QUIET
    watch.begin(102.0)
    assert watch.now is Reading.WATCHED


@pytest.mark.parametrize("state", [Reading.ALONE, Reading.OVER])
def test_a_loop_that_has_let_go_is_not_watched_any_more(watch: Watched, state: Reading) -> None:
    watch.unread = True
    watch.reading.become(state)
    watch.look(WATCH)
    watch.beat += 1
    watch.has_read(1.0)
    watch.begin(2.0)
    assert watch.now is state
