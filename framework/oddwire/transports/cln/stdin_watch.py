"""The watchdog of stdin: the loop reads it unless it is blocked, and then the thread does. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from oddwire.transports.cln.stdio_states import READING, Reading, State

__all__ = ["WATCH", "StdinWatch"]

WATCH: Final = 0.01
"""Seconds in which the loop should read what has arrived."""
_QUIET: Final = 100  # such periods without input: then the thread sleeps until some arrives


class StdinWatch:
    """Decides, in the thread, who reads: the loop increments ``beat`` when it reads stdin or takes what was read.

    ``lies_unread`` returns whether stdin has unread bytes now. Times are seconds of a monotonic clock.
    """

    def __init__(self, lies_unread: Callable[[], bool]) -> None:
        self.reading: State[Reading] = State(Reading.NOT_BEGUN, READING)
        self.beat = 0
        self._seen = 0
        self._check_at = 0.0
        self._quiet = 0
        self._lies_unread = lies_unread

    def begin(self, now: float) -> None:
        """Start watching the loop: input has arrived, or a blocked loop is back."""
        if self.reading.become(Reading.WATCHED):
            self._seen, self._quiet, self._check_at = self.beat, 0, now + WATCH

    def look(self, now: float) -> None:
        """Check, when due, whether the loop reads unread bytes; if not, the thread replaces it."""
        if now < self._check_at:
            return
        self._check_at = now + WATCH
        if self.beat != self._seen:
            self._seen, self._quiet = self.beat, 0
        elif self._lies_unread():
            self.reading.become(Reading.REPLACED)
        else:
            self._quiet += 1
            if self._quiet >= _QUIET:
                self.reading.become(Reading.QUIET)

    def has_read(self, now: float) -> None:
        """Note that the thread has read once in place of the loop; it stops if the loop is back."""
        if self.reading.now is Reading.REPLACED and self.beat != self._seen:
            self.begin(now)
