"""How a command ends when it cannot go on."""

from __future__ import annotations

import pytest

from oddwire.cli.exit import FAILED, USAGE, CommandFailure, no_extension


def test_a_failure_has_a_text_and_an_exit_code() -> None:
    assert (str(CommandFailure("port in use")), CommandFailure("port in use").code) == ("port in use", FAILED)
    assert CommandFailure("bad URI", USAGE).code == USAGE
    assert len({0, FAILED, USAGE}) == 3


def test_who_names_no_extension_is_told_which_there_are() -> None:
    text = no_extension("run")
    assert text.startswith("run needs the names of extensions: 'oddwire run chat'; installed are chat, ")
    assert "echo" in text


def test_where_none_is_installed_a_file_is_the_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])  # where no package is installed
    assert no_extension("run") == "run needs the names of extensions: 'oddwire run ./mine.py'"
