from __future__ import annotations

import os
import subprocess
import sys
import threading

from oddwire import clocks
from oddwire.cluster.lease_times import LeaseClock, LeaseTimes
from oddwire.cluster.watchdog import ENDED, Watchdog, overdue

TIMES = LeaseTimes(ttl=1.0, renew=0.1, margin=0.5, watchdog=0.1)


def test_a_lease_is_overdue_a_while_after_it_is_over():
    watched = {"x": LeaseClock(TIMES, 0.0), "y": LeaseClock(TIMES, 1.0)}

    assert overdue(watched, 0.55) is None
    assert overdue(watched, 0.6) == "x"
    assert overdue({}, 1e9) is None


def test_it_says_which_lease_was_not_let_go_and_only_that():
    said, told = [], threading.Event()

    def end(text):
        said.append(text)
        told.set()

    watchdog = Watchdog(end, look=0.005)
    watchdog.add("gone", LeaseClock(TIMES, 0.0))
    watchdog.remove("gone")
    watchdog.add("fine", LeaseClock(TIMES, clocks.uptime() + 3600))
    watchdog.start()
    watchdog.add("part.x.1", LeaseClock(TIMES, clocks.uptime()))

    assert told.wait(30)
    watchdog.stop()
    watchdog.stop()
    assert said == ["oddwire: lease part.x.1 is over, and this process has not let go of it: it ends at once"]


def test_a_process_whose_loop_is_blocked_ends():
    code = (
        "import threading\n"
        "from oddwire import clocks\n"
        "from oddwire.cluster.lease_times import LeaseClock, LeaseTimes\n"
        "from oddwire.cluster.watchdog import Watchdog\n"
        "watchdog = Watchdog()\n"
        "times = LeaseTimes(ttl=1.0, renew=.05, margin=.9, watchdog=.1)\n"
        "watchdog.add('part.x.1', LeaseClock(times, clocks.uptime()))\n"
        "watchdog.start()\n"
        "threading.Event().wait()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60, check=False, env={**os.environ, "PYTHONPATH": ""}
    )

    assert ended.returncode == ENDED
    assert ended.stderr.decode() == (
        "oddwire: lease part.x.1 is over, and this process has not let go of it: it ends at once\n"
    )
