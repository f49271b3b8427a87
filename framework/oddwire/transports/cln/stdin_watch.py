"""Who reads stdin: the loop, as long as it comes for what lies there. The thread's watch over that; no I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from oddwire.transports.cln.stdio_states import READING, Reading, State

__all__ = ["WATCH", "StdinWatch"]

WATCH: Final = 0.01
"""Seconds in which the loop should have come for what lies unread."""
_QUIET: Final = 100  # such times without anything: then the thread sleeps until something comes


class StdinWatch:
    """Decides in the thread who reads, by ``beat``: the loop raises it when it looks at stdin, or takes what was read.

    ``lies_unread`` says whether something lies in stdin now. Times are seconds of a steady clock.
    """

    def __init__(self, lies_unread: Callable[[], bool]) -> None:
        self.reading: State[Reading] = State(Reading.NOT_BEGUN, READING)
        self.beat = 0
        self._seen = 0
        self._check_at = 0.0
        self._quiet = 0
        self._lies_unread = lies_unread

    def begin(self, now: float) -> None:
        """Watch the loop from now on: something has come, or the loop that did not is back."""
        if self.reading.become(Reading.WATCHED):
            self._seen, self._quiet, self._check_at = self.beat, 0, now + WATCH

    def look(self, now: float) -> None:
        """See, if it is time, whether the loop comes for what lies unread; else it is replaced."""
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
        """Take note that the thread has read once in the loop's place; it stops if the loop is back."""
        if self.reading.now is Reading.REPLACED and self.beat != self._seen:
            self.begin(now)
