"""How ``oddwire call`` reads its parameters; what it does is tested on real nodes in tests/interop."""

from __future__ import annotations

from typing import Any

import pytest

from oddwire.cli.call import read_parameters, read_value

ID = "02" + "1" * 64


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("0", 0),
        ("1.5", 1.5),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ('{"a": [1]}', {"a": [1]}),
        ("[1, 2]", [1, 2]),
        ('"5"', "5"),
        ("", ""),
        ("text", "text"),
        ("77770012", 77770012),
        ("0012", "0012"),  # hex, not a number
        ("-5", "-5"),  # as lightning-cli
        ("1" * 19, "1" * 19),
        (ID, ID),
        ("1.2.3", "1.2.3"),
        (".", "."),
        (".5", ".5"),
        ("5.", "5."),
        ("00.5", "00.5"),
        ("٣", "٣"),
        ("{", "{"),
        ('"', '"'),
        ("a=b", "a=b"),
    ],
)
def test_values(text: str, value: Any) -> None:
    read = read_value(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", ["{x}", "[1,]", '"a"b"'])
def test_what_looks_like_json_and_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not JSON"):
        read_value(text)


def test_parameters() -> None:
    assert read_parameters(["a=1", "2"], by_name=False) == ["a=1", 2]
    assert read_parameters(["a=1", "b=x=y", "c="], by_name=True) == {"a": 1, "b": "x=y", "c": ""}
    with pytest.raises(ValueError, match="expected name=value, not 'b'"):
        read_parameters(["a=1", "b"], by_name=True)
