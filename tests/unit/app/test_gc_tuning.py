"""The collector runs seldom, and what is loaded is left alone."""

from __future__ import annotations

import subprocess
import sys

# In a process of its own: it changes the whole process
PROGRAM = """
import gc
from oddwire.app import Application, relax_collector
second, third = gc.get_threshold()[1:]
relax_collector()
assert gc.isenabled()
assert gc.get_threshold() == (50_000, second, third), gc.get_threshold()
assert gc.get_freeze_count() > 10_000, gc.get_freeze_count()
before = gc.get_stats()[0]["collections"]
kept = [[] for _ in range(20_000)]
assert gc.get_stats()[0]["collections"] == before
cycles = []
for _ in range(60_000):
    cycle = []
    cycle.append(cycle)
    del cycle
assert gc.get_stats()[0]["collected"] > 0, "cycles are still found"
"""


def test_it_looks_seldom_and_still_finds_cycles():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60)


START = """
import gc
from oddwire.app.gc_tuning import hold_collector
second, third = gc.get_threshold()[1:]
hold_collector()
assert gc.isenabled()
assert gc.get_threshold() == (50_000, second, third), gc.get_threshold()
before = [generation["collections"] for generation in gc.get_stats()]
frozen = gc.get_freeze_count()  # Python 3.12 starts with some
import oddwire.app.application
assert [generation["collections"] for generation in gc.get_stats()] == before
assert gc.get_freeze_count() == frozen
"""


def test_it_waits_while_a_program_is_imported():
    subprocess.run([sys.executable, "-c", START], check=True, timeout=60)
