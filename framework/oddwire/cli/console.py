"""What is typed at a running node goes to the RPC methods of its extensions."""

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
_CLOSE = 0.8  # of 1: how like the only method's name a first word has to be that may be a value


class Console:
    """Reads lines, ``method parameter ...``, and calls RPC methods; with one loaded, its name may be left out.

    Parameters are words as a shell reads them. A last one that is text takes the rest of the line as it is typed, but
    for quotes around all of it; where the name of the only method is left out and it takes nothing but a text, that is
    the whole line, quotes and all. The result is printed if the method was named, and with JSON always.

    Without RPC methods or with stdin closed it reads nothing, and from a terminal only while this is its foreground
    job. The end of a terminal's input stops the application, that of a pipe or file only the reading.
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
            told = with_peer(error)
            kind = "" if isinstance(error, OddwireError) or type(error) is _Unreadable else f"{type(error).__name__}: "
            meant = not named and bool(difflib.get_close_matches(name, [method.name], 1, _CLOSE))
            hint = f"; did you mean {method.name}?" if meant else ""
            self._failed(f"{f'{method.name} {method.usage}'.rstrip()}: {kind}{told}{hint}", method)

    def _failed(self, text: str, method: RpcMethod | None = None) -> None:
        if self._printer.as_json:
            self._printer.event(Event(event="error", method=None if method is None else method.name, text=text))
        self._printer.remark(text)

    def _read(self, descriptor: int, loop: asyncio.AbstractEventLoop) -> None:
        # os.read, as sys.stdin would hold a lock that the ending interpreter wants
        pieces: list[bytes] = []  # of a line that has not ended
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


class _Unreadable(ValueError):
    """A line that cannot be split."""


def _arguments(method: RpcMethod, rest: str, *, bare: bool) -> list[str]:
    """Read what is typed behind the name of a method, or without it. Raises `_Unreadable`."""
    names = method.names
    takes_text = bool(names) and _is_text(method, names[-1])
    if bare and takes_text and len(names) == 1:
        return [rest]
    # Words for all parameters but a last one that is text: what people write has apostrophes in it
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
                raise ValueError(f"{more[0].text!r} is too much: a parameter with a space should be in quotes")
            return [*arguments, *(word.text for word in more)]
    except ValueError as error:
        raise _Unreadable(str(error)) from None
    text = rest[at:].lstrip(BLANKS)
    return [*arguments, unquoted(text)] if text else arguments


def _is_text(method: RpcMethod, name: str) -> bool:
    """Whether a parameter takes any text; one without annotation does."""
    try:
        annotation = evaluate(method.function, (name,), method.scope).get(name, Any)
    except NameError:
        return False  # loading has refused it
    kinds = {getattr(kind, "__supertype__", kind) for kind in alternatives(annotation)} - {type(None), None}
    return bool(kinds) and kinds <= {str, Any, object}


def _stdin() -> int | None:
    """Return stdin's descriptor, if there is one to read."""
    try:
        descriptor = sys.stdin.fileno()
        os.fstat(descriptor)
    except (AttributeError, OSError, ValueError):
        return None
    return descriptor
