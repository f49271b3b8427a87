"""`Span`, some bytes of a payload and what they say, and `Trail`, by which readers note them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from oddwire.schema.kinds import Array, Kind, Maybe, Nested, Sized, Table
from oddwire.schema.union_kinds import Either, Tagged
from oddwire.schema.value_kinds import Limited

__all__ = [
    "MAX_SPANS",
    "NOTHING",
    "Role",
    "Span",
    "TooManySpans",
    "Trail",
    "is_composed",
    "leaves_of",
    "shifted",
    "stripped",
]


MAX_SPANS = 70_000
"""Spans of a payload, beyond which the rest of it is one: more than a frame has bytes, and seconds of work."""


class TooManySpans(Exception):
    """A payload, a large one, has more parts than are told apart."""


class _Nothing:
    """The class of `NOTHING`."""

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING: Any = _Nothing()
"""The ``value`` of a span that says none by itself: None is a value."""

Role = Literal["type", "group", "value", "count", "tag", "syntax", "ignored", "unread"]
"""What bytes are for.

``type`` are the two that a payload starts with; ``value`` is the value of a field; a ``group`` has others in it: a
subtype, a list, a TLV record, a message inside another; ``count`` is a length, a size, or a flag that says whether
there is a value; ``tag`` the type and length of a TLV record, or what tells the members of a union apart; ``syntax``
the format's own, brackets and keys; ``ignored`` is what a reader skips, such as unknown records; ``unread`` what
follows an error, or the first `MAX_SPANS` spans.
"""


class Span(NamedTuple):
    """``length`` bytes of a payload from ``offset`` on, and what they say.

    ``path`` is that of the value they belong to, as in errors: ``$.orders[2].price``; that of a value's length is the
    value's. ``label`` names the kind: ``u64``, ``str``, ``TLV 3``. ``value`` is the Python value as in the decoded
    message, `NOTHING` for a span without one; ``shown`` is its text, shortened; ``note`` says more in words. ``parts``
    are the spans that it is made of, in order, if there are any.
    """

    role: Role
    path: str
    offset: int
    length: int
    label: str = ""
    value: Any = NOTHING
    shown: str = ""
    note: str = ""
    parts: tuple[Span, ...] = ()

    @property
    def end(self) -> int:
        """The offset after the last byte."""
        return self.offset + self.length


def leaves_of(spans: Iterable[Span]) -> Iterator[Span]:
    """Yield the spans that have no parts, in order."""
    for span in spans:
        if span.parts:
            yield from leaves_of(span.parts)
        else:
            yield span


def shifted(span: Span, by: int, path: str = "$") -> Span:
    """Return a span and its parts ``by`` bytes later, with ``path`` in place of the ``$`` of theirs."""
    parts = tuple(shifted(part, by, path) for part in span.parts)
    return span._replace(offset=span.offset + by, path=path + span.path[1:], parts=parts)


class _Open:
    """A span whose end is not known yet."""

    __slots__ = ("at", "label", "parts", "path", "role")

    def __init__(self, role: Role, path: str, at: int, label: str) -> None:
        self.role: Role = role
        self.path = path
        self.at = at
        self.label = label
        self.parts: list[Span] = []

    @property
    def end(self) -> int:
        return self.parts[-1].end if self.parts else self.at


class Trail:
    """Notes of what was read where, made while reading; what is left open by an error ends where reading did.

    Spans are noted in the order of their bytes, without gaps but for what belongs to the span around them.
    """

    def __init__(self, at: int = 0) -> None:
        self._around = [_Open("group", "$", at, "")]
        self._left = MAX_SPANS

    @property
    def end(self) -> int:
        """The offset after all that is noted."""
        return self._around[-1].end

    @property
    def start(self) -> int:
        """The offset of the span opened last."""
        return self._around[-1].at

    @property
    def depth(self) -> int:
        """How many spans are open."""
        return len(self._around) - 1

    def add(self, span: Span) -> None:
        """Note a span in the one that is open. Raises `TooManySpans`, before it is noted."""
        if not self._left:
            raise TooManySpans
        self._left -= 1
        self._around[-1].parts.append(span)

    def leaf(
        self, role: Role, path: str, at: int, stop: int, label: str = "", value: Any = NOTHING, shown: str = ""
    ) -> None:
        """Note a span without parts."""
        self.add(Span(role, path, at, stop - at, label, value, shown))

    def open(self, path: str, at: int, label: str = "", role: Role = "value") -> None:
        """Open a span: what is noted up to its `close` are parts of it."""
        self._around.append(_Open(role, path, at, label))

    def close(self, stop: int, value: Any = NOTHING, shown: str = "") -> None:
        """Close the span opened last, and note it.

        Bytes that none of its parts has are its own: behind the length, the text. A part that is all of it is what it
        is, under its label and with its value.
        """
        opened = self._around.pop()
        parts = opened.parts
        if len(parts) == 1 and parts[0].path == opened.path and (parts[0].offset, parts[0].end) == (opened.at, stop):
            parts = [*parts[0].parts]
        elif parts and opened.end < stop:
            parts.append(Span(opened.role, opened.path, opened.end, stop - opened.end, opened.label, value, shown))
        role = opened.role if value is NOTHING else "value" if opened.role == "group" else opened.role
        self.add(Span(role, opened.path, opened.at, stop - opened.at, opened.label, value, shown, "", (*parts,)))

    def change_first(self, role: Role, label: str) -> None:
        """Change what the first part of the span opened last is for."""
        parts = self._around[-1].parts
        parts[0] = parts[0]._replace(role=role, label=label)

    def unwind(self, depth: int = 0) -> None:
        """Close what an error left open, down to ``depth``, at what was read of it; without that, it is not noted."""
        self._left = max(self._left, self.depth + 1)
        while self.depth > depth:
            opened = self._around.pop()
            if opened.parts:
                parts = (*opened.parts,)
                self.add(Span("group", opened.path, opened.at, opened.end - opened.at, opened.label, parts=parts))

    def finish(self, end: int) -> tuple[Span, ...]:
        """Return all that is noted; what is not read up to ``end`` is a span of its own."""
        self.unwind()
        if self.end < end:
            self.leaf("unread", "$", self.end, end)
        return (*self._around[0].parts,)


def stripped(kind: Kind) -> Kind:
    """Return a kind without what stands around it and makes no other object of its values."""
    while isinstance(kind, Maybe | Sized | Limited):
        kind = kind.inner
    return kind


def is_composed(kind: Kind) -> bool:
    """Return whether values of a kind are made of others that have paths of their own."""
    return isinstance(stripped(kind), Array | Either | Nested | Table | Tagged)
