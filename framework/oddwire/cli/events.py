"""The output of commands: events, as JSON for programs or as text for people."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from oddwire.app.insight import events as event_values
from oddwire.cli.stdout_writer import StdoutWriter
from oddwire.printable import printable, printable_json

if TYPE_CHECKING:
    from oddwire.proto.keys import NodeId

__all__ = ["Event", "Printer", "json_line", "short_id"]

_COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_NO_COLOUR = dict.fromkeys(_COLOURS, "")


class Event(event_values.Event):
    """One event, as a line of JSON or of text."""

    __slots__ = ()

    def to_json(self) -> str:
        """Return the event as one line of JSON, with the keys that apply."""
        return json_line(self.to_values())

    def to_text(self, colour: bool = False) -> str:
        """Return the event as one line for people; text of others is made `printable`."""
        codes = _COLOURS if colour else _NO_COLOUR

        def paint(name: str, text: str) -> str:
            return f"\x1b[{codes[name]}m{text}\x1b[0m" if codes[name] else text

        peer = "" if self.peer is None else short_id(self.peer)
        match self.event:
            case "ready":
                beside = f"beside the node at {printable(self.address or '')}"
                return f"{paint('green', 'ready')}         {paint('bold', str(self.node_id))}  {beside}"
            case "listening":
                return f"{paint('green', 'listening')}     {paint('bold', printable(self.uri or ''))}"
            case "connected":
                return f"{paint('green', 'connected')}     {peer}  {printable(self.address or '')}".rstrip()
            case "disconnected":
                return f"{paint('yellow', 'disconnected')}  {peer}  {printable(self.text or '')}".rstrip()
            case "delivered":
                took = "" if self.latency is None else paint("dim", f"  {self.latency * 1000:.2f} ms")
                return f"{paint('green', 'delivered')}     {peer}  {printable(self.schema or '')}{took}"
            case "error":
                return f"{paint('red', 'error')}         {peer + '  ' if peer else ''}{printable(self.text or '')}"
            case "result":
                return printable_json(json.dumps(self.value, ensure_ascii=False))
        arrow = paint("cyan", "<-") if self.event == "received" else paint("green", "->")
        latency = "" if self.latency is None else paint("dim", f"  {self.latency * 1000:.2f} ms")
        remark = "" if self.text is None else paint("dim", f"  ({self.text})")
        return f"{arrow} {peer}  {self._content(paint)}{latency}{remark}"

    def _content(self, paint: Callable[[str, str], str]) -> str:
        payload = self.payload or b""
        number = f"{self.type_id or 0:#06x}"
        size = f"[{len(payload)} byte{'' if len(payload) == 1 else 's'}]"
        if self.message is None:
            what = f"{number} {size}"
            return f"{what} {payload[2:34].hex()}{'...' if len(payload) > 34 else ''}".rstrip()
        from oddwire.schema import schema_of
        from oddwire.schema.spelling import show_fields

        values = printable(show_fields(schema_of(self.message), self.message, " "))
        return f"{paint('bold', printable(self.schema or ''))} {number} {size} {values}".rstrip()


class Printer:
    """Prints events on stdout, without buffering, and remarks on stderr.

    ``as_json`` selects the format. When stdout cannot be written any more, ``on_broken`` is called, once and from any
    thread, and nothing more is printed there; ``lost`` is set if the cause was an error such as a full disk, and not a
    closed pipe.
    """

    def __init__(self, as_json: bool = False, *, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self.as_json = as_json
        self.on_broken: Callable[[], None] | None = None
        self.lost = False
        self._stdout = stdout or sys.stdout or _nowhere()
        self._stderr = stderr or sys.stderr or _nowhere()
        self._colour = not as_json and self._stdout.isatty() and not os.environ.get("NO_COLOR")
        self._outlet: StdoutWriter | None = None

    def event(self, event: Event) -> None:
        """Print one event on stdout."""
        self.line(event.to_json() if self.as_json else event.to_text(self._colour))

    def paint(self, colour: str, text: str) -> str:
        """Return a text in a colour or style, ``red`` or ``bold``, if stdout is a terminal that shows them."""
        code = _COLOURS[colour] if self._colour else ""
        return f"\x1b[{code}m{text}\x1b[0m" if code else text

    def failure(self, text: str) -> None:
        """Print why the command fails: on stderr, and with JSON also as an event."""
        if self.as_json:
            self.event(Event(event="error", text=text))
        self.remark(f"oddwire: {text}")

    def remark(self, text: str) -> None:
        """Print a line on stderr, made `printable`."""
        self.log(printable(text))

    def log(self, text: str) -> None:
        """Print on stderr a text that is `printable` already, as of `LineFormatter`. Errors of writing are ignored."""
        # Logging must not raise in the code that logs, for a closed pipe on stderr say
        with contextlib.suppress(OSError, ValueError):
            try:
                print(f"{text}\n", end="", file=self._stderr, flush=True)  # one write: a thread writes to stdout
            except UnicodeEncodeError as error:  # sys.stderr was replaced by a stream without backslashreplace
                spelled = text.encode(error.encoding, "backslashreplace").decode(error.encoding)
                print(f"{spelled}\n", end="", file=self._stderr, flush=True)

    def line(self, text: str) -> None:
        """Print a line on stdout, without waiting for the reader, unless `PENDING` bytes wait."""
        if self._outlet is None:
            try:
                self._outlet = StdoutWriter(self._stdout.fileno(), self._broken)
            except OSError:  # a stream in memory
                self._stdout.write(text + "\n")
                return
        self._outlet.put(f"{text}\n".encode(self._stdout.encoding, "backslashreplace"))

    def close(self, seconds: float = 5.0) -> None:
        """Wait up to ``seconds`` until everything on stdout is written."""
        if self._outlet is not None:
            self._outlet.drain(seconds)

    def _broken(self, error: OSError) -> None:
        if error.errno != errno.EPIPE:
            self.lost = True
            self.remark(f"oddwire: stdout: {error.strerror}")
        if self.on_broken is not None:
            self.on_broken()


def json_line(values: Mapping[str, Any]) -> str:
    """Return an object as one line of JSON, ASCII without control characters. Raises `ValueError`, `TypeError`."""
    return json.dumps(values, allow_nan=False).replace("\x7f", "\\u007f")  # the one control character `json` keeps


def _nowhere() -> TextIO:
    """Return a stream that discards its text, for a closed stdout (``>&-``), which is None in Python."""
    return Path(os.devnull).open("w")


def short_id(node_id: NodeId) -> str:
    """Return a node id shortened for people: ``02a1b2c3...9f3e``."""
    text = str(node_id)
    return f"{text[:8]}...{text[-4:]}"
