"""What a program that is restarted by ``--reload`` has from its supervisor: its key, and the ports it had before.

One socket: the supervisor writes a line of JSON, the program one once it listens. When the supervisor is gone, so is
the other end, and the program ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

__all__ = ["VARIABLE", "ReloadLink", "reload_link"]

VARIABLE: Final = "ODDWIRE_SUPERVISOR"
"""The variable with the number of the socket's descriptor."""

_LONGEST: Final = 1 << 16
_RANDOM: Final = ":0"  # the end of an address whose port is any that is free


class ReloadLink:
    """The program's end. ``key`` is the node's, 64 hex digits, for a program without a data directory."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        told: Any = json.loads(end.recv(_LONGEST))
        self.key: str = told["key"]
        self._had: dict[str, str] = told["listen"]

    def addresses(self, listen: Sequence[str]) -> list[str]:
        """Return the addresses to listen at: those with port 0 have the port that they had before."""
        return [self._had.get(address, address) for address in listen]

    def tell(self, listen: Sequence[str], uris: Sequence[str]) -> None:
        """Tell the supervisor which ports were free, for the next time."""
        found = {}
        for address, uri in zip(listen, uris, strict=False):
            if address.endswith(_RANDOM) and len(uris) == len(listen):
                found[address] = f"{address.removesuffix(_RANDOM)}:{uri.rpartition(':')[2]}"
        with contextlib.suppress(OSError):
            self._end.send(json.dumps(found).encode())

    def end_with_it(self, stop: Callable[[], object]) -> None:
        """Call ``stop`` on the running event loop once the supervisor is gone."""
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(self._end)
            stop()

        self._end.setblocking(False)
        loop.add_reader(self._end, gone)


def reload_link() -> ReloadLink | None:
    """Return the link to the supervisor that started this process, None without one. To be called once."""
    text = os.environ.get(VARIABLE, "")
    if not text.isdigit():
        return None
    del os.environ[VARIABLE]  # children of ours have none
    end = socket.socket(fileno=int(text))
    end.set_inheritable(False)
    return ReloadLink(end)
