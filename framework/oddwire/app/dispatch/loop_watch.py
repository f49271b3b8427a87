"""Watch for blocked event loops: logs the code that blocks one for more than a second, with its current line.

One thread of the process watches all its loops. Four times a second it checks whether a loop waits for events, which is
sufficient while the loop is idle, and schedules a callback in one that does not. It is a daemon thread, so it does not
keep a program from ending, and it ends when no loop is watched any more.

The thread of `oddwire.transports.cln.stdio` cannot do this: it sleeps while lightningd sends nothing, when a handler
may block as well, and transports do not know to which extension code belongs.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import CodeType, FrameType
from typing import Final

from oddwire.log_limits import get_logger

__all__ = ["LOOP_WATCH", "LoopWatch", "Owners", "Watched"]

logger = get_logger("oddwire.app")

_LOOK: Final = 0.25  # seconds between two checks
_PATIENCE: Final = 1.0  # seconds within which the loop should have run the callback
_LATE: Final = 0.5  # seconds of delay of this thread itself: then the process was delayed, not the loop
_SELECTING: Final = frozenset(
    selector.select.__code__
    for name in ("EpollSelector", "KqueueSelector", "PollSelector", "DevpollSelector", "SelectSelector")
    if (selector := getattr(selectors, name, None)) is not None
)
_DEBUGGERS: Final = ("/pdb.py", "/bdb.py", "/pydevd.py", "/debugpy/")  # frames of a program stopped in a debugger


Owners = Callable[[], Mapping[CodeType, str]]
"""Returns the roles of the functions of an application's extensions: `oddwire.app.unfinished.owners_of`."""


class Watched:
    """One event loop, and the applications whose functions may block it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread = threading.get_ident()
        self.owners: list[Owners] = []
        self._asked = 0.0  # when the callback was scheduled; 0.0 once it has run
        self._reported = False

    def reset(self) -> None:
        """Reset: the loop has run, or was not to blame."""
        self._asked, self._reported = 0.0, False

    def look(self, frame: FrameType | None, now: float) -> str | None:
        """Schedule a callback in a busy loop, or return the place where it has been blocked for too long, once."""
        if self._asked:
            if self._reported or now - self._asked < _PATIENCE or frame is None or _is_debugged(frame):
                return None
            spot = self._describe(frame)
            self._reported = spot is not None  # oddwire's own code is not logged: the author's may follow
            return spot
        if frame is not None and frame.f_code not in _SELECTING:
            self._asked = now
            try:
                self.loop.call_soon_threadsafe(self.reset)
            except RuntimeError:  # the loop is closed
                self.reset()
        return None

    def _describe(self, frame: FrameType) -> str | None:
        from oddwire.app.unfinished import place_of_thread  # seldom needed

        owners: dict[CodeType, str] = {}
        for owners_of in (*self.owners,):
            owners.update(owners_of())
        return place_of_thread(frame, owners)


class LoopWatch:
    """The thread, and the loops that it watches. One per process: `LOOP_WATCH`."""

    def __init__(self) -> None:
        self._watched: dict[asyncio.AbstractEventLoop, Watched] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def enter(self, owners: Owners) -> None:
        """Watch the running loop until `leave` was called for each ``owners``; start the thread if necessary."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._watched.setdefault(loop, Watched(loop)).owners.append(owners)
            if self._thread is None or not self._thread.is_alive():  # a forked child does not have it
                self._ended = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(self._ended,), name="oddwire loop watch", daemon=True
                )
                self._thread.start()

    def leave(self, owners: Owners) -> None:
        """End the watch of a loop for these ``owners``; others may still watch it."""
        with self._lock:
            for watched in (*self._watched.values(),):
                if owners in watched.owners:
                    watched.owners.remove(owners)
                    if not watched.owners:
                        self._remove(watched)

    def watches(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Return whether applications run on a loop."""
        return loop in self._watched

    def _drop(self, watched: Watched) -> None:
        with self._lock:
            self._remove(watched)

    def _remove(self, watched: Watched) -> None:
        self._watched.pop(watched.loop, None)
        if not self._watched:
            self._thread = None
            self._ended.set()

    def _run(self, ended: threading.Event) -> None:
        then, worked = time.monotonic(), time.process_time()
        while not ended.wait(_LOOK):
            now, work = time.monotonic(), time.process_time()
            # The process was stopped, or got no CPU time; if it used some, code that holds the GIL blocked this thread
            stood = now - then > _LOOK + _LATE and work - worked < (now - then) / 2
            then, worked = now, work
            frames = sys._current_frames()  # noqa: SLF001 - no other way
            for watched in (*self._watched.values(),):
                if watched.loop.is_closed():  # without a call of `leave`
                    self._drop(watched)
                elif stood:
                    watched.reset()
                elif (spot := watched.look(frames.get(watched.thread), now)) is not None:
                    logger.warning(
                        "%s has blocked the event loop, and so everything else, for more than a second: run code that "
                        "computes or blocks in asyncio.to_thread()",
                        spot,
                    )
            del frames  # frames keep their functions' variables alive


def _is_debugged(frame: FrameType | None) -> bool:
    codes: list[CodeType] = []
    while frame is not None:
        codes.append(frame.f_code)
        frame = frame.f_back
    return any(part in code.co_filename for code in codes for part in _DEBUGGERS)


LOOP_WATCH: Final = LoopWatch()
"""The process's own."""
