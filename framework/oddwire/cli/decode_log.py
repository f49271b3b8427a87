"""``decode --log``: the messages in a log, line by line, in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from oddwire.cli.decode_output import brief, listing, plain_of
from oddwire.cli.events import Printer, json_line
from oddwire.cli.log_input import lines_of
from oddwire.decoding import Entry, Lexicon, explain, explain_as
from oddwire.decoding.log_lines import LogReader
from oddwire.decoding.transfers import Transfers
from oddwire.printable import printable
from oddwire.session.constants import SESSION_TYPE

if TYPE_CHECKING:
    from oddwire.decoding import Explanation
    from oddwire.decoding.log_lines import Logged

__all__ = ["decode_log"]

_ARROWS: Final = {"in": ("cyan", "<-"), "out": ("green", "->"), "": ("dim", "--")}


def decode_log(
    printer: Printer,
    lexicon: Lexicon,
    path: str,
    *,
    follow: bool = False,
    peer: str | None = None,
    type_id: int | None = None,
    entry: Entry | None = None,
    any_hex: bool = False,
    details: bool = False,
) -> bool:
    """Print the messages of a log; return whether all of them are decoded. Raises `CommandFailure`.

    A log without any is told of, and not decoded.
    """
    reader, transfers = LogReader(any_hex=any_hex), Transfers()
    whole, count, bare = True, 0, 0

    def messages() -> Iterator[Logged]:
        for line in lines_of(path, follow=follow):
            yield from reader.read(line)
        yield from reader.end()

    for logged in map(_numbered, messages()):
        if peer is not None and not logged.peer.startswith(peer.lower()):
            continue
        if type_id is not None and _type_of(logged) != type_id:
            continue
        count += 1
        if logged.payload is None:
            bare += 1
            _print_bare(printer, lexicon, logged)
            continue
        told = explain(logged.payload, lexicon) if entry is None else explain_as(logged.payload, entry)
        whole = whole and told.decoded
        _print(printer, logged, told, details)
        joined = transfers.add(f"{logged.peer} {logged.direction}", logged.payload)
        if joined is not None and len(joined) + 37 > len(logged.payload):
            told = explain(joined, lexicon)
            whole = whole and told.decoded
            _print(printer, logged, told, details, joined=True)
    if not count:
        printer.remark(f"oddwire: {path}: {_nothing(peer, type_id, any_hex)}")
    elif bare == count and not printer.as_json:
        printer.remark("oddwire: the log says which messages there were, and not their bytes: see docs/decoding.md")
    return whole and count > 0


def _nothing(peer: str | None, type_id: int | None, any_hex: bool) -> str:
    if peer is not None or type_id is not None:
        return "no message of this peer or type is in it"
    hint = "" if any_hex else "; --any-hex takes hex in lines of any program"
    return f"no message is in it: lightningd's log level should be io, LND's trace{hint}"


def _numbered(logged: Logged) -> Logged:
    """Return a message that the log only names with its number, if it is one of the BOLTs'."""
    if logged.type_id is not None or not logged.name:
        return logged
    from oddwire.known import bolts
    from oddwire.schema import schema_of

    found = bolts.NAMESPACE.messages.get(logged.name)
    return logged if found is None else logged._replace(type_id=schema_of(found).type_id)


def _type_of(logged: Logged) -> int | None:
    if logged.payload is not None and len(logged.payload) >= 2:
        return int.from_bytes(logged.payload[:2], "big")
    return logged.type_id


def _print(printer: Printer, logged: Logged, told: Explanation, details: bool, *, joined: bool = False) -> None:
    if printer.as_json:
        made = {"event": "decoded", **_where(logged), **plain_of(told)}
        printer.line(json_line({**made, "joined": True} if joined else made))
        return
    remark = printer.paint("dim", "  (joined)") if joined else ""
    printer.line(f"{_prefix(printer, logged)}{brief(told, printer.paint)}{remark}")
    if details or (told.error is not None and told.name):
        for line in [*listing(told, printer.paint)][1:]:
            printer.line(f"    {line}".rstrip())


def _print_bare(printer: Printer, lexicon: Lexicon, logged: Logged) -> None:
    """Print a message of which the log has no bytes."""
    entries = [] if logged.type_id is None else lexicon.entries(logged.type_id)
    name = " or ".join(entry.name for entry in entries) or logged.name
    if logged.type_id == SESSION_TYPE:
        name = "session frame"
    if printer.as_json:
        made = {"type": logged.type_id, "schema": entries[0].name if entries else None, "name": logged.name or None}
        shown = {key: value for key, value in made.items() if value is not None}
        printer.line(json_line({"event": "decoded", **_where(logged), "decoded": False, **shown}))
        return
    number = "" if logged.type_id is None else f"{logged.type_id:#06x}"
    title = f"{name or 'type'} {number}".strip()
    printer.line(
        f"{_prefix(printer, logged)}{printer.paint('bold', printable(title))} {printer.paint('dim', '(no bytes)')}"
    )


def _prefix(printer: Printer, logged: Logged) -> str:
    colour, arrow = _ARROWS[logged.direction]
    peer = f"{logged.peer[:8]}...{logged.peer[-4:]}" if len(logged.peer) > 16 else logged.peer
    time = _readable(logged.time)
    return (
        f"{printable(time)}{' ' if time else ''}{printer.paint(colour, arrow)} {printable(peer)}{'  ' if peer else ' '}"
    )


def _where(logged: Logged) -> dict[str, Any]:
    way = {"in": "received", "out": "sent"}.get(logged.direction)
    made = {"time": _seconds(logged.time), "logged": logged.time or None, "direction": way, "peer": logged.peer or None}
    return {key: value for key, value in made.items() if value is not None}


def _seconds(time: str) -> float | None:
    """Return a time as seconds since 1970; one without a zone, LND's, is local time."""
    try:
        return float(time) if time[4:5] != "-" else round(datetime.fromisoformat(time).timestamp(), 6)
    except (ValueError, OverflowError, OSError):
        return None


def _readable(time: str) -> str:
    """Return a time as people read it: that of an event is seconds since 1970."""
    if time[4:5] == "-" or not time:
        return time
    try:
        return datetime.fromtimestamp(float(time)).astimezone().isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return time
