"""An `Explanation` as rows of a table and as a hex dump, for people. Texts are `printable`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from oddwire.decoding.explanation import Explanation
from oddwire.decoding.spans import Span
from oddwire.printable import printable

__all__ = ["Row", "dump_of", "rows_of"]

_MOST: Final = 16
"""Bytes in a row; of more, the first and their number."""

_STEPS: Final = re.compile(r"\.[^.\[]+|\[[^\]]*\]")
_WIDTH: Final = 16  # bytes in a line of a dump
_AROUND: Final = 2  # lines of a dump before and after those with wrong bytes
_LINES: Final = 4  # most lines of wrong bytes


class Row(NamedTuple):
    """A value of a message, or what stands around some, for a line of a listing.

    ``offset`` and ``length`` are of its bytes in the payload; ``data`` are these in hex, shortened, with a space
    between those that count or name it and its own. ``path`` is as in errors, ``name`` its last step, ``level`` how
    many there are before that; ``kind`` is its type, ``text`` its value, ``note`` more in words.
    """

    style: Literal["type", "value", "group", "ignored", "unread", "wrong"]
    offset: int
    length: int
    data: str
    path: str
    name: str
    level: int
    kind: str
    text: str
    note: str


def rows_of(explanation: Explanation) -> Iterator[Row]:
    """Yield a row for each value, in the order of the bytes; one that is wrong in the style ``wrong``."""
    for span in explanation.spans:
        yield from _rows(explanation, span, ())


def dump_of(payload: bytes, wrong: tuple[int, int] | None) -> Iterator[str]:
    """Yield the lines of a hex dump, with ``^`` below the wrong bytes; of a long payload those around them."""
    at, length = (0, 0) if wrong is None else wrong
    first = max(0, at // _WIDTH - _AROUND)
    until = max(at, at + length - 1) // _WIDTH
    last = min(until, at // _WIDTH + _LINES) + _AROUND
    if first:
        yield f"{'':6}  ({first * _WIDTH} bytes before)"
    for line in range(first, last + 1):
        start = line * _WIDTH
        data = payload[start : start + _WIDTH]
        if not data and not (wrong is not None and start == at):
            break
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in data)
        yield f"{start:6}  {data.hex(' '):{3 * _WIDTH}} {text}".rstrip()
        if wrong is not None:
            marks = [_mark(place, at, length) for place in range(start, start + _WIDTH)]
            if any(mark != "  " for mark in marks):
                yield f"{'':6}  {' '.join(marks)}".rstrip()
    left = len(payload) - (last + 1) * _WIDTH
    if left > 0:
        yield f"{'':6}  ({left} bytes more)"


def _mark(place: int, at: int, length: int) -> str:
    return "^^" if at <= place < at + max(length, 1) else "  "


def _rows(explanation: Explanation, span: Span, before: tuple[Span, ...]) -> Iterator[Row]:
    """Yield the rows of a span; ``before`` are those in front of it that count or name it."""
    if span.role in ("syntax", "count") or (span.role == "tag" and not span.shown):
        return
    if span.role != "group":
        yield _row(explanation, span, before, _own(span))
        return
    if span.parts and all(part.role in ("tag", "count") for part in span.parts):  # an error came behind it
        yield _row(explanation, span, (*before, *span.parts), ())
        return
    *front, last = span.parts or (span,)
    if span.parts and last.path == span.path and all(part.role in ("tag", "count", "syntax") for part in front):
        named = tuple(part for part in front if part.role in ("tag", "count"))
        if last.role != "unread":
            label = last._replace(label=last.label or span.label)
            yield from _rows(explanation, label, (*before, *named))
            return
    if span.path != "$":
        yield _row(explanation, span, before, ())
    for part in span.parts:
        yield from _rows(explanation, part, ())


def _own(span: Span) -> tuple[Span, ...]:
    """Return a value's bytes: those that count it, and its own."""
    return span.parts if span.parts and all(not part.parts for part in span.parts) else (span,)


def _row(explanation: Explanation, span: Span, before: tuple[Span, ...], own: tuple[Span, ...]) -> Row:
    start = before[0].offset if before else span.offset
    pieces = [piece for piece in (*before, *own) if piece.length]
    wrong = explanation.wrong
    style: Literal["type", "value", "group", "ignored", "unread", "wrong"] = "value"
    if span.role in ("type", "group", "ignored", "unread"):
        style = span.role
    if wrong is not None and wrong[0] == span.offset and style == "value" and span.length:
        style = "wrong"
    steps = _STEPS.findall(span.path)
    text, name, level = span.shown, (steps or [""])[-1].removeprefix("."), max(0, len(steps) - 1)
    if span.role == "type":
        name = "type"
    elif span.role == "unread":
        name = "not read"
    elif span.role == "ignored":
        text = text or "skipped"
    return Row(
        style=style,
        offset=start,
        length=span.end - start,
        data=" ".join(_hex(explanation.payload[piece.offset : piece.end]) for piece in pieces),
        path=printable(span.path),
        name=printable(name),
        level=level,
        kind=printable(span.label),
        text=printable(text),
        note=printable(span.note),
    )


def _hex(data: bytes) -> str:
    return data.hex() if len(data) <= _MOST else f"{data[:_MOST].hex()}…"
