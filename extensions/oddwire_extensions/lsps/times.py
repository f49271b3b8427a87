"""Times as bLIP-50 writes them, ``2023-02-23T08:47:30.511Z``, to and from `datetime`."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

__all__ = ["read_time", "write_time"]

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", re.ASCII)


def read_time(text: str) -> datetime:
    """Return the time of a text, in UTC. Raises `ValueError`, and `TypeError` for what is no text.

    It has three digits of a second by bLIP-50; none, or up to nine, are read as well: LDK writes as many as it needs,
    and examples in bLIP-51 have none.
    """
    if not isinstance(text, str):
        raise TypeError(f"read_time() takes a text such as '2023-02-23T08:47:30.511Z', not {text!r:.100}")
    whole, _, fraction = text.removesuffix("Z").partition(".")
    with suppress(ValueError):  # the month 13
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00")
    raise ValueError(f"should be a time such as 2023-02-23T08:47:30.511Z, not {text!r:.100}")


def write_time(time: datetime) -> str:
    """Return a time as bLIP-50 writes it, in UTC, rounded down to a millisecond.

    Raises `ValueError` without a zone, and `TypeError` for what is no `datetime`.
    """
    if not isinstance(time, datetime):
        raise TypeError(f"write_time() takes a datetime, datetime.now(UTC) say, not {time!r:.100}")
    if time.tzinfo is None:
        raise ValueError(f"should have a time zone, as datetime.now(UTC) has, not {time!r}")
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
