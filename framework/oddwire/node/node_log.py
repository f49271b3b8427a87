"""The node's log, with lightningd's levels and lines: kept in memory for ``getlog``, written to a file or stderr."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol

from oddwire import clocks
from oddwire.log_format import LineFormatter
from oddwire.log_limits import LogLimiter, LogLimits, cut
from oddwire.printable import printable

__all__ = ["LEVELS", "Log", "LogHandler", "LogLine", "Out", "level_number"]

LEVELS: Final = ("io", "trace", "debug", "info", "unusual", "broken")
"""lightningd's levels, the least important first."""
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
    """Return a level's number, its index in `LEVELS`. ``warn`` and ``error`` are unusual and broken.

    Raises `ValueError` for an unknown level.
    """
    number = _NUMBERS.get(_ALIASES.get(name, name))
    if number is None:
        raise ValueError("should be 'io', 'debug', 'info', or 'unusual'")
    return number


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line. ``time`` is seconds since 1970 by the wall clock; ``node_id`` is the peer that it is about, in hex.

    ``elapsed`` is seconds since the log was created, by a clock that nobody sets.
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
        """Return an estimate of its memory in bytes: its texts and Python's overhead."""
        return len(self.text) + len(self.source) + 300


class _MessageLine(LogLine):
    """A message to or from a peer, in the form in which lightningd's connectd logs it."""

    def __str__(self) -> str:
        return f"{self.timestamp} {self.source}: {self.text}"


class Out(Protocol):
    """An output for lines: a text file or a `LogFile`."""

    def write(self, text: str, /) -> object:
        """Write a line. Raises `OSError`, or `ValueError` if the output is closed."""

    def flush(self) -> object:
        """Pass buffered lines to the operating system."""


class Log:
    """The log: call the object to log a line.

    Lines of ``level`` and above are written to ``out`` and passed to ``on_line``; the last ``max_bytes`` of level debug
    and above are kept in memory. Lines that cannot be written are counted, and a line says how many as soon as the
    output works again. Lines about each peer, about all peers, and of each plugin are limited: ``limiter`` counts the
    lines and characters left out, and logs these counts.
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
        self.created = clocks.wall()
        self._began = clocks.monotonic()
        self.max_bytes = max_bytes
        self.bytes_used = 0
        self.limiter = LogLimiter(limits)
        self.on_line: Callable[[LogLine], object] | None = None
        self._keep = min(self.level, _NUMBERS["debug"])
        self._out = out
        self._lines: deque[LogLine] = deque()
        self._skipped = 0
        self._passing_on = False
        self._lost = 0  # lines that could not be written
        self._why = ""

    def wants(self, level: str) -> bool:
        """Return whether a line of this level would be kept or written. If not, the caller need not format it."""
        return _NUMBERS[level] >= self._keep

    def __call__(self, level: str, text: str, source: str = "lightningd", node_id: str | None = None) -> None:
        """Log one line, made `printable`, or count it as left out. Raises `ValueError` for an unknown level.

        Lines about a peer, named by ``node_id``, and those of plugins are limited.
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

    @property
    def shows_messages(self) -> bool:
        """Whether `message` writes anything: at level io."""
        return self.level == _NUMBERS["io"] and self._out is not None

    def message(self, node_id: object, way: Literal["in", "out"], payload: bytes) -> None:
        """Write a message's bytes as a line at level io, whole and unlimited, and keep it nowhere else."""
        if self._out is not None:
            text = f"[{way.upper()}] {payload.hex()}"
            elapsed = clocks.monotonic() - self._began
            line = _MessageLine(clocks.wall(), "io", f"{node_id}-connectd", text, str(node_id), elapsed)
            self._write(self._out, line)

    def flush(self) -> None:
        """Log the counts of lines left out that were not logged yet."""
        for left_out in self.limiter.due(at_once=True):
            self._take(left_out.level, str(left_out))

    def reopen(self) -> None:
        """Open the log's file again, if it has one, after rotation has moved it. Errors are logged."""
        reopen: Callable[[], None] | None = getattr(self._out, "reopen", None)
        if reopen is None:
            return
        self("info", "Ending log due to SIGHUP")
        try:
            reopen()
        except OSError as error:
            self("broken", f"The log cannot be reopened, and stays where it is: {error.strerror}")
        else:
            self("info", "Started log due to SIGHUP")

    def _take(self, number: int, text: str, source: str = "lightningd", node_id: str | None = None) -> None:
        elapsed = clocks.monotonic() - self._began
        line = LogLine(clocks.wall(), LEVELS[number], printable(source), printable(text), node_id, elapsed)
        self._keep_line(line)
        if number < self.level:
            return
        if self._out is not None:
            self._write(self._out, line)
        self._pass_on(line)

    def _keep_line(self, line: LogLine) -> None:
        self._lines.append(line)
        self.bytes_used += line.size()
        while self.bytes_used > self.max_bytes:
            self.bytes_used -= self._lines.popleft().size()
            self._skipped += 1

    def _write(self, out: Out, line: LogLine) -> None:
        """Write a line, after one with the number of lines lost before. Errors are counted: a disk may be full."""
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
                self._remark(None, line, f"The log is not written until this is fixed: {why}")

    def _remark(self, out: Out | None, about: LogLine, text: str) -> None:
        """Log a line about the log itself; it is written to ``out`` if that is not None."""
        line = LogLine(about.time, "unusual", "log", text, None, about.elapsed)
        if out is not None:
            out.write(f"{line}\n")
            out.flush()
        self._keep_line(line)
        self._pass_on(line)

    def _pass_on(self, line: LogLine) -> None:
        if self.on_line is not None and not self._passing_on:
            self._passing_on = True  # lines that `on_line` logs are not passed to it
            try:
                self.on_line(line)
            finally:
                self._passing_on = False

    def lines(self, level: str = "info", node_id: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield the kept lines of ``level`` and above, as in ``getlog``; with ``node_id``, only those about a peer."""
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
    """A `logging` handler that writes records to a `Log`."""

    _NAMES: Final = ((logging.ERROR, "broken"), (logging.WARNING, "unusual"), (logging.INFO, "info"))

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record; its traceback becomes indented lines of level debug."""
        level = next((name for number, name in self._NAMES if record.levelno >= number), "debug")
        source = record.name.removeprefix("oddwire.")
        self._log(level, record.getMessage(), source)
        for line in _FORMATTER.details(record):
            self._log("debug", line, source)
