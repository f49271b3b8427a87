"""What is typed at a running node goes to the RPC methods of its extensions."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import os
import select
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from oddwire.app import RpcMethod
from oddwire.app.plain import to_plain
from oddwire.cli.events import Printer
from oddwire.errors import OddwireError

if TYPE_CHECKING:
    from oddwire.app import Application

__all__ = ["Console"]

_CHUNK = 4096
_GLANCE = 0.5  # seconds


class Console:
    """Reads lines, ``method parameter ...``, and calls RPC methods; with one loaded, its name may be left out.

    The last parameter takes the rest of the line; the result is printed if the method was named. Without RPC methods
    or with stdin closed it reads nothing, and from a terminal only while this is its foreground job. The end of a
    terminal's input stops the application, that of a pipe or file only the reading.
    """

    def __init__(self, app: Application, printer: Printer) -> None:
        self._app = app
        self._printer = printer
        self._methods: Mapping[str, RpcMethod] = {
            method.name: method for contribution in app.plugins.contributions for method in contribution.rpc_methods
        }

    def start(self) -> None:
        """Read from now on, in a thread of its own: a read of stdin can be neither awaited nor cancelled."""
        descriptor = _stdin()
        if descriptor is not None and self._methods:
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._read, args=(descriptor, loop), name="console", daemon=True).start()

    async def enter(self, line: str) -> None:
        """Carry out one line. What goes wrong is printed, never raised."""
        if not line.strip():
            return
        word, _, rest = line.strip().partition(" ")
        method = named = self._methods.get(word)
        if method is None and len(self._methods) == 1:
            (method,), rest = self._methods.values(), line.strip()
        if method is None:
            self._printer.remark(f"there is no method {word!r}; there are: {', '.join(sorted(self._methods))}")
            return
        # As many as the method takes: the last one may hold spaces
        most = max(len(method.names) - 1, 0)
        try:
            result = await self._app.call(method.name, *rest.split(None, most))
        except Exception as error:
            kind = "" if isinstance(error, OddwireError) else f"{type(error).__name__}: "
            self._printer.remark(f"{f'{method.name} {method.usage}'.rstrip()}: {kind}{error}")
            return
        if named and result is not None:
            self._printer.remark(json.dumps(to_plain(result, str)))

    def _read(self, descriptor: int, loop: asyncio.AbstractEventLoop) -> None:
        # os.read, as sys.stdin would hold a lock that the ending interpreter wants
        rest = b""
        with contextlib.suppress(OSError, RuntimeError, concurrent.futures.CancelledError):
            while chunk := _read(descriptor):
                *lines, rest = (rest + chunk).split(b"\n")
                self._hand_over(lines, loop)
            self._hand_over([rest], loop)
            if os.isatty(descriptor):
                loop.call_soon_threadsafe(self._app.stop)

    def _hand_over(self, lines: list[bytes], loop: asyncio.AbstractEventLoop) -> None:
        for line in lines:
            entering = self.enter(line.decode(errors="replace"))
            try:
                asyncio.run_coroutine_threadsafe(entering, loop).result()
            except RuntimeError:  # the loop has ended
                entering.close()
                raise


def _read(descriptor: int) -> bytes:
    """Read what is there, or wait. From a terminal only in the foreground: elsewhere that would stop the process."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while True:
        if not _is_ours(descriptor):
            time.sleep(_GLANCE)
        elif poll.poll(_GLANCE * 1000):  # no longer: we may be sent to the background meanwhile
            with contextlib.suppress(BlockingIOError):
                return os.read(descriptor, _CHUNK)


def _is_ours(descriptor: int) -> bool:
    """Say whether nobody else reads it: a terminal belongs to its foreground job."""
    try:
        return not os.isatty(descriptor) or os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:  # it controls no jobs of this session
        return True


def _stdin() -> int | None:
    """Give stdin's descriptor, if there is one to read."""
    try:
        descriptor = sys.stdin.fileno()
        os.fstat(descriptor)
    except (AttributeError, OSError, ValueError):
        return None
    return descriptor
