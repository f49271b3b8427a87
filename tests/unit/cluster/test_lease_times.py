from __future__ import annotations

import pytest

from oddwire.cluster.lease_times import TIMES, LeaseClock, LeaseTimes


def test_a_lease_counts_from_when_it_was_asked_for_and_is_over_before_another_can_have_it():
    clock = LeaseClock(TIMES, sent=100.0)

    assert (clock.due, clock.deadline, clock.kill) == (102.0, 108.0, 109.0)
    assert not clock.is_over(107.9)
    assert clock.is_over(108.0)
    assert clock.kill < 100.0 + TIMES.ttl


def test_a_renewal_counts_from_when_it_was_sent_and_not_from_its_answer():
    clock = LeaseClock(TIMES, sent=100.0)

    clock.sent(102.0)
    assert (clock.due, clock.deadline) == (104.0, 108.0)

    clock.granted(102.0)  # at 103.5, say
    assert (clock.due, clock.deadline) == (104.0, 110.0)


def test_a_renewal_without_an_answer_is_sent_again_and_changes_no_deadline():
    clock = LeaseClock(TIMES, sent=100.0)

    for at in (102.0, 104.0, 106.0):
        assert clock.due == at
        clock.sent(at)

    assert clock.deadline == 108.0


def test_an_answer_that_was_overtaken_does_not_move_the_deadline_back():
    clock = LeaseClock(TIMES, sent=100.0)
    clock.granted(104.0)
    clock.granted(102.0)

    assert clock.deadline == 112.0


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"renew": 8.0}, "renew < ttl - margin"),
        ({"renew": 0.0}, "renew < ttl - margin"),
        ({"watchdog": 2.5}, "watchdog <= margin"),
    ],
)
def test_times_that_would_not_be_safe_are_refused(given, wrong):
    with pytest.raises(ValueError, match=wrong):
        LeaseTimes(**given)
