"""`explain`: what a payload says, byte for byte, and what is wrong with one that does not decode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from oddwire.decoding.codec_spans import Unwrapped, note_message
from oddwire.decoding.lexicon import Entry, Lexicon
from oddwire.decoding.remarks import with_remarks
from oddwire.decoding.spans import Span, Trail, leaves_of
from oddwire.errors import DecodeError, MalformedMessage, Truncated, UnknownMessage
from oddwire.records import FrozenRecord, replace
from oddwire.schema import Schema
from oddwire.session.constants import SESSION_TYPE

__all__ = ["Explanation", "begun", "explain", "explain_as", "wrong_bytes"]


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


def explain(payload: bytes, lexicon: Lexicon | None = None) -> Explanation:
    """Return what a payload, which starts with its type, says: never raises, whatever the bytes are.

    ``lexicon`` has the messages there may be, by default those of `oddwire.known`. Of several of the type the first
    that decodes is returned, with the ``others``; if none does, the one of which most was read.
    """
    lexicon = Lexicon() if lexicon is None else lexicon
    if len(payload) < 2:
        return _untyped(payload)
    type_id = int.from_bytes(payload[:2], "big")
    if type_id == SESSION_TYPE:
        from oddwire.decoding.frames import explain_frame  # imported late: few payloads need it

        return explain_frame(payload, lexicon)
    readings = [explain_as(payload, entry) for entry in lexicon.entries(type_id)]
    if not readings:
        return _unknown(payload, type_id, lexicon)
    best = max(readings, key=lambda reading: (reading.message is not None, _read_of(reading)))
    return replace(best, others=tuple(reading for reading in readings if reading is not best))


def explain_as(payload: bytes, entry: Entry) -> Explanation:
    """Return what a payload says as one message, whatever its type is: never raises."""
    if len(payload) < 2:
        return _untyped(payload)
    schema = entry.schema
    message, error = _decoded(entry, payload)
    trail = begun(payload, entry.name)
    unwrapped: Unwrapped | None = None
    try:
        unwrapped = note_message(entry.codec, schema, payload, trail)
    except DecodeError as noted:
        error = error or noted
    spans = trail.finish(len(payload))
    claim = entry.claim
    return Explanation(
        payload=payload,
        type_id=int.from_bytes(payload[:2], "big"),
        name=entry.name,
        protocol="" if claim is None else claim.protocol,
        source="" if claim is None else claim.source,
        encoding=schema.codec,
        schema=schema,
        message=message,
        error=error,
        wrong=None if error is None else wrong_bytes(spans, error, len(payload)),
        spans=with_remarks(entry.name, spans),
        inside=() if unwrapped is None else (_inside(entry, unwrapped),),
    )


def _decoded(entry: Entry, payload: bytes) -> tuple[Any, DecodeError | None]:
    try:
        return entry.plan.decode(payload), None
    except DecodeError as error:
        return None, error
    except Exception as error:  # a codec of somebody else that breaks its word
        text = f"the codec {entry.codec.name} raised {type(error).__name__}: {error!s:.200}"
        return None, MalformedMessage(text, type_id=entry.schema.type_id)


def _inside(entry: Entry, unwrapped: Unwrapped) -> Explanation:
    payload, codec, schema = unwrapped
    return explain_as(payload, Entry(entry.owner, schema, codec))


def begun(payload: bytes, name: str) -> Trail:
    """Return notes of a payload's type; ``name`` is the message's, if it is known."""
    type_id = int.from_bytes(payload[:2], "big")
    trail = Trail()
    trail.leaf("type", "$", 0, 2, "type", type_id, f"{type_id:#06x} {name}".rstrip())
    return trail


def _untyped(payload: bytes) -> Explanation:
    trail = Trail()
    error = Truncated(f"a message starts with a type of 2 bytes, not {len(payload)}", offset=0)
    return Explanation(
        payload=payload, type_id=None, error=error, wrong=(len(payload), 0), spans=trail.finish(len(payload))
    )


def _unknown(payload: bytes, type_id: int, lexicon: Lexicon) -> Explanation:
    trail = begun(payload, "")
    claims = lexicon.claims(type_id)
    required = type_id % 2 == 0
    text = "no message of this type is known"
    if claims:
        text = f"{claims[0].protocol} uses this type, for {claims[0].name}; it has no schema here"
    return Explanation(
        payload=payload,
        type_id=type_id,
        protocol=claims[0].protocol if claims else "",
        source=claims[0].source if claims else "",
        encoding=claims[0].encoding if claims else "",
        error=UnknownMessage(text, type_id=type_id, required=required),
        wrong=(0, 2),
        spans=trail.finish(len(payload)),
    )


def _read_of(reading: Explanation) -> int:
    """Return how many bytes were read before an error."""
    return len(reading.payload) if reading.wrong is None else reading.wrong[0]


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
