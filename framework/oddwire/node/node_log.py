"""The node's log: lightningd's levels and lines, kept in memory for ``getlog``, written to files or stderr."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from oddwire.log_format import LineFormatter
from oddwire.log_limits import LogLimiter, LogLimits, cut
from oddwire.printable import printable

__all__ = ["LEVELS", "Log", "LogHandler", "LogLine", "Out", "level_number"]

LEVELS: Final = ("io", "trace", "debug", "info", "unusual", "broken")
"""lightningd's levels, least first."""
_NUMBERS: Final[dict[str, int]] = dict(zip(LEVELS, range(len(LEVELS)), strict=True))
_ALIASES: Final = {"warn": "unusual", "error": "broken"}
_TYPES: Final = {
    "io": "IO",
    "trace": "TRACE",
    "debug": "DEBUG",
    "info": "INFO",
    "unusual": "UNUSUAL",
    "broken": "BROKEN",
}


def level_number(name: str) -> int:
    """Return a level's number, 0 for io. ``warn`` and ``error`` mean unusual and broken. Raises `ValueError`."""
    number = _NUMBERS.get(_ALIASES.get(name, name))
    if number is None:
        raise ValueError("should be 'io', 'debug', 'info', or 'unusual'")
    return number


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line. ``time`` is seconds since 1970; ``node_id`` the peer it is about, in hex.

    ``elapsed`` is seconds since the log began, whatever was done to the clock meanwhile.
    """

    time: float
    level: str
    source: str
    text: str
    node_id: str | None = None
    elapsed: float = 0.0

    @property
    def timestamp(self) -> str:
        """The time as ISO 8601 with milliseconds, UTC."""
        moment = datetime.fromtimestamp(self.time, UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"

    def __str__(self) -> str:
        return f"{self.timestamp} {_TYPES[self.level]:<7} {self.source}: {self.text}"

    def size(self) -> int:
        """About how many bytes it occupies: its texts, and what Python needs around them."""
        return len(self.text) + len(self.source) + 300


class Out(Protocol):
    """Where lines are written: a text file, say, or a `LogFile`."""

    def write(self, text: str, /) -> object:
        """Write a line. Raises `OSError`, or `ValueError` once it is closed."""

    def flush(self) -> object:
        """Have it out of this process."""


class Log:
    """Takes lines of every level.

    Those of ``level`` and above are written to ``out``, and told to ``on_line``; the last ``max_bytes`` of debug and
    above are kept. What cannot be written is counted, and told as soon as something can. What peers bring about is
    limited, for each and in sum, and so is what one plugin writes: ``limiter`` counts what is cut and left out, and
    lines say so.
    """

    def __init__(
        self,
        *,
        level: str = "info",
        out: Out | None = None,
        max_bytes: int = 2 * 1024 * 1024,
        limits: LogLimits | None = None,
    ) -> None:
        self.level = level_number(level)
        self.created = time.time()
        self._began = time.monotonic()
        self.max_bytes = max_bytes
        self.bytes_used = 0
        self.limiter = LogLimiter(limits)
        self.on_line: Callable[[LogLine], object] | None = None
        self._keep = min(self.level, _NUMBERS["debug"])
        self._out = out
        self._lines: deque[LogLine] = deque()
        self._skipped = 0
        self._telling = False
        self._lost = 0  # lines that could not be written
        self._why = ""

    def wants(self, level: str) -> bool:
        """Say whether a line of this level would be kept or written; else making it is wasted."""
        return _NUMBERS[level] >= self._keep

    def __call__(self, level: str, text: str, source: str = "lightningd", node_id: str | None = None) -> None:
        """Write one line, made `printable`, or count it as left out. Raises `ValueError` for no level.

        What is about the peer ``node_id``, or comes from a plugin, is limited.
        """
        number = level_number(level)
        if number < self._keep:
            return
        about = node_id or (source if source.startswith("plugin-") else None)
        if about is not None:
            limiter, peer = self.limiter, node_id is not None
            if not limiter.admits(about, number, peer=peer):
                return
            text = limiter.shorten(text) if peer else cut(text, limiter.limits.foreign)
            limiter.charge(about, number, len(text), peer=peer)
        self._take(number, text, source, node_id)
        for left_out in self.limiter.due():
            self._take(left_out.level, str(left_out))

    def flush(self) -> None:
        """Write what was left out and not told yet."""
        for left_out in self.limiter.due(at_once=True):
            self._take(left_out.level, str(left_out))

    def reopen(self) -> None:
        """Open the file of the log anew, if it has one: what rotates it has moved it away. What is wrong is logged."""
        reopen: Callable[[], None] | None = getattr(self._out, "reopen", None)
        if reopen is None:
            return
        self("info", "Ending log due to SIGHUP")
        try:
            reopen()
        except OSError as error:
            self("broken", f"The log cannot be opened anew, and stays where it is: {error.strerror}")
        else:
            self("info", "Started log due to SIGHUP")

    def _take(self, number: int, text: str, source: str = "lightningd", node_id: str | None = None) -> None:
        elapsed = time.monotonic() - self._began
        line = LogLine(time.time(), LEVELS[number], printable(source), printable(text), node_id, elapsed)
        self._keep_line(line)
        if number < self.level:
            return
        if self._out is not None:
            self._write(self._out, line)
        self._tell(line)

    def _keep_line(self, line: LogLine) -> None:
        self._lines.append(line)
        self.bytes_used += line.size()
        while self.bytes_used > self.max_bytes:
            self.bytes_used -= self._lines.popleft().size()
            self._skipped += 1

    def _write(self, out: Out, line: LogLine) -> None:
        """Write it, behind word of those that could not be; a disk may be full for a while, and the node goes on."""
        try:
            if self._lost:
                lines = "line was" if self._lost == 1 else "lines were"
                self._remark(out, line, f"{self._lost} {lines} not written here: {self._why}")
                self._lost = 0
            out.write(f"{line}\n")
            out.flush()
        except (OSError, ValueError) as error:
            self._lost += 1
            why = getattr(error, "strerror", None) or str(error)
            if self._lost == 1 or why != self._why:
                self._why = why
                self._remark(None, line, f"The log is not written until this is mended: {why}")

    def _remark(self, out: Out | None, about: LogLine, text: str) -> None:
        """Note something about the log itself; it is written if it can be."""
        line = LogLine(about.time, "unusual", "log", text, None, about.elapsed)
        if out is not None:
            out.write(f"{line}\n")
            out.flush()
        self._keep_line(line)
        self._tell(line)

    def _tell(self, line: LogLine) -> None:
        if self.on_line is not None and not self._telling:
            self._telling = True  # what telling it logs is not told
            try:
                self.on_line(line)
            finally:
                self._telling = False

    def lines(self, level: str = "info", node_id: str | None = None) -> Iterator[dict[str, Any]]:
        """Return what is kept of ``level`` and above as ``getlog`` shows it; only about one peer, if it is named."""
        least = level_number(level)
        if self._skipped:
            yield {"type": "SKIPPED", "num_skipped": self._skipped}
        for line in self._lines:
            if _NUMBERS[line.level] < least or (node_id is not None and line.node_id != node_id):
                continue
            entry = {"type": _TYPES[line.level], "time": f"{line.elapsed:.9f}"}
            if line.node_id is not None:
                entry["node_id"] = line.node_id
            yield {**entry, "source": line.source, "log": line.text}


_FORMATTER: Final = LineFormatter()


class LogHandler(logging.Handler):
    """Brings what oddwire's modules log by way of `logging` into a `Log`."""

    _NAMES: Final = ((logging.ERROR, "broken"), (logging.WARNING, "unusual"), (logging.INFO, "info"))

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a traceback becomes indented lines of debug level."""
        level = next((name for number, name in self._NAMES if record.levelno >= number), "debug")
        source = record.name.removeprefix("oddwire.")
        self._log(level, record.getMessage(), source)
        for line in _FORMATTER.details(record):
            self._log("debug", line, source)
