"""The kinds of `datetime` and `Decimal` fields. Imported by the first class that has any, as it loads both modules."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from oddwire.schema.kinds import Integer, Text
from oddwire.schema.value_kinds import Scalar

__all__ = ["DATETIME", "DECIMAL", "seconds", "standard_scalar"]

# datetime ------------------------------------------------------------------------------------------------------------

# RFC 3339, section 5.6. Fractions of a second may have any number of digits there; nanoseconds are what is in use.
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _load_time(text: str) -> datetime:
    if not _TIME.fullmatch(text):
        raise ValueError(f"datetime should be like 2024-01-31T12:00:00Z, not {text!r:.40}")
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"datetime should be like 2024-01-31T12:00:00Z, not {text!r}: {error}") from None


def _dump_time(value: datetime) -> str:
    return _aware(value).astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _load_seconds(number: int) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=number)
    except OverflowError:
        raise ValueError(f"datetime should be seconds since 1970, up to the year 9999, not {number}") from None


def _dump_seconds(value: datetime) -> int:
    passed = _aware(value) - _EPOCH
    if passed.microseconds:
        raise ValueError(f"datetime should be a whole second, as value.replace(microsecond=0) is, not {value}")
    return passed.days * 86_400 + passed.seconds


def _aware(value: datetime) -> datetime:
    if value.utcoffset() is None:
        raise ValueError(f"datetime should have a time zone, as datetime.now(UTC) has, not {value}")
    return value


DATETIME: Final = Scalar(
    *("datetime", Text(), datetime, _load_time, _dump_time),
    hint="a time, 2024-01-31T12:00:00Z",
    not_bolt="BOLT 1 has no type for it: write Annotated[datetime, u64] for seconds since 1970",
)
"""`datetime` as text of RFC 3339."""


def seconds(integer: Integer) -> Scalar:
    """Return the kind of ``Annotated[datetime, u64]``: seconds since 1970, as that integer."""
    return Scalar(
        *("datetime", integer, datetime, _load_seconds, _dump_seconds), hint="seconds since 1970-01-01T00:00:00Z"
    )


# Decimal -------------------------------------------------------------------------------------------------------------

_MOST_DIGITS: Final = 1000  # what a peer sends is computed with: 1E+999999999 has as many digits as that says
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)


def _load_decimal(text: str) -> Decimal:
    if len(text) > _MOST_DIGITS or not _NUMBER.fullmatch(text):
        raise ValueError(f"Decimal should be like 1.50, of {_MOST_DIGITS} digits at most, not {text!r:.40}")
    return Decimal(text)


def _dump_decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise ValueError(f"Decimal should be finite, not {value}")
    _, digits, exponent = value.as_tuple()
    text = f"{value:f}" if max(len(digits), abs(int(exponent))) <= _MOST_DIGITS else ""
    if not text or len(text) > _MOST_DIGITS:
        raise ValueError(f"Decimal should have {_MOST_DIGITS} digits at most, not as many as {value!s:.40}")
    return text


DECIMAL: Final = Scalar(
    *("Decimal", Text(), Decimal, _load_decimal, _dump_decimal),
    hint="a decimal number, 1.50",
    not_bolt="BOLT 1 has no type for it: write u64, in the smallest unit, or str",
)
"""`Decimal` as text of decimal digits."""


def standard_scalar(annotation: Any) -> Scalar | None:
    """Return the kind of `datetime` or `Decimal`, None for anything else."""
    return {datetime: DATETIME, Decimal: DECIMAL}.get(annotation)
