"""The states of `NodeStdio`: who reads stdin, and its thread's state. Two tables have the transitions."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from enum import Enum
from typing import Final, Generic, TypeVar

__all__ = ["POLLED", "READING", "RUNNING", "Reading", "Running", "State"]


class Reading(Enum):
    """Who reads stdin."""

    NOT_BEGUN = "nobody so far"
    WATCHED = "the loop, while the thread looks whether it comes for what lies there"
    QUIET = "the loop, but nothing has come for a while, so the thread sleeps until something does"
    REPLACED = "the thread, as the loop does not come for what lies there"
    ALONE = "the thread alone: the loop is closed, cannot read it, or has let go of it"
    OVER = "nobody any more: stdin has ended, or makes no sense"


READING: Final[Mapping[Reading, frozenset[Reading]]] = {
    Reading.NOT_BEGUN: frozenset({Reading.QUIET, Reading.ALONE}),
    Reading.WATCHED: frozenset({Reading.QUIET, Reading.REPLACED, Reading.ALONE, Reading.OVER}),
    Reading.QUIET: frozenset({Reading.WATCHED, Reading.ALONE, Reading.OVER}),
    Reading.REPLACED: frozenset({Reading.WATCHED, Reading.ALONE, Reading.OVER}),
    Reading.ALONE: frozenset({Reading.OVER}),
    Reading.OVER: frozenset(),
}

POLLED: Final = frozenset({Reading.QUIET, Reading.REPLACED, Reading.ALONE})
"""The states in which the thread polls stdin."""


class Running(Enum):
    """The state of the thread."""

    NOT_STARTED = "not started"
    STARTED = "running"
    STOPPING = "to end as soon as all is written"
    ENDED = "ended, or never to be started"


RUNNING: Final[Mapping[Running, frozenset[Running]]] = {
    Running.NOT_STARTED: frozenset({Running.STARTED, Running.ENDED}),
    Running.STARTED: frozenset({Running.STOPPING, Running.ENDED}),
    Running.STOPPING: frozenset({Running.ENDED}),
    Running.ENDED: frozenset(),
}

S = TypeVar("S", bound=Enum)


class State(Generic[S]):
    """The state ``now``, which any thread may change as a table allows; the table decides between two threads."""

    __slots__ = ("_lock", "_table", "now")

    def __init__(self, now: S, table: Mapping[S, frozenset[S]]) -> None:
        self.now: S = now
        self._table = table
        self._lock = threading.Lock()

    def become(self, state: S) -> bool:
        """Change to ``state`` and return True, if the table allows it; otherwise return False."""
        with self._lock:
            if state not in self._table[self.now]:
                return False
            self.now = state
            return True
