"""A clock for the ages of messages that does not jump when the wall clock is set.

A board without a battery-backed clock boots in 1970, or in the year of its image, and is set right seconds later; an
operator, or NTP, may set any clock back. So ages are counted by a clock that nobody sets: the time since the boot. It
also shows how long no process ran between two processes of one boot.

From one boot to the next there is only the wall clock. The absence that it shows counts if both readings can be true,
and for `MOST_ABSENT` at most. So a clock that is wrong by years cannot expire waiting messages, while messages for a
peer that never comes still expire after enough days of running.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from oddwire import clocks

__all__ = ["MOST_ABSENT", "Ages", "Mark", "boot_id"]

MOST_ABSENT: Final = 24 * 60 * 60.0
"""Max seconds that one absence, from one boot to another, counts."""
_RELEASE: Final = 1_767_225_600.0  # the start of 2026: a wall clock before it has not been set
_OFTEN: Final = 60.0  # seconds between marks, if there is something else to write
_STEP: Final = 60.0  # min seconds of a jump of the wall clock that shows that it was set: a new mark is due


class Mark(NamedTuple):
    """Readings at one moment: `Ages`, the wall clock (seconds since 1970), the boot's id, seconds since the boot."""

    seconds: float
    wall: float
    boot: str
    uptime: float


def boot_id() -> str:
    """Return the id of this boot of the machine; empty if the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class Ages:
    """A clock in seconds that never jumps. Call the object for the time.

    It starts at the time of the wall clock, and is independent of it afterwards: only differences have a meaning.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], float] | None = None,
        uptime: Callable[[], float] | None = None,
        boot: Callable[[], str] = boot_id,
    ) -> None:
        self._wall = wall  # None: that of `clocks`
        self._uptime = uptime
        self._boot = boot()
        self._offset = self.wall() - self.uptime()
        self._marked: Mark | None = None

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self._offset + (self._uptime or clocks.uptime)()

    def wall(self) -> float:
        """Return the time of the wall clock, seconds since 1970; it may jump."""
        return (self._wall or clocks.wall)()

    def uptime(self) -> float:
        """Return the seconds since the boot."""
        return (self._uptime or clocks.uptime)()

    def resume(self, mark: Mark | None, newest: float) -> None:
        """Continue from the mark of an earlier process, but not from before ``newest``.

        ``newest`` is the latest time in the database, 0 for none. Without a mark, the clock continues from ``newest``
        plus an absence by the wall clock.
        """
        uptime, wall = self.uptime(), self.wall()
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
        """Return a mark of now, to be written to the database."""
        uptime = self.uptime()
        self._marked = mark = Mark(self._offset + uptime, self.wall(), self._boot, uptime)
        return mark

    def is_due(self, seconds: float = _OFTEN) -> bool:
        """Return whether a mark is due: none was made in the last ``seconds``, or the wall clock was set since."""
        mark = self._marked
        if mark is None:
            return True
        passed = (self._uptime or clocks.uptime)() - mark.uptime  # not by uptime(): on the way of each commit
        return passed >= seconds or abs((self._wall or clocks.wall)() - mark.wall - passed) >= _STEP
