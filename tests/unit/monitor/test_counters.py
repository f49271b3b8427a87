"""Rates and series from samples of counters, by a clock that the test moves."""

from __future__ import annotations

import pytest

from oddwire.monitor.counters import SECONDS, Counters


def test_nothing_is_a_rate_of_nothing():
    counters: Counters[str] = Counters()
    assert counters.rate("a") == 0
    assert counters.series("a") == [0.0] * SECONDS
    counters.take(10, {"a": 1000})
    assert counters.rate("a") == 0
    assert sum(counters.series("a")) == 0


def test_a_rate_is_over_the_last_five_seconds():
    counters: Counters[str] = Counters()
    for second in range(20):
        counters.take(float(second), {"a": 10 * second if second < 10 else 90 + 2 * (second - 9)})
    assert counters.rate("a") == pytest.approx(2)


def test_a_rate_is_known_from_the_second_sample_on_however_late_it_comes():
    counters: Counters[str] = Counters()
    counters.take(0, {"a": 0})
    counters.take(0.5, {"a": 10})
    assert counters.rate("a") == pytest.approx(20)
    counters.take(100, {"a": 10 + 199})
    assert counters.rate("a") == pytest.approx(2)


def test_a_series_has_what_came_each_second_the_newest_last():
    counters: Counters[str] = Counters()
    for second, count in enumerate([0, 5, 5, 8]):
        counters.take(100.0 + second, {"a": count, "b": 1})
    assert counters.series("a")[-4:] == pytest.approx([0, 5, 0, 3])
    assert counters.series("a", "b") == counters.series("a")
    assert len(counters.series()) == SECONDS


def test_what_spans_seconds_is_spread_over_them():
    counters: Counters[str] = Counters()
    counters.take(0, {"a": 0})
    counters.take(4, {"a": 8})
    assert counters.series("a")[-5:] == pytest.approx([0, 2, 2, 2, 2])


def test_a_window_forgets():
    counters: Counters[str] = Counters()
    counters.take(0, {"a": 0})
    counters.take(1, {"a": 100})
    counters.take(200, {"a": 100})
    assert sum(counters.series("a")) == 0
    assert counters.rate("a") == 0


def test_a_counter_that_fell_has_begun_anew_and_others_go_on():
    counters: Counters[str] = Counters()
    counters.take(0, {"a": 50, "b": 0})
    counters.take(1, {"a": 3, "b": 4})
    assert counters.series("a")[-1] == pytest.approx(3)
    assert counters.series("b")[-1] == pytest.approx(4)
    counters.take(2, {"b": 4})
    counters.take(3, {"a": 2, "b": 4})
    assert counters.series("a")[-1] == pytest.approx(2)


def test_a_sample_of_the_same_moment_is_left_for_the_next():
    counters: Counters[str] = Counters()
    counters.take(0, {"a": 0})
    counters.take(0, {"a": 5})
    counters.take(1, {"a": 6})
    assert counters.series("a")[-1] == pytest.approx(6)
    counters.clear()
    assert counters.rate("a") == 0
