"""Ports for tests whose programs are told where to listen, and listen there later.

A port that the system hands out may be anybody's by then: it also gives it to a connection that somebody dials.
So these are below the range from which it hands out, and each process of a test run has a part of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LOWEST: Final = 10_000
_EACH: Final = 2_000  # ports of one process of a test run


def _handed_out_from() -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    return 32_768


def _ports() -> Iterator[int]:
    parts = max((_handed_out_from() - _LOWEST) // _EACH, 1)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    first = _LOWEST + int(worker) % parts * _EACH
    start = random.SystemRandom().randrange(_EACH)  # another run on this machine begins elsewhere
    return (first + (start + number) % _EACH for number in itertools.count())


_next: Final = _ports()


def free_port(*hosts: str) -> int:
    """Return a port that is free at all of these addresses, by default at 127.0.0.1, and stays free.

    Raises:
        OSError: after as many tries as there are ports there was none.
    """
    for port in itertools.islice(_next, _EACH):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for host in hosts or ("127.0.0.1",):
                listening = stack.enter_context(socket.socket())
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listening.bind((host, port))
            return port
    raise OSError(f"no port is free at all of {', '.join(hosts)}")
