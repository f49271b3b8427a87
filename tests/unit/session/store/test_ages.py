"""Ages: what a wall clock that is set does to them, in one process, from one to the next, and from boot to boot."""

from __future__ import annotations

import pytest

from oddwire.session.store.ages import MOST_ABSENT, Ages, Mark, boot_id

NOW = 1_795_000_000.0  # in 2026
DAY = 86_400.0


class Board:
    """A machine with both clocks in the test's hand."""

    def __init__(self, wall: float = NOW) -> None:
        self.wall = wall
        self.uptime = 100.0
        self.boot = "first"

    def start(self, mark: Mark | None = None, newest: float = 0.0) -> Ages:
        ages = Ages(wall=lambda: self.wall, uptime=lambda: self.uptime, boot=lambda: self.boot)
        ages.resume(mark, newest)
        return ages

    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.uptime += seconds

    def reboot(self, wall: float) -> None:
        self.wall, self.uptime, self.boot = wall, 5.0, self.boot + "'"


@pytest.mark.parametrize("step", [56 * 365 * DAY, -56 * 365 * DAY, 10 * 365 * DAY, 3600, -3600])
def test_a_step_while_it_runs_moves_nothing(step: float) -> None:
    board = Board()
    ages = board.start()
    made = ages()
    board.wait(10)
    board.wall += step
    board.wait(10)
    assert ages() - made == pytest.approx(20)


def test_a_boot_in_the_past_that_is_set_right_is_no_age() -> None:
    board = Board(27.0)
    ages = board.start()
    made, mark = ages(), ages.mark()
    board.wait(10)
    board.wall = NOW
    again = board.start(mark, made)
    assert again() - made == pytest.approx(10), "of the same boot: its own clock tells"
    board.reboot(NOW + DAY)
    assert board.start(mark, made)() - made == 0, "written down in 1970: nobody knows"


@pytest.mark.parametrize(
    ("before", "after", "absent"),
    [
        (NOW, NOW + 50 + 3600, 3600),
        (NOW, NOW + 50 + 30 * 365 * DAY, MOST_ABSENT),
        (NOW, NOW - 3600, 0),
        (NOW, 5.0, 0),
        (1_460_000_000.0, NOW, 0),  # an image made in 2016
        (27.0, 28.0, 0),
        (NOW, -1e9, 0),
    ],
)
def test_from_one_boot_to_the_next_there_is_only_the_wall_clock(before: float, after: float, absent: float) -> None:
    board = Board(before)
    ages = board.start()
    made = ages()
    board.wait(50)
    mark = ages.mark()
    board.reboot(after)
    assert board.start(mark, made)() - made == pytest.approx(50 + absent)


def test_processes_of_one_boot_know_how_long_none_of_them_ran() -> None:
    board = Board()
    ages = board.start()
    made, mark = ages(), ages.mark()
    board.wait(20 * DAY)
    board.wall = 5.0
    assert board.start(mark, made)() - made == pytest.approx(20 * DAY)


def test_one_that_always_boots_in_1970_ages_what_waits_while_it_runs() -> None:
    board = Board(5.0)
    ages = board.start()
    made = ages()
    for _ in range(15):
        board.wait(DAY)
        mark = ages.mark()
        board.reboot(5.0)
        ages = board.start(mark, made)
    assert ages() - made == pytest.approx(15 * DAY)


def test_without_a_mark_it_is_not_before_what_there_is() -> None:
    board = Board(5.0)
    assert board.start(None, NOW)() == NOW
    assert board.start(None, 0.0)() == 5.0
    board.wall = NOW + 3600
    assert board.start(None, NOW)() == NOW + 3600
    board.wall = NOW + 30 * 365 * DAY
    assert board.start(None, NOW)() == NOW + MOST_ABSENT


def test_where_nothing_names_the_boot_the_wall_clock_has_to_do() -> None:
    board = Board()
    board.boot = ""
    ages = board.start()
    made, mark = ages(), ages.mark()
    board.wait(100)
    assert board.start(mark, made)() - made == pytest.approx(100)


def test_when_to_mark() -> None:
    board = Board()
    ages = board.start()
    assert ages.is_due()
    ages.mark()
    assert not ages.is_due()
    board.wait(59)
    assert not ages.is_due()
    board.wall += 1e6
    assert ages.is_due(), "the wall clock has been set"
    ages.mark()
    board.wait(61)
    assert ages.is_due()
    assert not ages.is_due(3600)


def test_the_real_clocks() -> None:
    ages = Ages()
    before = ages()
    assert ages() >= before
    assert boot_id() == boot_id()
