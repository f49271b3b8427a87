"""What a command prints at a terminal, and when: recorded from a pseudo-terminal, kept as asciicast v2."""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import pty
import struct
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_LONGEST_PAUSE = 0.6  # seconds: what lasts longer is shown shorter


@dataclass(frozen=True)
class Recording:
    """What came, each piece with its time in seconds since the start."""

    title: str
    columns: int
    rows: int
    pieces: tuple[tuple[float, str], ...]

    @property
    def text(self) -> str:
        """Everything."""
        return "".join(text for _, text in self.pieces)

    def to_cast(self) -> str:
        """Return it in the format of asciinema: https://docs.asciinema.org/manual/asciicast/v2/."""
        header = {"version": 2, "width": self.columns, "height": self.rows, "title": self.title}
        lines = [header, *([round(at, 3), "o", text] for at, text in self.pieces)]
        return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def record(command: Sequence[str | Path], title: str, *, columns: int = 90, rows: int = 40) -> Recording:
    """Run a command to its end at a terminal of this size. Raises `RuntimeError` if it fails."""
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(rows)}
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(command[0], [str(word) for word in command], environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces: list[tuple[float, str]] = []
    began, shown = time.monotonic(), 0.0
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            data = b""
        now = time.monotonic()
        shown += min(now - began, _LONGEST_PAUSE)
        began = now
        if text := decoder.decode(data, final=not data):
            pieces.append((shown, text))
        if not data:
            break
    os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    recording = Recording(title, columns, rows, tuple(pieces))
    if status:
        raise RuntimeError(f"{title} ended with {status}:\n{recording.text}")
    return recording
