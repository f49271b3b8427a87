from __future__ import annotations

import pytest

from oddwire.node.plugins.log_text import brief, id_prefix, plain


@pytest.mark.parametrize(
    ("client_id", "prefix"),
    [
        ("cli:logecho#30327", "cli:logecho#30327"),
        (42, "42"),
        ("", ""),
        (1.5, "1.5"),
        ('x"y', "weird-id"),
        ("x\\y", "weird-id"),
        ("a/bé", "weird-id"),
        ("new\nline", "weird-id"),
        (None, None),
    ],
)
def test_the_ids_that_plugins_see(client_id: object, prefix: str | None) -> None:
    assert id_prefix(client_id) == prefix


def test_long_values_are_cut() -> None:
    assert brief({"a": "é"}) == '{"a": "é"}'
    assert len(brief("x" * 1000)) < 210


def test_texts_are_shown_plainly() -> None:
    assert plain("not now") == "not now"
    assert plain(None) == "null"
