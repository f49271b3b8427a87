"""`Explanation`: what a payload says, byte for byte, and what is wrong with one that does not decode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from oddwire.decoding.spans import Span, Trail, leaves_of
from oddwire.errors import DecodeError, Truncated
from oddwire.records import FrozenRecord
from oddwire.schema import Schema

__all__ = ["Explanation", "begun", "wrong_bytes"]


class Explanation(FrozenRecord, kw_only=True):
    """A payload as one message reads it.

    ``name`` is the message's, ``chat.Say``, empty if no message of the type is known; ``protocol`` and ``source`` say
    whose it is and where that is written, ``encoding`` how it is: the codec's name, or a few words. ``message`` is what
    it decodes to, None if it does not; then ``error`` says why, and ``wrong`` which bytes: an offset and a length, 0
    where bytes are missing.

    ``spans`` cover the payload: they neither overlap nor leave a byte out. ``inside`` are messages that it carries,
    ``others`` the same payload as other messages of its type read it.
    """

    payload: bytes
    type_id: int | None
    name: str = ""
    protocol: str = ""
    source: str = ""
    encoding: str = ""
    schema: Schema | None = None
    message: Any = None
    error: DecodeError | None = None
    wrong: tuple[int, int] | None = None
    spans: tuple[Span, ...] = ()
    inside: tuple[Explanation, ...] = ()
    others: tuple[Explanation, ...] = ()

    @property
    def decoded(self) -> bool:
        """Whether it is a message, and so are those inside it."""
        return self.message is not None and all(inner.decoded for inner in self.inside)

    @property
    def title(self) -> str:
        """The name and the type number: ``chat.Say 0x8c11``."""
        if self.type_id is None:
            return "no type"
        return f"{self.name or 'type'} {self.type_id:#06x}"

    def leaves(self) -> Iterator[Span]:
        """Yield the spans that have no parts, in order: together they are the payload."""
        return leaves_of(self.spans)

    def values(self) -> Iterator[Span]:
        """Yield the spans of values, in order; one with its length in front of it as one."""
        return _values_of(self.spans)


def _values_of(spans: tuple[Span, ...]) -> Iterator[Span]:
    for span in spans:
        if span.role == "value":
            yield span
        else:
            yield from _values_of(span.parts)


def begun(payload: bytes, name: str) -> Trail:
    """Return notes of a payload's type; ``name`` is the message's, if it is known."""
    type_id = int.from_bytes(payload[:2], "big")
    trail = Trail()
    trail.leaf("type", "$", 0, 2, "type", type_id, f"{type_id:#06x} {name}".rstrip())
    return trail


def wrong_bytes(spans: tuple[Span, ...], error: DecodeError, size: int) -> tuple[int, int] | None:
    """Return the offset and length of the bytes that an error is about, as far as they can be told."""
    offset = error.offset
    if offset is None:
        return None
    if offset >= size:
        return size, 0
    if isinstance(error, Truncated):
        return offset, size - offset
    around = [span for span in _all_of(spans) if span.offset <= offset < span.end and span.role != "unread"]
    exact = [span for span in around if span.offset == offset and span.path == error.path and span.role != "syntax"]
    if exact:
        return offset, exact[0].length
    if around and around[-1].offset == offset and not around[-1].parts:
        return offset, around[-1].length
    return offset, 1


def _all_of(spans: tuple[Span, ...]) -> Iterator[Span]:
    for span in spans:
        yield span
        yield from _all_of(span.parts)
