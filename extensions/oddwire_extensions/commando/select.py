"""The ``filter`` of a command: an object of the fields that are wanted, with true where all of a value is."""

from __future__ import annotations

from typing import Any

__all__ = ["check_filter", "select"]


def check_filter(wanted: Any) -> None:
    """Check a filter: objects, arrays of one element, and true at their ends. Raises `ValueError`."""
    if not isinstance(wanted, dict):
        raise ValueError("filter should be an object")
    _check(wanted)


def _check(wanted: Any) -> None:
    if isinstance(wanted, dict):
        for inner in wanted.values():
            _check(inner)
    elif isinstance(wanted, list):
        if len(wanted) != 1:
            raise ValueError("an array in filter should have one element")
        _check(wanted[0])
    elif wanted is not True:
        raise ValueError("what is wanted should be true in filter")


def select(value: Any, wanted: Any) -> Any:
    """Return the part of a value that a checked filter wants."""
    if isinstance(wanted, dict) and isinstance(value, dict):
        return {key: select(value[key], inner) for key, inner in wanted.items() if key in value}
    if isinstance(wanted, list) and isinstance(value, list):
        return [select(item, wanted[0]) for item in value]
    return value if wanted is True or not isinstance(value, dict | list) else type(value)()
