"""The console of a running node: lines typed call the RPC methods of its extensions."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import difflib
import json
import os
import select
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from oddwire.app import RpcMethod, hookimpl
from oddwire.app.declarations.jsonable import to_plain
from oddwire.app.declarations.rpc import bind_parameters
from oddwire.app.dispatch.error_peers import with_peer
from oddwire.cli.console_line import read_parameters
from oddwire.cli.events import Event, Printer
from oddwire.cli.shell_words import BLANKS, decoded
from oddwire.errors import NodeRefused, OddwireError, RemoteRpcError, RpcError
from oddwire.exit_exceptions import must_pass
from oddwire.jsonrpc.parameters import INVALID_PARAMS
from oddwire.log_limits import cut
from oddwire.transports.base import PROGRESS

if TYPE_CHECKING:
    from oddwire.app import Application

__all__ = ["Console", "ConsoleWhenConnected"]

_CHUNK = 1 << 16
_GLANCE = 0.5  # seconds
_MOST = 2000  # characters of an error's data, which may be what a peer sent
_CLOSE = 0.8  # similarity, of 1, from which a first word is taken for a misspelt name of the only method


class Console:
    """Reads lines ``method parameter ...`` from stdin, and calls RPC methods. The name of an only method is optional.

    Parameters are words as in a shell, JSON objects and lists as they are shown, or NAME=VALUE; null is none. A last
    parameter of type text is the rest of the line as typed, without quotes around all of it; if the name is omitted
    and the method has only a text parameter, it is the whole line, quotes included. The result is printed if the method
    was named, and always with JSON.

    Without RPC methods, or with stdin closed, nothing is read; from a terminal, only while this process is in its
    foreground. The end of a terminal's input stops the application, that of a pipe or file only the reading.
    """

    def __init__(self, app: Application, printer: Printer) -> None:
        self._app = app
        self._printer = printer
        self._methods: Mapping[str, RpcMethod] = app.rpc_methods

    def start(self) -> None:
        """Start reading, in a thread, as a read of stdin can be neither awaited nor cancelled."""
        descriptor = _stdin()
        if descriptor is not None and self._methods:
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._read, args=(descriptor, loop), name="console", daemon=True).start()

    async def enter(self, line: str) -> None:
        """Run one line. Errors are printed; only cancellation and exits of the process are raised."""
        if not line.strip(BLANKS):
            return
        start = len(line) - len(line.lstrip(BLANKS))
        end = next((at for at in range(start, len(line)) if line[at] in BLANKS), len(line))
        name = line[start:end]
        method = named = self._methods.get(name)
        if method is None and len(self._methods) == 1:
            (method,) = self._methods.values()
            end = 0
        if method is None:
            close = difflib.get_close_matches(name, self._methods, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            self._failed(f"there is no method {name!r}{hint}; there are: {', '.join(sorted(self._methods))}")
            return
        meant = not named and bool(difflib.get_close_matches(name, [method.name], 1, _CLOSE))
        hint = f"; did you mean {method.name}?" if meant else ""
        try:
            given = read_parameters(method, line[end:], bare=not named)
            bind_parameters(method.parameters(), given)
        except (ValueError, NodeRefused) as error:
            usage = f"usage: {method.name} {method.usage}".rstrip()
            self._failed(f"{method.name}: {error}{hint or ';'} {usage}", method, code=INVALID_PARAMS, shown=False)
            return
        me = asyncio.current_task()
        try:
            value = await self._call(method, given)
            plain = to_plain(value, str)
            if self._printer.as_json:
                self._printer.event(Event(event="result", method=method.name, value=plain))
            elif named and value is not None:
                self._printer.remark(Event(event="result", value=plain).to_text())
        except asyncio.CancelledError:
            if me is not None and me.cancelling():
                raise
            self._failed(f"{method.name}: cancelled by itself", method)
        except BaseException as error:
            if must_pass(error, me):
                raise
            code, data = _code_and_data(error)
            meant_so = isinstance(error, (OddwireError, ValueError))  # as for a client of the node
            kind = "" if meant_so and str(error) else f"{type(error).__name__}: "
            self._failed(f"{method.name}: {kind}{with_peer(error)}{hint}", method, code=code, data=data)

    async def _call(self, method: RpcMethod, given: Mapping[str, Any]) -> Any:
        if self._printer.as_json or not sys.stderr.isatty():
            return await self._app.call(method.name, **given)
        from oddwire.cli.progress_bar import ProgressBar  # only people watch

        with ProgressBar(method.name) as bar:
            PROGRESS.set(bar.show)  # in the context of the task of this line
            return await self._app.call(method.name, **given)

    def _failed(
        self,
        text: str,
        method: RpcMethod | None = None,
        *,
        code: int | None = None,
        data: Any = None,
        shown: bool = True,
    ) -> None:
        """Print an error; as a text with code and data only if ``shown``."""
        if self._printer.as_json:
            name = None if method is None else method.name
            self._printer.event(Event(event="error", method=name, text=text, code=code, data=data))
        if code is not None and shown:
            of = "" if data is None else f", data {cut(json.dumps(data, ensure_ascii=False), _MOST)}"
            text = f"{text} (code {code}{of})"
        self._printer.remark(text)

    def _read(self, descriptor: int, loop: asyncio.AbstractEventLoop) -> None:
        # os.read, as sys.stdin would hold a lock that the interpreter needs at its end
        pieces: list[bytes] = []  # of an incomplete line
        with contextlib.suppress(OSError, RuntimeError, concurrent.futures.CancelledError):
            while chunk := _read(descriptor):
                first, *more = chunk.split(b"\n")
                pieces.append(first)
                if more:
                    lines = [b"".join(pieces), *more[:-1]]
                    pieces = [more[-1]]
                    self._hand_over(lines, loop)
            self._hand_over([b"".join(pieces)], loop)
            if os.isatty(descriptor):
                loop.call_soon_threadsafe(self._app.stop)

    def _hand_over(self, lines: list[bytes], loop: asyncio.AbstractEventLoop) -> None:
        for line in lines:
            entering = self.enter(decoded(line.removesuffix(b"\r")))
            try:
                asyncio.run_coroutine_threadsafe(entering, loop).result()
            except RuntimeError:  # the event loop is closed
                entering.close()
                raise


def _read(descriptor: int) -> bytes:
    """Return the next bytes, waiting for them. A terminal is read only in the foreground, or SIGTTIN would stop us."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while True:
        if not _is_ours(descriptor):
            time.sleep(_GLANCE)
        elif poll.poll(_GLANCE * 1000):  # with a timeout, as we may be moved to the background
            with contextlib.suppress(BlockingIOError):
                return os.read(descriptor, _CHUNK)


def _is_ours(descriptor: int) -> bool:
    """Return whether we may read the descriptor: a terminal belongs to its foreground job."""
    try:
        return not os.isatty(descriptor) or os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:  # not the controlling terminal of this session
        return True


def _code_and_data(error: BaseException) -> tuple[int | None, Any]:
    """Return what a JSON-RPC error has besides its text, as JSON holds it; None for any other exception."""
    if not isinstance(error, (RpcError, RemoteRpcError, NodeRefused)):
        return None, None
    try:
        return error.code, to_plain(error.data, str)
    except (TypeError, ValueError, RecursionError):
        return error.code, None


def _stdin() -> int | None:
    """Return stdin's descriptor, None if it is closed."""
    try:
        descriptor = sys.stdin.fileno()
        os.fstat(descriptor)
    except (AttributeError, OSError, ValueError):
        return None
    return descriptor


class ConsoleWhenConnected:
    """Starts the console with the first peer, as earlier lines might reach nobody, and after a moment at the latest.

    Some methods need no peer, or one that connects later: a reliable message waits for it in the store.
    """

    name = "oddwire.cli.console"

    def __init__(self, printer: Printer) -> None:
        self._printer = printer
        self._started = False

    @hookimpl
    def peer_connected(self, app: Application) -> None:
        """Start with the first peer."""
        self.start(app)

    def start(self, app: Application) -> None:
        """Start the console, unless it was started."""
        if not self._started:
            self._started = True
            Console(app, self._printer).start()
