"""Filters of results."""

from __future__ import annotations

from typing import Any

import pytest

from oddwire.jsonrpc.filter import apply_filter, check_filter

RESULT = {"peers": [{"id": "a", "netaddr": ["x", "y"], "state": {"up": True}}, {"id": "b"}], "count": 2}


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        ({}, {}),
        ({"count": True}, {"count": 2}),
        ({"nothing": True}, {}),
        ({"peers": True}, {"peers": RESULT["peers"]}),
        ({"peers": [{"id": True}]}, {"peers": [{"id": "a"}, {"id": "b"}]}),
        ({"peers": [{"state": {"up": True}}]}, {"peers": [{"state": {"up": True}}, {}]}),
        ({"peers": {"id": True}}, {"peers": [], "warning_parameter_filter": ".peers is an array"}),
        ({"peers": [[{"id": True}]]}, {"peers": [{}, {}], "warning_parameter_filter": ".peers[] is an object"}),
    ],
)
def test_what_is_kept(wanted: dict[str, Any], kept: dict[str, Any]) -> None:
    check_filter(wanted)
    assert apply_filter(RESULT, wanted) == kept


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ([], "Expected object"),
        (True, "Expected object"),
        ({"a": False}, "value must be true"),
        ({"a": 1}, "value must be true"),
        ({"a": {"b": None}}, "value must be true"),
        ({"a": []}, "Arrays can only have one element"),
        ({"a": [{"b": True}, {"c": True}]}, "Arrays can only have one element"),
    ],
)
def test_what_is_none(wanted: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        check_filter(wanted)
