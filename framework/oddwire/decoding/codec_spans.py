"""What a message says where, by its codec."""

from __future__ import annotations

from typing import Any, NamedTuple

from oddwire.codecs import Codec, WrappedCodec
from oddwire.codecs.registry import builtin_codecs
from oddwire.decoding.spans import NOTHING, Span, Trail, shifted
from oddwire.errors import DecodeError, MalformedMessage
from oddwire.records import replace
from oddwire.schema import Schema
from oddwire.schema.class_records import Field
from oddwire.schema.kinds import Nested
from oddwire.schema.spelling import show_value

__all__ = ["Unwrapped", "note_message"]


class Unwrapped(NamedTuple):
    """What a codec has unpacked: bytes of its own, so their spans are no part of the payload's.

    ``payload`` has the two bytes of the type; ``codec`` and ``schema`` are of what is in it.
    """

    payload: bytes
    codec: Codec
    schema: Schema


def note_message(codec: Codec, schema: Schema, payload: bytes, trail: Trail) -> Unwrapped | None:
    """Note what is behind the type of a payload, as ``codec`` reads a message of ``schema``.

    Returns what the codec unpacked, if it changes more than the place of bytes. Raises `DecodeError` where reading
    ends, with all noted that was read before. Of a codec of somebody else, all is noted as one.
    """
    from oddwire.codecs.envelope import EnvelopeCodec
    from oddwire.codecs.json_object import JsonObjectCodec

    if isinstance(codec, WrappedCodec):
        return _note_wrapped(codec, schema, payload, trail)
    if isinstance(codec, EnvelopeCodec):
        return note_message(codec.inner, codec.around(schema), payload, trail)
    if isinstance(codec, JsonObjectCodec):
        from oddwire.decoding.json_spans import note_json

        (field,) = schema.fields
        note_json(field.kind, payload, trail, 2)
        return None
    # As a Registry does, a codec of a built-in name that stands for one is that one
    own = type(codec).__module__ in _MODULES
    match codec.name if own else "":
        case "bolt":
            from oddwire.decoding.bolt_spans import note_bolt

            note_bolt(schema, payload, trail, 2)
        case "msgpack":
            from oddwire.decoding.msgpack_spans import note_msgpack

            note_msgpack(Nested(schema), payload, trail, 2)
        case "json":
            from oddwire.decoding.json_spans import note_json

            note_json(Nested(schema), payload, trail, 2)
        case "raw":
            _note_raw(schema.fields[0], payload, trail)
        case _:
            trail.leaf("group", "$", 2, len(payload), f"by the codec {codec.name}")
    return None


_MODULES = {
    "oddwire.codecs.bolt.codec",
    "oddwire.codecs.json",
    "oddwire.codecs.msgpack.codec",
    "oddwire.codecs.raw",
    *(type(codec).__module__ for codec in builtin_codecs()),
}


def _note_raw(field: Field, payload: bytes, trail: Trail) -> None:
    from oddwire.schema.tree import MSGPACK, load

    path = f"$.{field.name}"
    try:
        value = load(field.kind, payload[2:], MSGPACK, path)
    except MalformedMessage as error:
        error.offset = 2
        raise
    trail.leaf("value", path, 2, len(payload), field.kind.label, value, show_value(value, field.kind))


def _note_wrapped(codec: WrappedCodec, schema: Schema, payload: bytes, trail: Trail) -> Unwrapped | None:
    inner = schema if codec.max_inner is None else replace(schema, max_size=codec.max_inner)
    body = codec.unwrap(payload[2:], inner.max_size - 2)
    shift = codec.shift
    if shift is None or payload[2 + shift : 2 + shift + len(body)] != body:
        name = type(codec).__name__
        trail.add(Span("group", "$", 2, len(payload) - 2, name, NOTHING, note=f"{len(body)} bytes inside"))
        return Unwrapped(payload[:2] + body, codec.inner, inner)
    if shift:
        trail.leaf("syntax", "$", 2, 2 + shift, "magic")
    whole = payload[:2] + body
    within = Trail(2)
    deeper: Any = None
    try:
        deeper = note_message(codec.inner, inner, whole, within)
    except DecodeError as error:
        if error.offset is not None:
            error.offset += shift
        raise
    finally:
        for span in within.finish(0):
            trail.add(shifted(span, shift))
    if 2 + shift + len(body) < len(payload):
        trail.leaf("syntax", "$", 2 + shift + len(body), len(payload))
    return deeper if deeper is None else Unwrapped(*deeper)
