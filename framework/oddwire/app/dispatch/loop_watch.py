"""Names what keeps an event loop from running for more than a second, with the line where it stands.

One thread of the process watches all its loops. Four times a second it looks whether a loop waits for events, which is
all there is to see while nothing happens, and asks one that does not to answer. It is a daemon, so it keeps no program
from ending, and ends when no loop is watched any more.

The thread of `oddwire.transports.cln.stdio` is another one: it sleeps for as long as lightningd is silent, when a
handler may block as well, and transports know nothing of whose code it is.
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

_LOOK: Final = 0.25  # seconds from one look to the next
_PATIENCE: Final = 1.0  # seconds in which a loop that was asked should have answered
_LATE: Final = 0.5  # seconds that the thread itself comes late: then it was not the loop that was held up
_SELECTING: Final = frozenset(
    selector.select.__code__
    for name in ("EpollSelector", "KqueueSelector", "PollSelector", "DevpollSelector", "SelectSelector")
    if (selector := getattr(selectors, name, None)) is not None
)
_DEBUGGERS: Final = ("/pdb.py", "/bdb.py", "/pydevd.py", "/debugpy/")  # where somebody looks at a program that stands


Owners = Callable[[], Mapping[CodeType, str]]
"""Returns what the functions of an application's extensions are: `oddwire.app.unfinished.owners_of`."""


class Watched:
    """One loop, and whose functions may stand in its way."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread = threading.get_ident()
        self.owners: list[Owners] = []
        self._asked = 0.0  # when; 0.0 once it has answered
        self._told = False

    def forget(self) -> None:
        """Begin anew."""
        self._asked, self._told = 0.0, False

    def look(self, frame: FrameType | None, now: float) -> str | None:
        """Ask the loop, or say where it has been standing for too long; once."""
        if self._asked:
            if self._told or now - self._asked < _PATIENCE or frame is None or _is_debugged(frame):
                return None
            spot = self._describe(frame)
            self._told = spot is not None  # what is oddwire's own is not named: an author's may come yet
            return spot
        if frame is not None and frame.f_code not in _SELECTING:
            self._asked = now
            try:
                self.loop.call_soon_threadsafe(self.forget)
            except RuntimeError:  # it has been closed
                self.forget()
        return None

    def _describe(self, frame: FrameType) -> str | None:
        from oddwire.app.unfinished import place_of_thread  # seldom needed

        owners: dict[CodeType, str] = {}
        for owners_of in (*self.owners,):
            owners.update(owners_of())
        return place_of_thread(frame, owners)


class LoopWatch:
    """The thread, and what it watches. One for the process: `LOOP_WATCH`."""

    def __init__(self) -> None:
        self._watched: dict[asyncio.AbstractEventLoop, Watched] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def enter(self, owners: Owners) -> None:
        """Watch the loop that runs here, until all who want that have called `leave`."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._watched.setdefault(loop, Watched(loop)).owners.append(owners)
            if self._thread is None or not self._thread.is_alive():  # it is not there in a child that was forked
                self._ended = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(self._ended,), name="oddwire loop watch", daemon=True
                )
                self._thread.start()

    def leave(self, owners: Owners) -> None:
        """Watch the loop that was watched for this no more, unless others want it."""
        with self._lock:
            for watched in (*self._watched.values(),):
                if owners in watched.owners:
                    watched.owners.remove(owners)
                    if not watched.owners:
                        self._forget(watched)

    def _drop(self, watched: Watched) -> None:
        with self._lock:
            self._forget(watched)

    def _forget(self, watched: Watched) -> None:
        self._watched.pop(watched.loop, None)
        if not self._watched:
            self._thread = None
            self._ended.set()

    def _run(self, ended: threading.Event) -> None:
        then, worked = time.monotonic(), time.process_time()
        while not ended.wait(_LOOK):
            now, work = time.monotonic(), time.process_time()
            # A process that was stopped, or got no processor; one that worked was kept by code that lets no thread run
            stood = now - then > _LOOK + _LATE and work - worked < (now - then) / 2
            then, worked = now, work
            frames = sys._current_frames()  # noqa: SLF001 - no other way
            for watched in (*self._watched.values(),):
                if watched.loop.is_closed():  # without having been left
                    self._drop(watched)
                elif stood:
                    watched.forget()
                elif (spot := watched.look(frames.get(watched.thread), now)) is not None:
                    logger.warning(
                        "%s has kept the event loop from running for more than a second, and all else with it: "
                        "what computes or blocks belongs in asyncio.to_thread()",
                        spot,
                    )
            del frames  # they would keep what their functions have


def _is_debugged(frame: FrameType | None) -> bool:
    codes: list[CodeType] = []
    while frame is not None:
        codes.append(frame.f_code)
        frame = frame.f_back
    return any(part in code.co_filename for code in codes for part in _DEBUGGERS)


LOOP_WATCH: Final = LoopWatch()
"""That of the process."""
