"""The lines of a log: of a file, one that grows and is rotated, or of stdin."""

from __future__ import annotations

import os
import sys
import time
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from io import BufferedReader, FileIO
from pathlib import Path
from typing import BinaryIO, Final

from oddwire.cli.exit import FAILED, USAGE, CommandFailure

__all__ = ["lines_of"]

_LONGEST: Final = 4 << 20  # bytes of a line; a payload of 65535 bytes has 131070 digits
_PAUSE: Final = 0.2  # seconds between looks at a file that is followed


def lines_of(path: str, *, follow: bool = False, pause: Callable[[float], object] = time.sleep) -> Iterator[str]:
    """Yield the lines of a file, of stdin for ``-``; with ``follow`` also those that come, and those of its successor.

    A line is without its end; bytes that are no UTF-8 are lone surrogates, and a line of more than 4 MiB is cut off. A
    file that is followed is opened anew when it is replaced, begins again, or is there again. Raises `CommandFailure`.
    """
    if path == "-":
        if sys.stdin is None:
            raise CommandFailure("stdin is closed", USAGE)
        yield from _whole_lines(sys.stdin.buffer)
        return
    file = _open(Path(path))
    if file is None:
        raise CommandFailure(f"there is no file {path!r}", USAGE)
    try:
        if not follow:
            yield from _whole_lines(file)
            return
        while True:
            yield from _lines_until_replaced(Path(path), file, pause)
            file.close()
            while (successor := _open(Path(path))) is None:
                pause(_PAUSE)
            file = successor
    finally:
        file.close()


def _open(path: Path) -> BufferedReader | None:
    """Return a file opened, None if there is none. Raises `CommandFailure`."""
    try:
        return BufferedReader(FileIO(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandFailure(f"{path}: {error.strerror}", FAILED) from error


def _whole_lines(file: BinaryIO | BufferedReader) -> Iterator[str]:
    while line := file.readline(_LONGEST):
        yield _text(line)
        while line and not line.endswith(b"\n"):  # too long: the rest is passed over
            line = file.readline(_LONGEST)


def _lines_until_replaced(path: Path, file: BufferedReader, pause: Callable[[float], object]) -> Iterator[str]:
    """Yield the lines of a file as they come, until its name is another's, or it is shorter than what was read."""
    begun = b""
    last_look = False
    while True:
        line = file.readline(_LONGEST)
        if line:
            last_look = False
            begun = (begun + line)[:_LONGEST]
            if line.endswith(b"\n"):
                yield _text(begun)
                begun = b""
            continue
        if last_look:
            if begun:
                yield _text(begun)
            return
        if _is_replaced(path, file):
            last_look = True  # what was written before it was
            continue
        pause(_PAUSE)


def _is_replaced(path: Path, file: BufferedReader) -> bool:
    ours = os.fstat(file.fileno())
    if ours.st_size < file.tell():
        return True
    try:
        there = path.stat()
    except FileNotFoundError:
        return True
    return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)


def _text(line: bytes) -> str:
    return line.removeprefix(BOM_UTF8).rstrip(b"\r\n").decode("utf-8", "surrogateescape")
