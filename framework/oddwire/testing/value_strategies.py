"""Hypothesis strategies for scalars, for values within limits, and for what validators accept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from hypothesis import strategies as st

from oddwire.errors import CodecError
from oddwire.schema.class_records import Record
from oddwire.schema.kinds import Array, Fixed, Float, Integer, Kind, Octets, Prefixed, Table, Text
from oddwire.schema.standard_scalars import DATETIME, DECIMAL, seconds
from oddwire.schema.value_kinds import Limited, Limits, Scalar, unlimited

__all__ = ["around", "is_valid", "limited", "scalars", "size_within"]

_Values = Callable[[Kind], st.SearchStrategy[Any]]

# Not places with summer time: a time that is skipped there, or comes twice, equals none of another zone (PEP 495).
_OFFSETS: Final = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_REFUSED: Final = object()
_FIRST: Final = -62_135_596_800  # the year 1 in seconds since 1970
_LAST: Final = 253_402_300_799  # the end of the year 9999


def scalars(kind: Scalar, values: _Values) -> st.SearchStrategy[Any]:
    """Return a strategy for the objects of a scalar."""
    if kind == DATETIME:
        return st.datetimes(timezones=st.just(UTC) | _OFFSETS).filter(_is_utc_time)
    if kind == DECIMAL:
        return st.decimals(-(10**20), 10**20, allow_nan=False) | st.decimals(0, 1, places=8)
    if isinstance(kind.inner, Integer) and kind == seconds(kind.inner):
        return st.integers(max(kind.inner.low, _FIRST), min(kind.inner.high, _LAST)).map(kind.load)
    return around(kind, values(kind.inner))


def around(kind: Scalar | Limited, inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for values of ``kind`` made of its inner kind's: those that it accepts."""
    if isinstance(kind, Limited):
        return inner.filter(lambda value: not kind.refuse(value))

    def load(wire: Any) -> Any:
        try:
            value = kind.from_wire(wire, "$")
            kind.to_wire(value, "$")
        except CodecError:
            return _REFUSED
        return value

    return inner.map(load).filter(lambda value: value is not _REFUSED)


def limited(kind: Limited, values: _Values, max_size: int) -> st.SearchStrategy[Any]:
    """Return a strategy for values within limits: drawn from such values where that can be said, and checked."""
    inner, limits = unlimited(kind), _merged(kind)
    found: st.SearchStrategy[Any]
    if kind.inner is not inner and not isinstance(inner, Integer):
        return around(kind, values(kind.inner))
    match inner:
        case Integer() if limits.bounds:
            found = _integers(inner, limits)
        case Float() if limits.bounds:
            found = _floats(limits)
        case Text() if limits.pattern is not None:
            found = st.from_regex(limits.pattern, fullmatch=True).filter(lambda text: _fits(inner, text))
        case Octets() | Text() | Array() | Table() if limits.length is not None:
            found = _of_length(inner, *limits.length, values, max_size)
        case _:
            found = values(inner)
    return found.filter(lambda value: not kind.refuse(value))


def is_valid(record: Record, instance: object) -> bool:
    """Return whether an instance passes the class's validators."""
    try:
        for validator in record.validators:
            validator.check_sent(instance, "$")
    except CodecError:
        return False
    return True


def size_within(kind: Kind, drawn: int, max_size: int) -> int:
    """Return the number of elements of a field whose count is another field, for which ``drawn`` was drawn."""
    low, high = 0, max_size
    while isinstance(kind, Scalar | Limited):
        if isinstance(kind, Limited) and kind.limits.length is not None:
            low, high = max(low, kind.limits.length[0]), min(high, kind.limits.length[1])
        kind = kind.inner
    return max(low, min(drawn, high))


def _merged(kind: Kind) -> Limits:
    """Return the limits of a kind and of those inside of it, of integers: each bound as ``ge`` or ``le``."""
    if not isinstance(kind, Limited) or not isinstance(unlimited(kind), Integer):
        return kind.limits if isinstance(kind, Limited) else Limits()
    lows, highs = [], []
    while isinstance(kind, Limited):
        limits = kind.limits
        lows += [bound for bound in (limits.ge, None if limits.gt is None else limits.gt + 1) if bound is not None]
        highs += [bound for bound in (limits.le, None if limits.lt is None else limits.lt - 1) if bound is not None]
        kind = kind.inner
    return Limits(ge=max(lows, default=None), le=min(highs, default=None))


def _integers(kind: Integer, limits: Limits) -> st.SearchStrategy[int]:
    return st.integers(
        kind.low if limits.ge is None else limits.ge,
        kind.high if limits.le is None else limits.le,
    )


def _floats(limits: Limits) -> st.SearchStrategy[float]:
    return st.floats(
        limits.gt if limits.ge is None else limits.ge,
        limits.lt if limits.le is None else limits.le,
        exclude_min=limits.gt is not None,
        exclude_max=limits.lt is not None,
        allow_nan=False,
        allow_infinity=False,
    )


def _of_length(
    kind: Octets | Text | Array | Table, low: int, high: int, values: _Values, max_size: int
) -> st.SearchStrategy[Any]:
    high = min(high, max(low, max_size))
    match kind:
        case Octets():
            return st.binary(min_size=low, max_size=high)
        case Text():
            texts = st.text(st.characters(codec="utf-8"), min_size=low, max_size=high)
            return texts.filter(lambda text: _fits(kind, text))
        case Array():
            return st.lists(values(kind.element), min_size=low, max_size=high).map(kind.python)
    return st.dictionaries(values(Text()), values(kind.value), min_size=low, max_size=high)


def _fits(kind: Text, text: str) -> bool:
    """Return whether a kind's own rules allow a text."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return False
    if isinstance(kind.count, Fixed):
        return size == kind.count.size
    most = kind.count.integer.high if isinstance(kind.count, Prefixed) else size
    return size <= most and (kind.max_length is None or len(text) <= kind.max_length)


def _is_utc_time(value: datetime) -> bool:
    """Return whether a time is one in UTC, too: the first and last hours of all are not."""
    try:
        value.astimezone(UTC)
    except (OverflowError, ValueError):
        return False
    return True
