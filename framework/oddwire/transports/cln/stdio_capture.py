"""Capture of stdin and stdout, as lightningd ends a plugin that prints anything else to stdout."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from typing import Final, NamedTuple

__all__ = ["Stdio", "take_stdio"]

_ROOM: Final = 1 << 20  # bytes that code can print before anybody reads


class Stdio(NamedTuple):
    """File descriptors: ``stdin`` and ``stdout`` as they were, and ``foreign`` with what is printed from now on."""

    stdin: int
    stdout: int
    foreign: int

    def release(self) -> None:
        """Redirect stdout to stderr, for output once nobody reads ``foreign`` any more."""
        _flush()
        os.dup2(2, 1)


def take_stdio() -> Stdio:
    """Move the process's stdin and stdout to descriptors of our own, which children do not inherit.

    They are replaced by an empty stdin, and a pipe to ``foreign`` for stdout: ``print``, C libraries and child
    processes write there, and never to the node, as does output still in Python's buffer. Call it once, before the
    first byte has left the buffer.
    """
    stdin, stdout = os.dup(0), os.dup(1)
    foreign, printed = os.pipe()
    with contextlib.suppress(AttributeError, OSError):  # Linux only; elsewhere a pipe holds 64 KiB
        fcntl.fcntl(printed, fcntl.F_SETPIPE_SZ, _ROOM)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.dup2(printed, 1)
    os.close(empty)
    os.close(printed)
    _flush()
    with contextlib.suppress(AttributeError):  # stdout was replaced by another object
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return Stdio(stdin, stdout, foreign)


def _flush() -> None:
    with contextlib.suppress(AttributeError, OSError, ValueError):  # stdout is missing or closed
        sys.stdout.flush()
