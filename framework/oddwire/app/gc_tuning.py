"""Python's cyclic garbage collector, told what kind of objects messages are."""

from __future__ import annotations

import gc
from typing import Final

__all__ = ["YOUNG_OBJECTS", "hold_collector", "relax_collector"]

YOUNG_OBJECTS: Final = 50_000
"""New objects before the collector looks for cycles among them; Python's own default is 700."""


def hold_collector() -> None:
    """Let the collector wait while the process starts, up to `relax_collector`: what is imported stays.

    Looking through it again and again takes an eighth of the time from a plugin's start to its manifest.
    """
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])


def relax_collector() -> None:
    """Let the collector run seldom, for a process whose main work is messages. `oddwire run` does this at its start.

    Messages are many, die young and refer to nothing that refers back, so counting references frees them all. Python
    cannot know that: of the time from payload to handler, looking through them for cycles every 700 objects takes about
    a quarter. What is loaded by now is taken out of every later search. Memory grows by some megabytes at most. It
    holds for the whole process, so a library does not do it unasked.
    """
    gc.collect()
    gc.freeze()
    hold_collector()
