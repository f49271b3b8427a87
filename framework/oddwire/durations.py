"""Durations as text: ``5 s``, ``90 minutes``, ``14 days``; and the check of durations that users pass."""

from __future__ import annotations

import math
from typing import Any, Final

__all__ = ["SHORTEST", "check_seconds", "duration", "seconds_of", "shown", "spelled_range"]

SHORTEST: Final = 0.001
"""Seconds of the shortest period: a processor would be busy with beginning alone what is repeated more often."""

# From so many of the smaller unit on, the larger one reads better
_UNITS: Final = ((120.0, 1.0, "s"), (7200.0, 60.0, "minutes"), (172800.0, 3600.0, "hours"))
_DAY: Final = 86400.0


def duration(seconds: float) -> str:
    """Return a duration as text, in the unit that fits; below 100 units with three significant digits.

    Less than two minutes are shown in seconds (``0.25 s``, ``90 s``), less than two hours in minutes, less than two
    days in hours, more in days; infinity is ``for ever``, and a negative duration ``0 s``.
    """
    if math.isinf(seconds):
        return "for ever" if seconds > 0 else "0 s"
    seconds = max(seconds, 0.0)
    for limit, unit, name in _UNITS:
        if seconds < limit:
            return f"{_short(seconds / unit)} {name}"
    return f"{_short(seconds / _DAY)} days"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


_FOR_EVER: Final = 1e8  # three years: more than some event loops accept


def check_seconds(where: str, seconds: Any) -> float | None:
    """Return a timeout in seconds, None for no timeout or one of years. ``where`` names the argument in errors.

    Raises `TypeError` if it is not a number, and `ValueError` if it is not a valid timeout.
    """
    if seconds is None:
        return None
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not is_number or not seconds >= 0:
        should = "timeout should be a number of seconds, 0 or more, or None to wait for ever"
        raise (ValueError if is_number else TypeError)(f"{where}: {should}, not {seconds!r:.200}")
    return None if seconds > _FOR_EVER else float(seconds)


def seconds_of(value: Any, least: float = SHORTEST) -> float:
    """Return a duration in seconds, ``least`` or more. Raises `ValueError` saying what it should be."""
    total = getattr(value, "total_seconds", None)  # of a timedelta, without importing datetime
    number: Any = total() if callable(total) else value
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    if not is_number or not least <= number <= _FOR_EVER:  # false for NaN, too
        raise ValueError(f"should be {spelled_range(least)}, or a timedelta")
    return float(number)


def spelled_range(least: float) -> str:
    """Return the durations from ``least`` on, for an error."""
    return f"seconds, {least:g} to {_FOR_EVER:.0f}"


def shown(value: object) -> str:
    """Return a value's text, for an error: that of a very large integer cannot be made."""
    try:
        return f"{value!r:.100}"
    except ValueError:
        return f"a number of {value.bit_length()} bits" if isinstance(value, int) else f"a {type(value).__name__}"
