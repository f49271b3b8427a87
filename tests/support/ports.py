"""Ports for tests that need one number at several addresses."""

from __future__ import annotations

import contextlib
import socket

TRIES = 100


def common_port(*hosts: str) -> int:
    """Return a port that is free at all of these addresses; that one is free at one of them says nothing of the others.

    Raises:
        OSError: after many tries there was none.
    """
    for _ in range(TRIES):
        with contextlib.ExitStack() as stack:
            port = 0
            with contextlib.suppress(OSError):
                for host in hosts:
                    listening = stack.enter_context(socket.socket())
                    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    listening.bind((host, port))
                    port = listening.getsockname()[1]
                return port
    raise OSError(f"no port is free at all of {', '.join(hosts)}")
