"""What ``decode`` prints of an `Explanation`: a listing for people, an object for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, Final

from oddwire.app.declarations.jsonable import to_plain
from oddwire.cli.message_arguments import spell_fields
from oddwire.decoding import NOTHING, Explanation
from oddwire.decoding.listing import Row, dump_of, rows_of
from oddwire.printable import printable
from oddwire.schema import Message
from oddwire.schema.spelling import show_fields, show_value

__all__ = ["Paint", "brief", "listing", "plain_of"]

Paint = Callable[[str, str], str]
"""Puts a text into a colour: ``paint("red", text)``."""

_COLOURS: Final = {"type": "bold", "wrong": "red", "unread": "dim", "ignored": "dim"}
_WIDEST: Final = 42  # characters of a column of bytes
_LONGEST: Final = 30  # and of names
_KIND: Final = 24  # and of what a value is
_NOTE: Final = 60  # and of what is said of it


# For people ----------------------------------------------------------------------------------------------------------


def listing(told: Explanation, paint: Paint) -> Iterator[str]:
    """Yield the lines about one payload: what it is, its values, and what is wrong."""
    yield _head(told, paint)
    rows = [*rows_of(told)]
    names = ["  " * row.level + row.name for row in rows]
    number = len(str(max((row.offset for row in rows), default=0)))
    length = len(str(max((row.length for row in rows), default=0)))
    wide = min(_WIDEST, max((len(row.data) for row in rows), default=0))
    long = min(_LONGEST, max(map(len, names), default=0))
    for row, name in zip(rows, names, strict=True):
        place = f"{row.offset:{max(number, 2)}} {row.length:{length + 1}}"
        start = f"  {place}  {row.data:{wide}}  {name:{long}}  "
        first, *more = _value(row)
        line = f"{start}{first}".rstrip()
        yield paint(_COLOURS[row.style], line) if row.style in _COLOURS else line
        yield from (f"{'':{len(start)}}{text}" for text in more)
    yield from _fault(told, paint)
    for inner in told.inside:
        if not inner.decoded or inner.payload not in told.payload:
            yield ""
            yield from ("  " + line if line else line for line in listing(inner, paint))
    for other in told.others:
        if other.message is not None:
            yield ""
            yield paint("dim", "or, as the type has another owner:")
            yield from listing(other, paint)
        else:
            yield paint("dim", f"  not {other.title}: {printable(str(_bare(other)))}")


def brief(told: Explanation, paint: Paint) -> str:
    """Return one line about a payload."""
    size = f"[{len(told.payload)} bytes]"
    inner = next((f"  ({brief(one, paint)})" for one in told.inside), "")
    if told.message is None:
        return f"{paint('bold', printable(told.title))} {size}  {paint('red', printable(str(_bare(told))))}"
    values = ""
    if isinstance(told.message, Message) and told.schema is not None:
        values = show_fields(told.schema, told.message, " ")
    elif isinstance(told.message, tuple):
        values = " ".join(f"{name}={show_value(value)}" for name, value in _of_frame(told.message).items())
    return f"{paint('bold', printable(told.title))} {size} {printable(values)}{inner}".rstrip()


def _head(told: Explanation, paint: Paint) -> str:
    count = len(told.payload)
    about = [part for part in (told.protocol, told.encoding) if part]
    size = f"{count} byte{'' if count == 1 else 's'}"
    return f"{paint('bold', printable(told.title))}  {printable(', '.join([*about, size]))}"


def _value(row: Row) -> list[str]:
    """Return the lines for a value: itself, its kind and, behind it or below, what there is to say."""
    if row.style == "group":
        return [f"({row.kind})" if row.kind else ""]
    kind = f"  ({row.kind})" if row.style in ("value", "wrong") and row.kind and len(row.kind) < _KIND else ""
    if len(row.note) <= _NOTE:
        return [f"{row.text}{kind}  {row.note}".rstrip()]
    return [f"{row.text}{kind}", *textwrap.wrap(row.note, _NOTE)]


def _fault(told: Explanation, paint: Paint) -> Iterator[str]:
    error = told.error
    if error is None:
        return
    where = "" if error.path == "$" else f"{error.path}: "
    at = "" if error.offset is None else f" (at byte {error.offset})"
    yield paint("red", f"  wrong: {printable(where)}{printable(str(error.args[0]))}{at}")
    if told.wrong is not None and told.name:
        for line in dump_of(told.payload, told.wrong):
            yield paint("red", "  " + line) if line.strip(" ^") == "" else "  " + line
    if told.schema is not None:
        yield f"  right: {printable(told.name)} has {printable(spell_fields(told.schema))}"


def _bare(told: Explanation) -> str:
    """Return an error's text and place, without the name of the message."""
    error = told.error
    if error is None:
        return ""
    where = "" if error.path == "$" else f"{error.path}: "
    return f"{where}{error.args[0]}" + ("" if error.offset is None else f" (at byte {error.offset})")


# For programs --------------------------------------------------------------------------------------------------------


def plain_of(told: Explanation) -> dict[str, Any]:
    """Return what docs/decoding.md says an object of ``--json`` has, without what a log adds."""
    made: dict[str, Any] = {
        "decoded": told.decoded,
        "type": told.type_id,
        "schema": told.name or None,
        "protocol": told.protocol or None,
        "encoding": told.encoding or None,
        "source": told.source or None,
        "message": _message(told),
        "payload": told.payload.hex(),
        "fields": [*_fields(told)],
    }
    if told.error is not None:
        made["error"] = {"text": str(told.error.args[0]), "path": told.error.path, "offset": told.error.offset}
        if told.wrong is not None:
            made["error"]["bytes"] = [*told.wrong]
    if told.inside:
        made["inside"] = [plain_of(inner) for inner in told.inside]
    if told.others:
        made["others"] = [plain_of(other) for other in told.others]
    return {key: value for key, value in made.items() if value is not None}


def _message(told: Explanation) -> Any:
    if told.message is None:
        return None
    if isinstance(told.message, Message):
        return _plain(told.message)
    return _plain(_of_frame(told.message))


def _of_frame(frame: Any) -> dict[str, Any]:
    """Return the fields of a frame of the session protocol, without its content: that is a message of its own."""
    return {name: value for name, value in frame._asdict().items() if name != "content"}


def _fields(told: Explanation) -> Iterator[dict[str, Any]]:
    for span in told.values():
        made = {"path": span.path, "offset": span.offset, "length": span.length, "kind": span.label}
        if span.value is not NOTHING:
            made["value"] = _plain(span.value)
        if span.note:
            made["note"] = span.note
        yield made


def _plain(value: object) -> Any:
    plain = to_plain(value, show_value)
    try:
        json.dumps(plain, allow_nan=False)
    except ValueError:  # a number that is not finite, in what is no message
        return show_value(value)
    return plain
