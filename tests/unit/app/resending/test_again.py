from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from oddwire.app import Again, Pending


def test_by_default_it_goes_each_minute_and_at_each_connection() -> None:
    again = Again()
    assert (again.seconds, again.on_connect, again.life, again.key) == (60.0, True, None, None)


def test_durations_are_seconds_or_timedeltas() -> None:
    assert Again(every=timedelta(minutes=2), until=timedelta(hours=1)) == Again(
        every=timedelta(0, 120), until=timedelta(0, 3600)
    )
    assert (Again(every=10, until=5).seconds, Again(every=10, until=5).life) == (10.0, 5.0)
    assert (Again(every=timedelta(minutes=2)).seconds, Again(until=timedelta(days=1)).life) == (120.0, 86400.0)
    assert Again(every=None).seconds is None


@pytest.mark.parametrize("name", ["every", "until"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "10", True, timedelta(0)])
def test_what_is_no_duration_is_refused(name: str, value: Any) -> None:
    with pytest.raises(
        ValueError, match=rf"^Again\({name}=\): should be seconds, 0.001 to 100000000, or a timedelta, not "
    ):
        Again(**{name: value})


def test_what_would_go_once_is_refused() -> None:
    with pytest.raises(ValueError, match="would send once: give it one of both"):
        Again(every=None, on_connect=False)
    with pytest.raises(TypeError, match=r"^Again\(on_connect=\): should be True or False, not 1"):
        Again(on_connect=1)  # type: ignore[arg-type]


def test_what_is_no_key_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^Again\(key=\): a key should be a str"):
        Again(key=1.5)  # type: ignore[arg-type]


def test_what_waits_is_told_by_name() -> None:
    pending = Pending(extension="swap", message=None, reliable=True, age=3.0)
    assert (pending.key, pending.sent, pending.due) == (None, None, None)
