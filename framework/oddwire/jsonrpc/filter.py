"""The ``filter`` of a JSON-RPC request, which selects fields of the result."""

from __future__ import annotations

from typing import Any

__all__ = ["apply_filter", "check_filter"]


def check_filter(wanted: Any) -> None:
    """Check a filter: objects of fields, arrays of one element, and ``true`` at the ends. Raises `ValueError`."""
    if not isinstance(wanted, dict):
        raise ValueError("Expected object")
    _check(wanted)


def _check(wanted: Any) -> None:
    if isinstance(wanted, list):
        if len(wanted) != 1:
            raise ValueError("Arrays can only have one element")
        if not isinstance(wanted[0], (dict, list)):
            raise ValueError("value must be true" if wanted[0] is not True else "Expected object")
        _check(wanted[0])
        return
    for value in wanted.values():
        if isinstance(value, (dict, list)):
            _check(value)
        elif value is not True:
            raise ValueError("value must be true")


def apply_filter(result: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the part of ``result`` that a checked filter selects.

    A filter that has an object where the result has an array, or the reverse, adds ``warning_parameter_filter``.
    """
    misused: list[str] = []
    kept = _apply(result, wanted, "", misused)
    if misused:
        kept["warning_parameter_filter"] = misused[0]
    return kept  # type: ignore[no-any-return]  # an object filtered by an object is one


def _apply(value: Any, wanted: Any, path: str, misused: list[str]) -> Any:
    if wanted is True or not isinstance(value, (dict, list)):
        return value
    if isinstance(value, dict):
        if isinstance(wanted, list):
            misused.append(f"{path} is an object")
            return {}
        return {
            key: _apply(value[key], inner, f"{path}.{key}", misused) for key, inner in wanted.items() if key in value
        }
    if isinstance(wanted, dict):
        if wanted:
            misused.append(f"{path} is an array")
            return []
        return value
    return [_apply(item, wanted[0], f"{path}[]", misused) for item in value]
