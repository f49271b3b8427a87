"""What a peer can have us log is bounded: long lines are cut, too many of them left out, and how many is told.

Every module gets its logger from `get_logger`. So whoever uses oddwire, with whatever handlers, is spared a disk full
of lines that a stranger has chosen: the tracebacks of our own faults included, if he can bring them about.
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
_NAMED: Final = 16  # of those of whom lines were left out, the ones with most; the rest are told of together
_OVERHEAD: Final = 64  # what a line takes besides its text: time, level, name


class LogLimits(NamedTuple):
    """How much is logged of what others bring about: sizes in characters, times in seconds."""

    line: int = 1024
    """Of one line; what a longer one has more is left out, and counted in it."""
    foreign: int = 16 * 1024
    """Of one line that a plugin has written."""
    traceback: int = 8192
    """Of a traceback: its beginning and its end are kept."""
    burst: int = 64 * 1024
    """That one peer may have logged at once."""
    rate: int = 1024
    """That one peer may have logged each second, in the long run."""
    total_burst: int = 1024 * 1024
    """That all peers together may have logged at once of one level, or one line of the source that names no peer."""
    total_rate: int = 16 * 1024
    """That these may have logged each second."""
    peers: int = 1024
    """Peers, and lines of the source, that are remembered; of more, those who were quiet for longest are forgotten."""
    period: float = 10.0
    """Between two lines about what was left out of one peer."""


class LeftOut(NamedTuple):
    """Lines that were not logged: of whom, how many, in how many seconds, and of what level at most."""

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
    """Decides which lines are logged; ``clock`` gives seconds, forward only. Not for two threads at a time."""

    def __init__(self, limits: LogLimits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits or LogLimits()
        self.left_out = 0
        """Lines that were not logged."""
        self.cut = 0
        """Lines that were logged shorter than they were."""
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._totals: dict[int, _Bucket] = {}
        self._missed: dict[str, _Bucket] = {}  # those of whom lines were left out and nothing said yet
        self._others = _Bucket(0, 0.0)  # the same for those who are forgotten

    def __len__(self) -> int:
        return len(self._buckets)

    def admits(self, about: str, level: int, *, peer: bool = True) -> bool:
        """Say whether a line about ``about``, a peer or else some other source, is to be logged; `charge` it then.

        If not, it is counted.
        """
        limits, now = self.limits, self._clock()
        bucket = self._buckets.get(about)
        if bucket is None:
            bucket = self._buckets[about] = _Bucket(limits.burst if peer else limits.total_burst, now)
            if len(self._buckets) > limits.peers:
                self._forget_one()
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
        """Take note of a line that was logged, and how long it was."""
        size += _OVERHEAD
        if (bucket := self._buckets.get(about)) is not None:
            bucket.tokens -= size
        if peer and (total := self._totals.get(level)) is not None:
            total.tokens -= size

    def shorten(self, text: str) -> str:
        """Cut a line to `LogLimits.line` characters, and say how many it has more."""
        if len(text) <= self.limits.line:
            return text
        self.cut += 1
        return cut(text, self.limits.line)

    def due(self, *, at_once: bool = False) -> Iterator[LeftOut]:
        """Return what has been left out for a period, or ``at_once`` for less, each once."""
        if not self._missed and not self._others.left_out:
            return
        now, period = self._clock(), self.limits.period
        ready = [about for about, bucket in self._missed.items() if at_once or now - bucket.since >= period]
        ready.sort(key=lambda about: self._missed[about].left_out, reverse=True)
        for about in ready[_NAMED:]:
            self._add_to_others(self._missed.pop(about))
        for about in ready[:_NAMED]:
            yield self._tell(about, self._missed.pop(about), now)
        if self._others.left_out and (at_once or now - self._others.since >= period):
            yield self._tell("others", self._others, now)

    @staticmethod
    def _tell(about: str, bucket: _Bucket, now: float) -> LeftOut:
        told = LeftOut(about, bucket.left_out, now - bucket.since, bucket.level)
        bucket.left_out = bucket.level = 0
        return told

    def _add_to_others(self, bucket: _Bucket) -> None:
        others = self._others
        others.since = min(others.since, bucket.since) if others.left_out else bucket.since
        others.left_out += bucket.left_out
        others.level = max(others.level, bucket.level)
        bucket.left_out = bucket.level = 0

    def _forget_one(self) -> None:
        about, bucket = self._buckets.popitem(last=False)
        if self._missed.pop(about, None) is not None:
            self._add_to_others(bucket)


class LogFilter(logging.Filter):
    """Puts records through a `LogLimiter`, each once. For loggers, and for handlers of others' loggers.

    A record is about the peer among its arguments, a node id or something that has one; else about the line of source
    that it comes from.
    """

    def __init__(self, limiter: LogLimiter | None = None) -> None:
        super().__init__()
        self.limiter = limiter or LogLimiter()
        self._lock = threading.RLock()
        self._timer: object = None  # the loop that will call, while it lives
        self._mark = f"oddwire_{id(self):x}"

    def reset(self, limits: LogLimits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin anew, with other limits if there are some."""
        with self._lock:
            self.limiter = LogLimiter(limits, clock)
            self._timer = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether to log it; it may be shorter then."""
        if self._mark in record.__dict__:
            return True
        about = _peer_of(record)
        peer = about is not None
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
        """Say whether to log a line elsewhere than by `logging`, and count it. ``about`` is its source, and no peer."""
        with self._lock:
            if not self.limiter.admits(about, level, peer=False):
                self._come_back()
                return False
            self.limiter.charge(about, level, size, peer=False)
            return True

    def flush(self) -> None:
        """Log what was left out and not told yet. For the end of a program, too."""
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
            return len(str(record.msg))  # its handler will tell
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
        """See to it that what is left out is told, where there is a loop; else the next line that is logged does."""
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
    """Return the logger of this name, whose records are limited: see `LogFilter`."""
    logger = logging.getLogger(name)
    logger.addFilter(LIMITED)  # once, however often
    return logger


def guard_process() -> None:
    """Limit what others log in this process as well, where it is ours: asyncio, and whoever has no handler."""
    logging.getLogger("asyncio").addFilter(LIMITED)
    if logging.lastResort is not None:
        logging.lastResort.addFilter(LIMITED)


def cut(text: str, most: int) -> str:
    """Return at most ``most`` characters of a text, and how many it had more."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most} more characters)"


def _cut_middle(text: str, most: int) -> str:
    # Where it began and what it was: both are needed
    if len(text) <= most:
        return text
    head, tail = text[: most // 4], text[-(most - most // 4) :]
    return f"{head}\n  ... ({len(text) - most} more characters) ...\n{tail}"


def _peer_of(record: logging.LogRecord) -> str | None:
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
"""The one filter of this process."""
