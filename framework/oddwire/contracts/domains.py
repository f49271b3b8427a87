"""Which values a type of a contract has: its bounds, lengths and patterns, compared between a sender and a receiver."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

__all__ = [
    "INTEGER",
    "Type",
    "bounds_of",
    "core_of",
    "effective_count",
    "exceeds",
    "is_integer",
    "lengths_of",
    "limits_of",
    "patterns_of",
    "range_of",
    "refuses",
]

Type = Mapping[str, Any]
INTEGER: Final = re.compile(r"(?P<form>u|s|tu)(?P<bits>[1-9][0-9]?)|bigsize|int")
_ENDLESS: Final = 1 << 64
_YEARS: Final = (-62_135_596_800, 253_402_300_799)  # 1 to 9999, in seconds since 1970
_SIZED: Final = ("array", "bytes", "map", "opaque", "str")


def is_integer(type_: Type) -> bool:
    """Return whether a type is an integer."""
    return INTEGER.fullmatch(type_["type"]) is not None


def range_of(name: str) -> tuple[int, int]:
    """Return the least and the largest value of an integer's type."""
    match = INTEGER.fullmatch(name)
    if match is None or match["form"] is None:
        return (-(1 << 63) if name == "int" else 0), (1 << 64) - 1
    bits = int(match["bits"])
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if match["form"] == "s" else (0, (1 << bits) - 1)


def core_of(type_: Type) -> tuple[Type, tuple[str, ...]]:
    """Return what is in scalars, and the names of these, from the outside in."""
    names = []
    while type_["type"] == "scalar":
        names.append(type_["class"])
        type_ = type_["of"]
    return type_, tuple(names)


def limits_of(type_: Type) -> Iterator[tuple[str, Type]]:
    """Yield each of the limits of a type, and of what is in its scalars, with the name of what it limits."""
    while True:
        for limits in type_.get("limits", ()):
            yield type_["class"] if type_["type"] == "scalar" else "", limits
        if type_["type"] != "scalar":
            return
        type_ = type_["of"]


def bounds_of(type_: Type) -> dict[str, tuple[Any, bool, Any, bool]]:
    """Return the bounds of values by what they are bounds of: a scalar's name, or nothing for the carrier.

    Each is the least value, whether that is excluded, the largest, and whether that is. None is no bound.
    """
    core, names = core_of(type_)
    found: dict[str, tuple[Any, bool, Any, bool]] = {}
    if is_integer(core):
        low, high = range_of(core["type"])
        if "datetime" in names:
            low, high = max(low, _YEARS[0]), min(high, _YEARS[1])
        found[""] = (low, False, high, False)
    for name, limits in limits_of(type_):
        low_, high_ = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
        if low_ is None and high_ is None:
            continue
        if isinstance(low_ if low_ is not None else high_, int) and is_integer(core):
            name = ""  # a scalar whose values are bounded by what carries them: seconds
        low, low_out, high, high_out = found.get(name, (None, False, None, False))
        if low_ is not None and (low is None or _above(low_, "gt" in limits, low, low_out)):
            low, low_out = low_, "gt" in limits
        if high_ is not None and (high is None or _above(high, high_out, high_, "lt" in limits)):
            high, high_out = high_, "lt" in limits
        if name == "" and is_integer(core):  # whole numbers: above 0 is at least 1
            low, high, low_out, high_out = low + low_out, high - high_out, False, False
        found[name] = (low, low_out, high, high_out)
    return found


def exceeds(
    low: Any, low_out: bool, high: Any, high_out: bool, of: tuple[Any, bool, Any, bool]
) -> bool:  # fmt: skip
    """Return whether values within the first bounds may be outside of the second."""
    least, least_out, most, most_out = of
    below = least is not None and (low is None or _above(least, least_out, low, low_out))
    above = most is not None and (high is None or _above(high, high_out, most, most_out))
    return below or above


def _above(one: Any, one_out: bool, other: Any, other_out: bool) -> bool:
    """Return whether the bound ``one`` leaves out values that ``other`` does not, as least values; if in doubt True."""
    first, second = _number(one), _number(other)
    if first is None or second is None:
        return bool((one, one_out) != (other, other_out))
    if first == second:
        return one_out and not other_out
    return bool(first > second)


def _number(bound: Any) -> Any:
    if isinstance(bound, int | float):
        return Decimal(bound) if isinstance(bound, int) else Decimal(repr(bound))
    try:
        return Decimal(bound)
    except (InvalidOperation, TypeError):
        pass
    match = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?Z", str(bound))
    return None if match is None else Decimal("".join(part or "" for part in match.groups()))


def lengths_of(type_: Type, *, bolt: bool, alone: bool = False) -> tuple[int, int]:
    """Return the least and the largest number of bytes, characters, elements or keys."""
    core, _ = core_of(type_)
    if core["type"] == "opaque":
        return core["size"], core["size"]
    low, high = 0, _ENDLESS
    count = effective_count(core, alone=alone) if bolt else core.get("count")
    if isinstance(count, int) and (bolt or core["type"] != "str"):
        low = high = count
    elif isinstance(count, Mapping) and "first byte" in count:
        low, high = min(count["first byte"]), max(count["first byte"])
    elif bolt and isinstance(count, str) and count != "rest":
        high = range_of(count)[1]
    high = min(high, core.get("max_length", high))
    for _, limits in limits_of(type_):
        if "length" in limits:
            low, high = max(low, limits["length"][0]), min(high, limits["length"][1])
    return low, high


def effective_count(type_: Type, *, alone: bool) -> Any:
    """Return how bolt says how many there are; ``alone`` for what is a whole TLV record."""
    return type_.get("count", "rest" if alone else "u16")


def patterns_of(type_: Type) -> set[str]:
    """Return the patterns of a type."""
    return {limits["pattern"] for _, limits in limits_of(type_) if "pattern" in limits}


def refuses(type_: Type, value: int | str, *, bolt: bool) -> bool:
    """Return whether a type, of integers or text, refuses one value of an enum."""
    if isinstance(value, int):
        return exceeds(value, False, value, False, bounds_of(type_).get("", (None, False, None, False)))
    low, high = lengths_of(type_, bolt=bolt)
    if not low <= len(value) <= high:
        return True
    return any(re.fullmatch(pattern, value) is None for pattern in patterns_of(type_))
