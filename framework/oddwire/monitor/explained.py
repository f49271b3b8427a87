"""A message opened: its fields, each with the bytes it was read from, and its bytes in hex."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from oddwire.app.declarations.jsonable import to_plain
from oddwire.decoding import Lexicon, explain
from oddwire.decoding.listing import rows_of
from oddwire.monitor.watched import Watched
from oddwire.printable import printable
from oddwire.records import FrozenRecord, replace
from oddwire.schema import Message
from oddwire.schema.spelling import show_value

__all__ = ["ROW", "HexRow", "Mark", "Opened", "hex_rows", "named", "open_event"]

ROW: Final = 16
"""Bytes of a row of hex."""


class Mark(FrozenRecord, kw_only=True):
    """A field: its path, its value as text, and where its bytes are. ``length`` is 0 if that is not known.

    ``wrong``: these bytes are not what they should be, or were not read for that.
    """

    path: str
    value: str
    offset: int = 0
    length: int = 0
    wrong: bool = False


class Opened(FrozenRecord, kw_only=True):
    """A message, opened. ``remark`` says what is wrong with it, or why no bytes are marked."""

    title: str
    marks: Sequence[Mark] = ()
    remark: str = ""


class HexRow(FrozenRecord, kw_only=True):
    """Up to 16 bytes: the offset of the first, the bytes, and the same as ASCII with dots for what is none."""

    offset: int
    data: bytes

    @property
    def text(self) -> str:
        """The bytes as ASCII."""
        return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in self.data)


def hex_rows(payload: bytes) -> list[HexRow]:
    """Return a payload in rows of 16 bytes."""
    return [HexRow(offset=offset, data=payload[offset : offset + ROW]) for offset in range(0, len(payload), ROW)]


def open_event(event: Watched, lexicon: Lexicon | None = None) -> Opened:
    """Return an event's fields with their bytes, read by ``lexicon``; what that does not know is as it was told."""
    told = [*_listed("", event.fields)] if event.fields is not None else []
    if not event.is_message:
        return Opened(title=event.title, marks=[*_listed("", dict(event.data))])
    if event.is_cut:
        remark = f"the first {len(event.payload)} of {event.size} bytes: running programs cut large messages"
        return Opened(title=event.title, marks=told, remark=remark)
    explained = explain(event.payload, lexicon)
    if told and explained.message is None:
        remark = "this message's class is not known here, so no bytes are marked: --extension EXT loads it"
        return Opened(title=event.title, marks=told, remark=remark)
    remarks = [event.text] if event.text else []
    if explained.error is not None:
        remarks.insert(0, printable(str(explained.error)))
    return Opened(
        title=printable(explained.title),
        marks=[
            Mark(
                path=f"{'  ' * row.level}{row.name}",
                value=f"{row.text}  {row.note}".strip(),
                offset=row.offset,
                length=row.length,
                wrong=row.style in ("wrong", "unread"),
            )
            for row in rows_of(explained)
        ],
        remark="; ".join(remarks),
    )


def named(event: Watched, lexicon: Lexicon) -> Watched:
    """Return a message that came without a name with that, and the fields, by which ``lexicon`` reads it.

    What it does not know, and what is cut, is returned as it is.
    """
    if event.name or not event.is_message or event.is_cut:
        return event
    explained = explain(event.payload, lexicon)
    if not explained.name or explained.error is not None:
        return event
    if isinstance(explained.message, Message):
        fields: Any = to_plain(explained.message, show_value)
    else:
        fields = {row.path.removeprefix("$."): row.text for row in rows_of(explained) if row.style == "value"}
    return replace(event, name=explained.name, fields=fields)


def _listed(path: str, value: Any) -> Sequence[Mark]:
    if isinstance(value, Mapping) and value:
        return [mark for name, inner in value.items() for mark in _listed(f"{path}.{name}" if path else name, inner)]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return [Mark(path=printable(path), value=printable(text))]
