"""The console of a running node: lines typed call the RPC methods of its extensions."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import difflib
import os
import select
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from oddwire.app import RpcMethod
from oddwire.app.declarations.annotations import alternatives, evaluate
from oddwire.app.declarations.jsonable import to_plain
from oddwire.app.dispatch.error_peers import with_peer
from oddwire.cli.events import Event, Printer
from oddwire.cli.shell_words import BLANKS, decoded, next_word, split_words, unquoted
from oddwire.errors import OddwireError
from oddwire.exit_exceptions import must_pass

if TYPE_CHECKING:
    from oddwire.app import Application

__all__ = ["Console"]

_CHUNK = 1 << 16
_GLANCE = 0.5  # seconds
_CLOSE = 0.8  # similarity, of 1, from which a first word is taken for a misspelt name of the only method


class Console:
    """Reads lines ``method parameter ...`` from stdin, and calls RPC methods. The name of an only method is optional.

    Parameters are words as in a shell. A last parameter of type text is the rest of the line as typed, without quotes
    around all of it; if the name is omitted and the method has only a text parameter, it is the whole line, quotes
    included. The result is printed if the method was named, and always with JSON.

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
        me = asyncio.current_task()
        try:
            value = await self._app.call(method.name, *_arguments(method, line[end:], bare=not named))
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
            reason = with_peer(error)
            kind = "" if isinstance(error, OddwireError) or type(error) is _Unreadable else f"{type(error).__name__}: "
            meant = not named and bool(difflib.get_close_matches(name, [method.name], 1, _CLOSE))
            hint = f"; did you mean {method.name}?" if meant else ""
            self._failed(f"{f'{method.name} {method.usage}'.rstrip()}: {kind}{reason}{hint}", method)

    def _failed(self, text: str, method: RpcMethod | None = None) -> None:
        if self._printer.as_json:
            self._printer.event(Event(event="error", method=None if method is None else method.name, text=text))
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


class _Unreadable(ValueError):
    """A line that cannot be split."""


def _arguments(method: RpcMethod, rest: str, *, bare: bool) -> list[str]:
    """Split a line after the method's name, or without one if ``bare``, into arguments. Raises `_Unreadable`."""
    names = method.names
    takes_text = bool(names) and _is_text(method, names[-1])
    if bare and takes_text and len(names) == 1:
        return [rest]
    # All parameters are words, except for a last one of type text, which may contain apostrophes
    arguments: list[str] = []
    at = 0
    try:
        for _ in names[: len(names) - takes_text]:
            word = next_word(rest, at)
            if word is None:
                return arguments
            arguments.append(word.text)
            at = word.end
        if not takes_text:
            more = split_words(rest[at:])
            if more and names:
                raise ValueError(f"{more[0].text!r} is one parameter too many; one with a space should be in quotes")
            return [*arguments, *(word.text for word in more)]
    except ValueError as error:
        raise _Unreadable(str(error)) from None
    text = rest[at:].lstrip(BLANKS)
    return [*arguments, unquoted(text)] if text else arguments


def _is_text(method: RpcMethod, name: str) -> bool:
    """Return whether a parameter accepts any text, as one without annotation does."""
    try:
        annotation = evaluate(method.function, (name,), method.scope).get(name, Any)
    except NameError:
        return False  # such a method was refused when it was loaded
    kinds = {getattr(kind, "__supertype__", kind) for kind in alternatives(annotation)} - {type(None), None}
    return bool(kinds) and kinds <= {str, Any, object}


def _stdin() -> int | None:
    """Return stdin's descriptor, None if it is closed."""
    try:
        descriptor = sys.stdin.fileno()
        os.fstat(descriptor)
    except (AttributeError, OSError, ValueError):
        return None
    return descriptor
