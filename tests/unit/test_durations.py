from __future__ import annotations

import math

import pytest

from oddwire.durations import check_seconds, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (0.05, "0.05 s"),
        (0.123456, "0.123 s"),
        (5.0, "5 s"),
        (90, "90 s"),
        (119.9, "120 s"),
        (120, "2 minutes"),
        (5400, "90 minutes"),
        (7200, "2 hours"),
        (86400, "24 hours"),
        (172800, "2 days"),
        (216000, "2.5 days"),
        (14 * 86400.0, "14 days"),
        (365.25 * 86400, "365 days"),
        (56 * 365.25 * 86400, "20454 days"),
        (math.inf, "for ever"),
        (-math.inf, "0 s"),
    ],
)
def test_as_people_say_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("seconds", "found"), [(None, None), (0, 0.0), (0.5, 0.5), (5, 5.0), (math.inf, None)])
def test_how_long_to_wait(seconds: float | None, found: float | None) -> None:
    assert check_seconds("call()", seconds) == found


@pytest.mark.parametrize(
    ("seconds", "error"),
    [("x", TypeError), (True, TypeError), ([], TypeError), (math.nan, ValueError), (-1, ValueError)],
)
def test_what_is_no_time_to_wait_is_named(seconds: object, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        check_seconds("call()", seconds)
    assert str(caught.value) == (
        "call(): timeout should be a number of seconds, 0 or more, or None to wait for ever, not " + repr(seconds)
    )
