"""What is printed becomes lines of the log."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from oddwire.transports.cln.printed_lines import PrintedLines


class Pipe:
    def __init__(self) -> None:
        self.fd, self.printed = os.pipe()
        os.set_blocking(self.fd, False)
        self.told: list[tuple[str, str]] = []
        self.lines = PrintedLines(self.fd, lambda level, text: self.told.append((level, text)))

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.told]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.fd)


def test_whole_lines_are_logged_and_the_rest_at_the_end(pipe: Pipe) -> None:
    os.write(pipe.printed, b"one\r\n  \n\ntw")
    assert pipe.lines.read()
    assert not pipe.lines.read()
    assert pipe.told == [("info", "one")]
    os.write(pipe.printed, b"o\xff\nthree")
    pipe.lines.read_last()
    assert pipe.texts == ["one", "two\\xff", "three"]
    assert not pipe.lines.has_ended
    os.close(pipe.printed)
    assert not pipe.lines.read()
    assert pipe.lines.has_ended


def test_a_line_without_an_end_is_not_kept_for_ever(pipe: Pipe) -> None:
    os.write(pipe.printed, b"x" * 20_000)
    assert pipe.lines.read()
    assert pipe.texts == ["x" * 20_000]
    os.close(pipe.printed)


def test_without_a_descriptor_nothing_is_printed() -> None:
    lines = PrintedLines(None, lambda level, text: pytest.fail(text))
    assert lines.has_ended
    assert not lines.read()
    lines.read_last()
