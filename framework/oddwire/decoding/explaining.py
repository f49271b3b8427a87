"""`explain`: what a payload says, as each message of its type reads it."""

from __future__ import annotations

from typing import Any

from oddwire.decoding.codec_spans import Unwrapped, note_message
from oddwire.decoding.explanation import Explanation, begun, wrong_bytes
from oddwire.decoding.frames import explain_frame
from oddwire.decoding.lexicon import Entry, Lexicon
from oddwire.decoding.remarks import with_remarks
from oddwire.decoding.spans import TooManySpans, Trail
from oddwire.errors import DecodeError, MalformedMessage, Truncated, UnknownMessage
from oddwire.records import replace
from oddwire.session.constants import SESSION_TYPE

__all__ = ["explain", "explain_as"]


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
        return explain_frame(payload, lambda content: explain(content, lexicon))
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
    except TooManySpans:
        pass  # the rest is one span; whether it decodes is known
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
