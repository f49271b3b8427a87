"""Tuning of Python's cyclic garbage collector for messages."""

from __future__ import annotations

import gc
from typing import Final

__all__ = ["YOUNG_OBJECTS", "hold_collector", "relax_collector"]

YOUNG_OBJECTS: Final = 50_000
"""New objects before the collector searches them for cycles; Python's own default is 700."""


def hold_collector() -> None:
    """Delay the collector while the process starts, until `relax_collector`: imported modules are not freed anyway.

    To search them again and again takes an eighth of the time from a plugin's start to its manifest.
    """
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])


def relax_collector() -> None:
    """Run the collector less often, for a process whose main work is messages. `oddwire run` does this at its start.

    Messages are many, short-lived and without reference cycles, so reference counting frees them all. The collector
    searches them all the same: every 700 objects, that takes about a quarter of the time from payload to handler.
    Objects loaded by now are excluded from all later searches. Memory grows by some megabytes at most. This applies to
    the whole process, so a library does not do it unasked.
    """
    gc.collect()
    gc.freeze()
    hold_collector()
