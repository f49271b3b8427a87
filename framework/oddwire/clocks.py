"""The machine's clocks, for what the event loop's clock does not serve: ages that outlive it, and code without a loop.

They are read by attribute, ``clocks.monotonic()``, and not kept in a variable or a default: `oddwire.testing.Clock`
puts clocks of its own in their place. What a thread watches, or another process does, is timed by `time` itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

__all__ = ["monotonic", "uptime", "wall"]

monotonic: Callable[[], float] = time.monotonic
"""Seconds since an unspecified moment, which nobody sets."""
uptime: Callable[[], float] = time.monotonic
"""Seconds since the boot, with those for which the machine was suspended where the system counts them."""
if hasattr(time, "CLOCK_BOOTTIME"):  # CLOCK_MONOTONIC on Linux does not count while it is suspended
    uptime = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
wall: Callable[[], float] = time.time
"""Seconds since 1970, as the machine's clock is set."""
