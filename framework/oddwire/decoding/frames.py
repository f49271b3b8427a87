"""`explain_frame`: what a frame of the session protocol says, and the message inside it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from oddwire.decoding.explanation import Explanation, begun, wrong_bytes
from oddwire.decoding.frame_spans import note_frame
from oddwire.decoding.spans import Span, shifted
from oddwire.errors import DecodeError, UnknownMessage
from oddwire.session.constants import SESSION_TYPE
from oddwire.session.wire.frame_types import Fragment, Frame, FrameType, Scope, UnknownFrame, describe_code
from oddwire.session.wire.frames import decode

__all__ = ["explain_frame"]

_KINDS: Final = frozenset(FrameType)
_SCOPES: Final = frozenset(Scope)


def explain_frame(payload: bytes, explain: Callable[[bytes], Explanation]) -> Explanation:
    """Return what a payload of type 49373 says: never raises. A message inside it is explained by ``explain``."""
    frame: Frame | None = None
    error: DecodeError | None = None
    try:
        frame = decode(payload)
    except DecodeError as fault:
        error = fault
    if isinstance(frame, UnknownFrame):
        frame, error = None, _unknown(payload)
    kind = payload[2] if len(payload) > 2 else 0
    name = f"session.{FrameType(kind).name.lower()}" if kind in _KINDS else ""
    trail = begun(payload, name)
    with suppress(DecodeError):  # what is wrong, `decode` says
        note_frame(payload, trail)
    spans = tuple(_remarked(span) for span in trail.finish(len(payload)))
    inside: tuple[Explanation, ...] = ()
    content = None if frame is None else _content_of(frame)
    if content is not None:
        inside = (explain(content),)
        spans = tuple(_carrying(span, inside[0]) for span in spans)
    return Explanation(
        payload=payload,
        type_id=SESSION_TYPE,
        name=name,
        protocol="oddwire",
        source="docs/session-protocol.md",
        encoding="session frames",
        message=frame,
        error=error,
        wrong=None if error is None else wrong_bytes(spans, error, len(payload)),
        spans=spans,
        inside=inside,
    )


def _unknown(payload: bytes) -> DecodeError:
    kind = payload[2]
    text = f"no frame of version 1 has kind {kind}; there are {min(_KINDS):d} to {max(_KINDS):d}"
    offset = 2
    if kind in _KINDS:
        offset = 11
        text = f"{FrameType(kind).name.lower()} is not about scope {payload[offset]}"
    error = UnknownMessage(text, type_id=SESSION_TYPE, required=False)
    error.offset = offset
    return error


def _content_of(frame: Frame) -> bytes | None:
    """Return the message inside a frame, None if there is none, or only a piece of one."""
    if isinstance(frame, Fragment):
        whole = frame.piece == 0 and frame.total == len(frame.content)
        return bytes(frame.content) if whole else None
    content = getattr(frame, "content", None)
    return content if isinstance(content, bytes) and content else None


def _carrying(span: Span, inner: Explanation) -> Span:
    """Return a span of a frame; that of the content has the spans of the message inside it as its parts."""
    if span.path != "$.content" or not span.parts:
        return span
    *count, body = span.parts
    parts = tuple(shifted(part, body.offset, "$.content") for part in inner.spans)
    within = Span("group", "$.content", body.offset, body.length, inner.title, parts=parts)
    return span._replace(role="group", label=inner.title, shown="", parts=(*count, within))


def _remarked(span: Span) -> Span:
    """Return a span with the name of what its number stands for."""
    value = span.value
    note = ""
    match span.path:
        case "$.sender":
            return span._replace(path="$.from")
        case "$.kind" if value in _KINDS:
            note = FrameType(value).name.lower()
        case "$.scope" if value in _SCOPES:
            note = Scope(value).name.lower()
        case "$.code":
            note = describe_code(value)
    return span._replace(note=note) if note else span
