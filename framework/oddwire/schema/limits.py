"""The constraints of `field`, checked against the kind that they are for. Imported by the first class that has any."""

from __future__ import annotations

import re
from typing import Any

from oddwire.errors import CodecError, SchemaError
from oddwire.records import replace
from oddwire.schema.kinds import Array, Choice, Fixed, Float, Integer, Kind, Octets, Table, Text
from oddwire.schema.tree import MSGPACK, dump
from oddwire.schema.value_kinds import Limits, Scalar, unlimited

__all__ = ["check_limits"]


def check_limits(kind: Kind, limits: Limits) -> Limits:
    """Return limits that are right for ``kind``, ``length`` as a pair. Raises `SchemaError`."""
    bare = unlimited(kind)
    if limits.bounds:
        _check_bounds(bare, limits.bounds)
    if limits.pattern is not None:
        _check_pattern(bare, limits.pattern)
    if limits.length is not None:
        limits = replace(limits, length=_checked_length(bare, limits.length))
    return limits


def _check_bounds(kind: Kind, bounds: dict[str, Any]) -> None:
    for name, bound in bounds.items():
        if not isinstance(kind, Integer | Float | Scalar):
            raise SchemaError(f"{name}={bound!r} is for what has an order, and not for {kind.label}{_remedy(kind)}")
        try:
            dump(kind, bound, MSGPACK)
            _ = bound <= bound  # raises what a value's comparison would raise
        except CodecError as error:
            raise SchemaError(f"{name}={bound!r} should be a value of the field: {error.args[0]}") from None
        except Exception:
            text = f"{name}={bound!r} is for what has an order, and not for {kind.label}"
            raise SchemaError(text) from None
    if {"ge", "gt"} <= bounds.keys() or {"le", "lt"} <= bounds.keys():
        raise SchemaError(f"{', '.join(bounds)} are one too many: give one lower and one upper bound")
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    if isinstance(kind, Integer):
        low = kind.low if low is None else low + ("gt" in bounds)
        high = kind.high if high is None else high - ("lt" in bounds)
        empty = low > high
    else:
        empty = low is not None and high is not None and (high < low if {"ge", "le"} <= bounds.keys() else high <= low)
    if empty:
        raise SchemaError(f"no {kind.label} is {Limits(**bounds).describe()}")


def _check_pattern(kind: Kind, pattern: Any) -> None:
    if not isinstance(kind, Text):
        raise SchemaError(f"pattern={pattern!r} is for str, not {kind.label}{_remedy(kind)}")
    if not isinstance(pattern, str):
        raise SchemaError(f"pattern={pattern!r} should be a regular expression, as a string")
    try:
        re.compile(pattern)
    except re.error as error:
        raise SchemaError(f"pattern={pattern!r} is no regular expression: {error}") from None


def _checked_length(kind: Kind, length: Any) -> tuple[int, int]:
    if not isinstance(kind, Octets | Text | Array | Table):
        raise SchemaError(f"{kind.label} has no length to limit: only str, bytes, tuple, list and dict do")
    pair = (length, length) if isinstance(length, int) else length
    whole = isinstance(pair, tuple) and len(pair) == 2 and all(type(size) is int and size >= 0 for size in pair)
    if not whole or pair[0] > pair[1]:
        raise SchemaError(f"length={length!r} should be a number from 0, or two, (least, most)")
    if kind.max_length is not None:
        raise SchemaError(f"length={length!r} and max_length={kind.max_length} are one too many: length has both ends")
    if not isinstance(kind, Table) and isinstance(kind.count, Fixed):
        raise SchemaError(f"length={length!r} and a count of {kind.count.size} are one too many: leave length away")
    return pair


def _remedy(kind: Kind) -> str:
    if isinstance(kind, Array):
        return ": for its elements, write it there: tuple[Annotated[X, field(...)], ...]"
    if isinstance(kind, Table):
        return ": for its values, write it there: dict[str, Annotated[X, field(...)]]"
    if isinstance(kind, Choice):
        return ": leave out the members that are not allowed"
    return ""
