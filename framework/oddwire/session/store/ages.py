"""How long messages have waited, whatever is done to the clock on the wall.

A board without a clock of its own boots in 1970, or in the year its image was made, and is set right seconds later; an
operator, or NTP, may set any clock back. So an age is what a clock that nobody sets has counted while the machine ran:
the time since the boot, by which processes of one boot can tell, too, how long none of them ran. Only from one boot to
the next there is nothing but the wall clock. What it says of such an absence counts if both readings can be true, and
no absence for more than `MOST_ABSENT`: a clock that is wrong by years must not end what waits, while what waits for a
peer that never comes ends after so many days of running all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["MOST_ABSENT", "Ages", "Mark", "boot_id"]

MOST_ABSENT: Final = 24 * 60 * 60.0
"""Seconds that one absence, from a boot to another, counts at most."""
_RELEASE: Final = 1_767_225_600.0  # 2026 began: a wall clock that says less has not been set
_OFTEN: Final = 60.0  # seconds between two marks, where there is something to write anyway
_STEP: Final = 60.0  # seconds that the wall clock has moved by itself: it has been set, and is better known now


class Mark(NamedTuple):
    """What the clocks said at one moment: ages' own, the wall's (since 1970), the boot, and the seconds since that."""

    seconds: float
    wall: float
    boot: str
    uptime: float


def boot_id() -> str:
    """Return what names this boot of the machine; an empty text where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _uptime() -> float:
    # It goes on while the machine sleeps, where there is such a clock
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Ages:
    """A clock in seconds that goes on and never jumps; called, it says what it is now.

    It begins with what the wall says, and has nothing to do with that afterwards: only differences mean something.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        uptime: Callable[[], float] = _uptime,
        boot: Callable[[], str] = boot_id,
    ) -> None:
        self.wall = wall
        """The clock on the wall, seconds since 1970; it may jump."""
        self._uptime = uptime
        self._boot = boot()
        self._offset = wall() - uptime()
        self._marked: Mark | None = None

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self._offset + self._uptime()

    def resume(self, mark: Mark | None, newest: float) -> None:
        """Go on from a mark that an earlier process has left, and not before ``newest``, 0 for nothing there is.

        Without a mark it is the time of the newest, and of an absence.
        """
        uptime, wall = self._uptime(), self.wall()
        self._marked = None
        if mark is None:
            self._offset = (newest + min(max(wall - newest, 0.0), MOST_ABSENT) if newest else wall) - uptime
            return
        if mark.boot and mark.boot == self._boot:
            absent = uptime - mark.uptime
        elif min(mark.wall, wall) < _RELEASE:
            absent = 0.0
        else:
            absent = min(wall - mark.wall, MOST_ABSENT)
        self._offset = max(mark.seconds + max(absent, 0.0), newest) - uptime

    def mark(self) -> Mark:
        """Return the mark to write down now."""
        uptime = self._uptime()
        self._marked = mark = Mark(self._offset + uptime, self.wall(), self._boot, uptime)
        return mark

    def is_due(self, seconds: float = _OFTEN) -> bool:
        """Say whether the last mark is so old, there was none yet, or the wall clock has been set since."""
        mark = self._marked
        if mark is None:
            return True
        passed = self._uptime() - mark.uptime
        return passed >= seconds or abs(self.wall() - mark.wall - passed) >= _STEP
