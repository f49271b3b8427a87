"""What the node's own kinds of parameter take, and lightningd's words for what they do not."""

from __future__ import annotations

from typing import Any

import pytest

from oddwire.node import method_parameters


@pytest.mark.parametrize(
    ("name", "value", "parsed"),
    [
        ("a_flag", True, True),
        ("a_flag", False, False),
        ("a_number", 5, 5),
        ("a_number", "4294967295", 2**32 - 1),
        ("a_u64", str(2**64 - 1), 2**64 - 1),
        ("a_port", 9735, 9735),
        ("a_port", "9735", 9735),
        ("a_key", "one", ("one",)),
        ("a_key", 7, ("7",)),
        ("a_key", ["a", 1, ""], ("a", "1", "")),
    ],
)
def test_taken(name: str, value: Any, parsed: Any) -> None:
    assert getattr(method_parameters, name)(value) == parsed


@pytest.mark.parametrize(
    ("name", "values", "text"),
    [
        ("a_number", [-1, 1.5, "x", "", "٣", 2**32, "9" * 5000, True, None], "should be an integer"),
        ("a_flag", ["true", "false", 0, 1, None, []], "should be 'true' or 'false'"),
        ("a_u64", [-1, 2**64], "should be an unsigned 64 bit integer"),
        ("a_port", [65536, "x"], "should be a 16-bit integer"),
        ("a_port", [0], "should be non-zero"),
        ("a_key", [[]], "should not be empty"),
        ("a_key", [{}], "should be string or array"),
        ("a_key", [[[]], ["a", {}], "nul\0", "\udc00"], "should be string"),
    ],
)
def test_refused(name: str, values: list[Any], text: str) -> None:
    for value in values:
        with pytest.raises(ValueError) as caught:
            getattr(method_parameters, name)(value)
        assert str(caught.value) == text, value
