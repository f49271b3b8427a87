"""When the next message may go: no clock, no loop."""

from __future__ import annotations

import pytest

from oddwire.transports.cln.pacing import ClnLimits, Pace


def test_a_burst_then_the_rate() -> None:
    pace = Pace(ClnLimits(rate=1000, burst=100_000, depth=99), 0.0)
    assert pace.start_send(60_000, 0.0)
    assert pace.start_send(40_000, 0.0)
    assert not pace.start_send(1000, 0.0)
    assert pace.delay(1000) == pytest.approx(1.0)
    assert not pace.start_send(1000, 0.5)
    assert pace.delay(1000) == pytest.approx(0.5)
    assert pace.start_send(1000, 1.0)


def test_what_is_saved_goes_whatever_time_it_is() -> None:
    pace = Pace(ClnLimits(rate=1000, burst=100_000, depth=3), 0.0)
    assert pace.start_saved(60_000)
    assert pace.start_saved(40_000)
    assert not pace.start_saved(1000)
    assert pace.delay(1000) == pytest.approx(1.0)
    assert pace.start_send(1000, 1.0)
    assert not pace.start_saved(0), "so many at once"
    pace.end_send()
    assert pace.start_saved(0)
    pace = Pace(ClnLimits(rate=None, burst=70_000, depth=99), 0.0)
    assert pace.start_saved(60_000)
    assert not pace.start_saved(60_000)
    assert pace.start_send(60_000, 0.0), "there is no rate"


def test_rest_is_saved_up_to_the_burst() -> None:
    pace = Pace(ClnLimits(rate=1000, burst=70_000, depth=99), 0.0)
    assert pace.start_send(70_000, 0.0)
    assert pace.start_send(65_000, 1e6)
    assert pace.start_send(5_000, 1e6)
    assert not pace.start_send(1, 1e6)


def test_the_largest_message_fits_any_burst() -> None:
    assert Pace(ClnLimits(burst=1), 0.0).start_send(65535, 0.0)


def test_so_many_at_once() -> None:
    pace = Pace(ClnLimits(rate=None, depth=2), 0.0)
    assert pace.start_send(1, 0.0)
    assert pace.start_send(1, 0.0)
    assert not pace.start_send(1, 0.0)
    assert pace.delay(1) is None
    pace.end_send()
    assert pace.start_send(1, 0.0)
