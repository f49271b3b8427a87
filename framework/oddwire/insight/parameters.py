"""The parameters of RPC methods with which one looks on: ``oddwire-watch``, ``node-watch``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from oddwire.jsonrpc.parameters import Parameter

__all__ = ["WATCHING"]

_LONGEST: Final = 60.0  # seconds
_MOST: Final = 1000  # events of an answer


def _number(most: float) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        number = _as_number(value)
        if not 0 <= number <= most:
            raise ValueError(f"should be a number from 0 to {most:g}")
        return number

    return read


def _as_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("should be a number")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise ValueError("should be a number") from None


def _whole(most: int, least: int = 0) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        number = _as_number(value)
        if not number.is_integer() or not least <= number <= most:
            raise ValueError(f"should be a whole number from {least} to {most}")
        return int(number)

    return read


def _types(value: Any) -> tuple[int, ...]:
    items = value if isinstance(value, list) else [value]
    try:
        return tuple(_whole(65535)(int(item, 0) if isinstance(item, str) else item) for item in items)
    except ValueError:
        raise ValueError("should be a list of type numbers, 0 to 65535") from None


def _peers(value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) for item in items):
        raise ValueError("should be a list of node ids")
    return tuple(item.lower() for item in items)


WATCHING: Final = (
    Parameter("after", _whole(1 << 53), required=False),
    Parameter("wait", _number(_LONGEST), required=False, default=0.0),
    Parameter("limit", _whole(_MOST, 1), required=False, default=_MOST),
    Parameter("types", _types, required=False, default=()),
    Parameter("peers", _peers, required=False, default=()),
)
"""The parameters of a method that watches."""
