"""The thread that ends the process when its event loop has not let go of a lease in time.

A handler that blocks, or a process that was stopped and goes on, cannot be trusted to notice: what it began may run
beside the next owner's. Ending the process is the one thing that a thread can do about it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Final

from oddwire import clocks
from oddwire.cluster.lease_times import LeaseClock

__all__ = ["ENDED", "Watchdog", "overdue"]

ENDED: Final = 1
"""The exit code of a process that was ended so."""
_LOOK: Final = 0.2  # seconds


def overdue(clocks_by_key: dict[str, LeaseClock], now: float) -> str | None:
    """Return the lease that should have been let go, if there is one."""
    return next((key for key, clock in clocks_by_key.items() if now >= clock.kill), None)


class Watchdog:
    """Watches leases from `start` to `stop`. ``end`` is called in a thread, with what to tell; it should not return."""

    def __init__(self, end: Callable[[str], object] | None = None, *, look: float = _LOOK) -> None:
        self._end = end or _end
        self._look = look
        self._clocks: dict[str, LeaseClock] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, key: str, clock: LeaseClock) -> None:
        """Watch a lease."""
        self._clocks = {**self._clocks, key: clock}  # the thread reads one dict or the other

    def remove(self, key: str) -> None:
        """Watch a lease no more: nothing relies on it."""
        self._clocks = {other: clock for other, clock in self._clocks.items() if other != key}

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._watch, name="oddwire lease watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Idempotent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._look):
            key = overdue(self._clocks, clocks.uptime())
            if key is not None:
                self._end(f"oddwire: lease {key} is over, and this process has not let go of it: it ends at once")
                return


def _end(text: str) -> None:
    """Print why, and end the process: nothing is cleaned up, as that is what does not work."""
    line = f"{text}\n".encode(errors="backslashreplace")
    threading.Thread(target=os.write, args=(2, line), daemon=True).start()
    threading.Event().wait(0.1)  # a full pipe must not keep it
    os._exit(ENDED)
