"""`LogReader`: the messages that logs of nodes have, line by line.

It knows lightningd's and the embedded node's lines, LND's, the objects of ``oddwire run --json``, and, where it is
asked for, hex in any line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

from oddwire.decoding.lnd_lines import LndReader

__all__ = ["LogReader", "Logged"]

_Direction = Literal["in", "out", ""]


class Logged(NamedTuple):
    """A message in a log.

    ``time`` is as it stands there, of an event seconds since 1970; ``peer`` is a node id in hex. Each is empty if the
    line has none. ``payload`` is None where the log only says that there was a message, of ``type_id`` or ``name``.
    """

    time: str
    direction: _Direction
    peer: str
    payload: bytes | None
    type_id: int | None = None
    name: str = ""


_TIME = r"(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z?)?\s*"
_PEER = r"(?P<peer>0[23][0-9a-f]{64})"
_IO: Final = re.compile(rf"{_TIME}{_PEER}-[\w-]+: .*?\[(?P<way>IN|OUT)\] (?P<hex>[0-9a-f]*)\s*$")
_SEEN: Final = re.compile(
    rf"{_TIME}[A-Z]+ +{_PEER}-[\w-]+: peer_(?P<way>in|out) "
    r"(?:UNKNOWN (?P<type>[0-9]{1,5})(?![0-9])|WIRE_(?P<name>\w+))"
)
_EVEN: Final = re.compile(rf"{_TIME}[A-Z]+ +(?:{_PEER}-)?[\w-]+: Invalid unknown even msg (?P<hex>[0-9a-f]+)\s*$")
_ANY: Final = re.compile(r"(?<![0-9A-Za-z])(?:0[xX])?(?P<hex>(?:[0-9a-fA-F]{2}){2,})(?![0-9A-Za-z])")
_COLLECTED: Final = re.compile(
    r"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d+)?[+-]\d\d:?\d\d)"
    r" \S+ [^\s\[\]:]+(?:\[\d+\])?: |(?![0-9a-fA-F]+ )[\w.-]+ +\| "
)
"""What journalctl, syslog and docker compose write before each line of a program."""
_NODE_ID: Final = re.compile(r"0[23][0-9a-fA-F]{64}")
_INTERNAL: Final = "083f"
"""What lightningd tells its connectd when a custom message is handled: logged as if it came in, the peer's id in it."""

_LATEST: Final = 253402300800
"""The first second of the year 10000, which no log has reached: JSON holds larger numbers, and what is none."""


class LogReader:
    """Finds messages in the lines of one log. ``any_hex``: also the longest hex of a line that is of no kind known."""

    def __init__(self, *, any_hex: bool = False) -> None:
        self._any_hex = any_hex
        self._lnd = LndReader()
        self._has_io = False

    def read(self, line: str) -> Iterator[Logged]:
        """Yield the messages that a line, or one that began before it, has."""
        collected = _COLLECTED.match(line)
        if collected is not None:
            line = line[collected.end() :]
        told = self._lnd.read(line)
        if told is not None:
            yield from (Logged(*one) for one in told)
            return
        if "[IN]" in line or "[OUT]" in line:
            yield from self._io(line)
        elif "peer_in " in line or "peer_out " in line:
            yield from self._seen(line)
        elif line.startswith("{"):
            yield from _event(line)
        elif "Invalid unknown even msg" in line and not self._has_io:
            found = _EVEN.match(line)
            if found is not None and len(found["hex"]) % 2 == 0:
                yield Logged(found["time"] or "", "in", found["peer"] or "", bytes.fromhex(found["hex"]))
        elif self._any_hex:
            yield from _any(line)

    def end(self) -> Iterator[Logged]:
        """Yield what the last lines had begun."""
        yield from (Logged(*one) for one in self._lnd.end())

    def _io(self, line: str) -> Iterator[Logged]:
        """Yield what lightningd has at level io."""
        found = _IO.match(line)
        if found is None or len(found["hex"]) % 2:
            return
        self._has_io = True
        if found["hex"] != _INTERNAL + found["peer"]:
            way: _Direction = "in" if found["way"] == "IN" else "out"
            yield Logged(found["time"] or "", way, found["peer"], bytes.fromhex(found["hex"]))

    def _seen(self, line: str) -> Iterator[Logged]:
        """Yield what lightningd has at level debug: that there was a message; none if level io has its bytes, too."""
        found = _SEEN.match(line)
        if found is None or self._has_io:
            return
        way: _Direction = "in" if found["way"] == "in" else "out"
        type_id = None if found["type"] is None else int(found["type"])
        if type_id is None or (type_id <= 0xFFFF and type_id != int(_INTERNAL, 16)):
            name = "" if found["name"] is None else found["name"].lower()
            yield Logged(found["time"] or "", way, found["peer"], None, type_id, name)


def _event(line: str) -> Iterator[Logged]:
    """Yield what an event of ``oddwire run --json`` has, or of another command."""
    try:
        event: Any = json.loads(line)
    except (ValueError, RecursionError):
        return
    payload = event.get("payload") if isinstance(event, dict) else None
    if not isinstance(payload, str) or event.get("event") not in ("received", "sent"):
        return
    try:
        data = bytes.fromhex(payload)
    except ValueError:
        return
    seconds, peer = event.get("time"), event.get("peer")
    is_time = isinstance(seconds, int | float) and type(seconds) is not bool and 0 <= seconds < _LATEST
    time = f"{seconds:.6f}" if is_time else ""
    yield Logged(time, "in" if event["event"] == "received" else "out", peer if isinstance(peer, str) else "", data)


def _any(line: str) -> Iterator[Logged]:
    """Yield the longest hex in a line that is no node id."""
    found = [match["hex"] for match in _ANY.finditer(line) if not _NODE_ID.fullmatch(match["hex"])]
    if found:
        ids = [match["hex"].lower() for match in _ANY.finditer(line) if _NODE_ID.fullmatch(match["hex"])]
        yield Logged("", "", ids[0] if ids else "", bytes.fromhex(max(found, key=len)))
