"""How ``oddwire node`` reads options that are plugins'; what it does is tested as a process in tests/interop."""

from __future__ import annotations

import pytest

from oddwire.cli.failure import USAGE, Failure
from oddwire.cli.node import read_plugin_options


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], []),
        (["--flag"], [("flag", None)]),
        (["--name=value"], [("name", "value")]),
        (["--name="], [("name", "")]),
        (["--name=a=b"], [("name", "a=b")]),
        (["--name", "value", "--flag", "--x=1"], [("name", "value"), ("flag", None), ("x", "1")]),
        (["--multi=1", "--multi=2"], [("multi", "1"), ("multi", "2")]),
    ],
)
def test_options(arguments: list[str], options: list[tuple[str, str | None]]) -> None:
    assert read_plugin_options(arguments) == options


@pytest.mark.parametrize("arguments", [["stray"], ["-x"], ["--"], ["--=1"], ["--a=1", "stray"]])
def test_what_is_no_option(arguments: list[str]) -> None:
    with pytest.raises(Failure, match="should look like --name=value") as caught:
        read_plugin_options(arguments)
    assert caught.value.code == USAGE
