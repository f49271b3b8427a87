"""The log's file, and what may become of it."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from oddwire.node.log_file import LogFile


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs" / "log"


@pytest.fixture
def file(path: Path, clock: Clock) -> Iterator[LogFile]:
    file = LogFile(path, clock)
    yield file
    file.close()


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_is_there_stays(path: Path) -> None:
    path.write_text("before\n")
    file = LogFile(path)
    file.write("after \udcff\n")
    file.close()
    file.close()
    assert path.read_text() == "before\nafter ?\n"
    with pytest.raises(OSError, match="closed"):
        file.write("late\n")


def test_a_line_that_was_cut_short_spoils_no_other(file: LogFile, path: Path) -> None:
    with files_up_to(10):
        file.write("12345\n")
        for _ in range(2):
            with pytest.raises(OSError, match="File too large"):
                file.write("67890\n")
    file.write("later\n")
    assert path.read_text() == "12345\n6789\nlater\n"


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_file_that_is_gone_is_made_anew(file: LogFile, path: Path, how: str) -> None:
    file.write("one\n")
    if how == "deleted":
        path.unlink()
    else:
        path.with_name("other").write_text("another's\n")
        path.with_name("other").replace(path)
    file.write("two\n")
    assert path.read_text() == ("another's\n" if how == "replaced" else "") + "two\n"


def test_one_that_is_moved_is_written_to_until_it_is_opened_anew(file: LogFile, path: Path) -> None:
    file.write("one\n")
    moved = path.rename(path.with_name("log.1"))
    file.write("two\n")
    file.reopen()
    file.write("three\n")
    assert (moved.read_text(), path.read_text()) == ("one\ntwo\n", "three\n")


def test_a_folder_that_is_gone_is_waited_for(file: LogFile, path: Path, clock: Clock) -> None:
    path.unlink()
    path.parent.rmdir()
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            file.write("one\n")
    path.parent.mkdir()
    clock.now += 1
    file.write("two\n")
    assert path.read_text() == "two\n"


def test_a_pipe_that_nobody_reads_holds_up_nobody(tmp_path: Path, clock: Clock) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    file = LogFile(pipe, clock)
    with pytest.raises(OSError, match="is a pipe that no process reads"):
        file.write("nobody\n")
    for _ in range(2):
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        clock.now += 1
        file.write("heard\n")
        assert os.read(reader, 100) == b"heard\n"
        with pytest.raises(BlockingIOError):  # noqa: PT012 - how much fits is the kernel's business
            while True:
                file.write("x" * 999 + "\n")
        while os.read(reader, 1 << 16).endswith(b"x"):
            pass
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            file.write("nobody\n")
    file.close()


def test_what_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        LogFile(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        LogFile(tmp_path / "missing" / "log")
    assert caught.value.errno == errno.ENOENT
