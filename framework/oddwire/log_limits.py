"""Limits on what a peer can make us log: long lines are cut, excess lines left out, and their number is logged.

Every module gets its logger from `get_logger`. So with any handlers, no stranger can fill the disk with lines of his
choice, including tracebacks of our own bugs that he can trigger.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

__all__ = ["LIMITED", "LeftOut", "LogFilter", "LogLimiter", "LogLimits", "cut", "get_logger", "guard_process"]

_NODE_ID: Final = 33  # bytes
_EXTENSION: Final = "oddwire.extension."
_NAMED: Final = 16  # sources named, those with the most lines left out; the rest are summed up
_OVERHEAD: Final = 64  # characters of a line besides its text: time, level, name


class LogLimits(NamedTuple):
    """How much peers and plugins can make us log: sizes in characters, times in seconds."""

    line: int = 1024
    """Max size of a line; the rest of a longer one is left out, and its size shown."""
    foreign: int = 16 * 1024
    """Max size of a line that a plugin has written."""
    traceback: int = 8192
    """Max size of a traceback: its beginning and its end are kept."""
    burst: int = 64 * 1024
    """Max that one peer can have logged at once."""
    rate: int = 1024
    """Max that one peer can have logged per second, in the long run."""
    total_burst: int = 1024 * 1024
    """The same burst for all peers together per level, and for each source line whose records name no peer."""
    total_rate: int = 16 * 1024
    """The same rate per second for these."""
    peers: int = 1024
    """Max peers and source lines remembered; beyond that, those quiet for the longest time are forgotten."""
    period: float = 10.0
    """Seconds between two reports of what was left out of one peer."""


class LeftOut(NamedTuple):
    """Lines that were not logged: their source, their number, in how many seconds, and their max level."""

    about: str
    lines: int
    seconds: float
    level: int

    def __str__(self) -> str:
        word = "line" if self.lines == 1 else "lines"
        return f"... and {self.lines} more {word} like this from {self.about} in {self.seconds:.0f} s"


class _Bucket:
    __slots__ = ("at", "left_out", "level", "since", "tokens")

    def __init__(self, tokens: float, now: float) -> None:
        self.tokens = tokens
        self.at = now
        self.left_out = 0
        self.level = 0
        self.since = now

    def has(self, burst: int, rate: int, now: float) -> bool:
        self.tokens = min(burst, self.tokens + (now - self.at) * rate)
        self.at = now
        return self.tokens > 0


class LogLimiter:
    """Decides which lines are logged; ``clock`` returns monotonic seconds. Not thread-safe."""

    def __init__(self, limits: LogLimits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits or LogLimits()
        self.left_out = 0
        """Number of lines that were not logged."""
        self.cut = 0
        """Number of lines that were cut."""
        self.clock = clock
        """Returns the time; see `LogFilter.use_clock`."""
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._totals: dict[int, _Bucket] = {}
        self._missed: dict[str, _Bucket] = {}  # sources with lines left out that are not reported yet
        self._others = _Bucket(0, 0.0)  # the same for sources that are forgotten

    def __len__(self) -> int:
        return len(self._buckets)

    def admits(self, about: str, level: int, *, peer: bool = True) -> bool:
        """Return whether to log a line about ``about``, a peer or another source; if so, `charge` it then.

        A line that is not logged is counted.
        """
        limits, now = self.limits, self.clock()
        bucket = self._buckets.get(about)
        if bucket is None:
            bucket = self._buckets[about] = _Bucket(limits.burst if peer else limits.total_burst, now)
            if len(self._buckets) > limits.peers:
                self._evict_one()
        else:
            self._buckets.move_to_end(about)
        if not peer:
            if bucket.has(limits.total_burst, limits.total_rate, now):
                return True
        elif bucket.has(limits.burst, limits.rate, now):
            total = self._totals.get(level)
            if total is None:
                total = self._totals[level] = _Bucket(limits.total_burst, now)
            if total.has(limits.total_burst, limits.total_rate, now):
                return True
        if not bucket.left_out:
            bucket.since = now
            self._missed[about] = bucket
        bucket.left_out += 1
        bucket.level = max(bucket.level, level)
        self.left_out += 1
        return False

    def charge(self, about: str, level: int, size: int, *, peer: bool = True) -> None:
        """Count a line of ``size`` characters that was logged."""
        size += _OVERHEAD
        if (bucket := self._buckets.get(about)) is not None:
            bucket.tokens -= size
        if peer and (total := self._totals.get(level)) is not None:
            total.tokens -= size

    def shorten(self, text: str) -> str:
        """Return a line cut to `LogLimits.line` characters, with the number of characters left out."""
        if len(text) <= self.limits.line:
            return text
        self.cut += 1
        return cut(text, self.limits.line)

    def due(self, *, at_once: bool = False) -> Iterator[LeftOut]:
        """Yield what has been left out for a period, or with ``at_once`` for any time, each once."""
        if not self._missed and not self._others.left_out:
            return
        now, period = self.clock(), self.limits.period
        ready = [about for about, bucket in self._missed.items() if at_once or now - bucket.since >= period]
        ready.sort(key=lambda about: self._missed[about].left_out, reverse=True)
        for about in ready[_NAMED:]:
            self._add_to_others(self._missed.pop(about))
        for about in ready[:_NAMED]:
            yield self._summary(about, self._missed.pop(about), now)
        if self._others.left_out and (at_once or now - self._others.since >= period):
            yield self._summary("others", self._others, now)

    @staticmethod
    def _summary(about: str, bucket: _Bucket, now: float) -> LeftOut:
        summary = LeftOut(about, bucket.left_out, now - bucket.since, bucket.level)
        bucket.left_out = bucket.level = 0
        return summary

    def _add_to_others(self, bucket: _Bucket) -> None:
        others = self._others
        others.since = min(others.since, bucket.since) if others.left_out else bucket.since
        others.left_out += bucket.left_out
        others.level = max(others.level, bucket.level)
        bucket.left_out = bucket.level = 0

    def _evict_one(self) -> None:
        about, bucket = self._buckets.popitem(last=False)
        if self._missed.pop(about, None) is not None:
            self._add_to_others(bucket)


class LogFilter(logging.Filter):
    """Passes each record through a `LogLimiter` once. For our loggers, and for handlers of other loggers.

    A record is about its ``peer``, or the peer among its arguments, a node id or an object that has one; otherwise
    about the source line that it comes from. Records get ``peer``, the node id in hex digits, and ``extension``, where
    these are known and not given by ``extra``.
    """

    def __init__(self, limiter: LogLimiter | None = None) -> None:
        super().__init__()
        self.limiter = limiter or LogLimiter()
        self._lock = threading.RLock()
        self._timer: object = None  # the loop that has the timer, while it is open
        self._mark = f"oddwire_{id(self):x}"

    def reset(self, limits: LogLimits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Forget all counts, and set ``limits`` (by default the defaults) and ``clock``."""
        with self._lock:
            self.limiter = LogLimiter(limits, clock)
            self._timer = None

    def use_clock(self, clock: Callable[[], float]) -> None:
        """Replace the clock by one that continues at the same time."""
        with self._lock:
            self.limiter.clock = clock

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record, which may have been cut."""
        if self._mark in record.__dict__:
            return True
        about = _peer_of(record)
        peer = about is not None
        _add_extra(record, about)
        key = about or f"{record.name}:{record.lineno}"
        with self._lock:
            limiter = self.limiter
            if not limiter.admits(key, record.levelno, peer=peer):
                self._come_back()
                return False
            record.__dict__[self._mark] = True
            limiter.charge(key, record.levelno, self._shorten(record), peer=peer)
            due = [*limiter.due()]
        for left_out in due:
            self._say(left_out)
        return True

    def takes(self, about: str, size: int, level: int = logging.INFO) -> bool:
        """Return whether to log a line without `logging`, and count it. ``about`` is its source, not a peer."""
        with self._lock:
            if not self.limiter.admits(about, level, peer=False):
                self._come_back()
                return False
            self.limiter.charge(about, level, size, peer=False)
            return True

    def flush(self) -> None:
        """Log the reports that are not logged yet; also at the end of a program."""
        with self._lock:
            self._timer = None
            due = [*self.limiter.due(at_once=True)]
        for left_out in due:
            self._say(left_out)

    def _shorten(self, record: logging.LogRecord) -> int:
        limiter = self.limiter
        try:
            text = record.getMessage()
        except Exception:
            return len(str(record.msg))  # the handler will report that error
        if len(text) > limiter.limits.line:
            record.msg, record.args = limiter.shorten(text), None
            text = record.msg
        size = len(text)
        if record.exc_info and not record.exc_text:
            traceback = _FORMATTER.formatException(record.exc_info)
            record.exc_text = _cut_middle(traceback, limiter.limits.traceback)
            size += len(record.exc_text)
        return size

    def _come_back(self) -> None:
        """Schedule the report on the running loop; without a loop, the next logged line reports."""
        if self._timer is not None and not self._timer.is_closed():  # type: ignore[attr-defined]
            return
        asyncio = sys.modules.get("asyncio")
        if asyncio is not None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                return
            loop.call_later(self.limiter.limits.period, self.flush)
            self._timer = loop

    def _say(self, left_out: LeftOut) -> None:
        _summaries.log(left_out.level, "%s", left_out, extra={self._mark: True})


def get_logger(name: str) -> logging.Logger:
    """Return the logger of this name, with limited records: see `LogFilter`."""
    logger = logging.getLogger(name)
    logger.addFilter(LIMITED)  # logging adds it only once
    return logger


def guard_process() -> None:
    """Limit other loggers of a process that is ours as well: asyncio's, and all without a handler."""
    logging.getLogger("asyncio").addFilter(LIMITED)
    if logging.lastResort is not None:
        logging.lastResort.addFilter(LIMITED)


def cut(text: str, most: int) -> str:
    """Return at most ``most`` characters of a text, and the number of characters left out."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most} more characters)"


def _cut_middle(text: str, most: int) -> str:
    # Both the origin and the error are needed
    if len(text) <= most:
        return text
    head, tail = text[: most // 4], text[-(most - most // 4) :]
    return f"{head}\n  ... ({len(text) - most} more characters) ...\n{tail}"


def _add_extra(record: logging.LogRecord, peer: str | None) -> None:
    """Let a record say which peer and which extension it is about, where that is known and not said."""
    values = record.__dict__
    if peer is not None:
        values.setdefault("peer", peer)
    if record.name.startswith(_EXTENSION):
        values.setdefault("extension", record.name[len(_EXTENSION) :])


def _peer_of(record: logging.LogRecord) -> str | None:
    peer = record.__dict__.get("peer")
    if isinstance(peer, str) and len(peer) == 2 * _NODE_ID:
        return peer
    arguments = record.args
    if type(arguments) is tuple:
        for argument in arguments:
            node_id = argument if isinstance(argument, bytes) else getattr(argument, "node_id", None)
            if isinstance(node_id, bytes) and len(node_id) == _NODE_ID:
                return node_id.hex()
    return None


_FORMATTER: Final = logging.Formatter()
_summaries: Final = logging.getLogger("oddwire.log_limits")
LIMITED: Final = LogFilter()
"""The filter of all oddwire loggers in this process."""
