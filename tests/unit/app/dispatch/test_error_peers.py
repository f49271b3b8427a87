"""Whom an error is about."""

from __future__ import annotations

import pytest

from oddwire.app.dispatch.error_peers import with_peer
from oddwire.errors import RemoteFailure

NODE_ID = "02" + "aa" * 32


@pytest.mark.parametrize(
    ("text", "node_id", "told"),
    [
        ("no such asset", NODE_ID, f"no such asset, says {NODE_ID}"),
        ("", NODE_ID, f"says {NODE_ID}"),
        (f"{NODE_ID} has no such asset", NODE_ID, f"{NODE_ID} has no such asset"),
        ("no such asset", None, "no such asset"),
    ],
)
def test_the_peer_that_failed_is_behind_the_text_that_does_not_name_it(
    text: str, node_id: str | None, told: str
) -> None:
    error = RemoteFailure(text)
    error.node_id = node_id
    assert with_peer(error) == told


def test_other_errors_are_about_no_peer() -> None:
    assert with_peer(ValueError("wrong")) == "wrong"
