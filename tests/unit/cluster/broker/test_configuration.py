"""The configuration that is written for nats-server; tests/unit/cli/test_broker.py has it read."""

from __future__ import annotations

from pathlib import Path

import pytest

from oddwire.cluster.broker.configuration import BrokerConfiguration, Login, quoted


def lines(**values: object) -> list[str]:
    made = BrokerConfiguration(**{"host": "127.0.0.1", "port": 4222, "data_dir": Path("/a"), **values})  # type: ignore[arg-type]
    return [line.strip() for line in made.text().splitlines()]


def test_it_listens_where_it_should_and_syncs_always() -> None:
    found = lines()
    assert 'listen: "127.0.0.1:4222"' in found
    assert "sync_interval: always" in found
    assert "max_payload: 8388608" in found
    assert 'store_dir: "/a"' in found
    assert "authorization {" not in found
    assert 'listen: "[::1]:-1"' in lines(host="::1", port=0)


def test_who_is_let_in() -> None:
    assert lines(login=Login(user="a", secret='b"\\'))[-4:] == [
        "authorization {",
        'user: "a"',
        'password: "b\\"\\\\"',
        "}",
    ]
    assert 'token: "t"' in lines(login=Login(secret="t"))


@pytest.mark.parametrize("text", ["a\nb", "\x00", "\u202e"])
def test_what_it_cannot_hold(text: str) -> None:
    with pytest.raises(
        ValueError, match="cannot be written into the broker's configuration: it has control characters"
    ):
        quoted(text)
