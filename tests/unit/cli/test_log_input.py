"""oddwire.cli.log_input."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oddwire.cli.exit import CommandFailure
from oddwire.cli.log_input import lines_of


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def followed(log: Path, *steps: Callable[[], object]) -> Iterator[str]:
    """Follow a log, and take a step at each pause."""
    left = [*steps]

    def pause(_: float) -> None:
        if not left:
            raise EOFError
        left.pop(0)()

    return lines_of(str(log), follow=True, pause=pause)


def taken(lines: Iterator[str]) -> list[str]:
    found: list[str] = []
    with contextlib.suppress(EOFError):
        found.extend(lines)
    return found


def test_lines_without_their_ends(log: Path) -> None:
    log.write_bytes(b"a\r\nb\n\n\xff\xfec\nlast")
    assert [*lines_of(str(log))] == ["a", "b", "", "\udcff\udcfec", "last"]


def test_what_an_editor_marks_utf_8_with_is_no_part_of_a_line(log: Path) -> None:
    log.write_bytes(b"\xef\xbb\xbf{}\r\n")
    assert [*lines_of(str(log))] == ["{}"]


def test_a_line_that_is_too_long_is_cut(log: Path) -> None:
    log.write_bytes(b"x" * (9 << 20) + b"\nnext\n")
    first, second = lines_of(str(log))
    assert (len(first), second) == (4 << 20, "next")


def test_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\nb")))
    assert [*lines_of("-")] == ["a", "b"]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CommandFailure, match="there is no file") as raised:
        [*lines_of(str(tmp_path / "none"))]
    assert raised.value.code == 2
    with pytest.raises(CommandFailure, match="directory"):
        [*lines_of(str(tmp_path))]


def test_lines_that_are_added(log: Path) -> None:
    log.write_text("one\ntw")

    def go_on() -> None:
        with log.open("a") as file:
            file.write("o\nthree\n")

    assert taken(followed(log, go_on)) == ["one", "two", "three"]


def test_a_log_that_is_rotated(log: Path) -> None:
    log.write_text("one\n")

    def rotate() -> None:
        with log.open("a") as file:
            file.write("two, half")
        log.rename(log.with_suffix(".1"))

    def begin() -> None:
        log.write_text("three\n")

    assert taken(followed(log, rotate, begin)) == ["one", "two, half", "three"]


def test_a_log_that_is_emptied(log: Path) -> None:
    log.write_text("one, and more\n")
    assert taken(followed(log, lambda: log.write_text("two\n"))) == ["one, and more", "two"]
