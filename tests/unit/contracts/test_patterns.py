from __future__ import annotations

import re

import pytest

from oddwire.contracts.patterns import matching


@pytest.mark.parametrize(
    "pattern",
    [
        "[!-~]+",
        "[a-z]{2,5}",
        "(a|b)+c?",
        r"\d{4}-\d\d",
        "[^a]",
        "(?:x|y){3}",
        "[0-9a-f]{64}",
        r"\S+@\S+",
        ".*",
        r"\w\W\s",
    ],
)
def test_texts_match(pattern: str) -> None:
    found = [*matching(pattern)]
    assert found
    assert all(re.fullmatch(pattern, text) for text in found)
    assert found == [*matching(pattern)]


def test_what_is_too_hard_has_none() -> None:
    assert [*matching("(?=z)q")] == []
