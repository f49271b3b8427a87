"""What the session protocol's frames say where (docs/session-protocol.md): their layouts, as BOLT 1's wire types.

`oddwire.session.wire` reads frames and words the errors; this tells bytes apart.
"""

from __future__ import annotations

from typing import Annotated, Final

from oddwire.decoding.bolt_spans import note_bolt
from oddwire.decoding.spans import Trail
from oddwire.errors import MalformedMessage
from oddwire.schema import counted, field, rest, subtype, tu32, tu64, u8, u16, u32, u64
from oddwire.schema.class_records import Record
from oddwire.session.wire.frame_types import FrameType

__all__ = ["note_frame"]


@subtype
class _Head:
    """What all frames begin with."""

    kind: u8
    to: u32
    sender: u32


@subtype
class _Spoken:
    name: Annotated[str, counted(u8)]
    versions: Annotated[tuple[Annotated[str, counted(u8)], ...], counted(u8)]
    types: tuple[u16, ...]


@subtype
class _Extensions:
    extensions: Annotated[tuple[_Spoken, ...], rest]


@subtype
class _Hello(_Head):
    flags: u8
    lowest: u8
    highest: u8
    program: u64
    content: Annotated[_Extensions, counted(u32)]
    assembles: tu64 | None = field(tlv=1, default=None)
    requests: tu32 | None = field(tlv=3, default=None)
    stores: tuple[u64, ...] | None = field(tlv=5, default=None)


@subtype
class _Fragment(_Head):
    transfer: u64
    total: u64
    size: u16
    piece: u32
    content: Annotated[bytes, counted(u32)]


@subtype
class _Request(_Head):
    id: u64
    credit: u32
    content: Annotated[bytes, counted(u32)]
    wait: tu32 | None = field(tlv=1, default=None)
    urgent: bytes | None = field(tlv=3, default=None)


@subtype
class _Reply(_Head):
    id: u64
    flags: u8
    content: Annotated[bytes, counted(u32)]


@subtype
class _Failure(_Head):
    scope: u8
    id: u64
    code: u16
    text: Annotated[str, counted(u32)]


@subtype
class _Cancel(_Head):
    scope: u8
    id: u64
    content: Annotated[bytes, counted(u32)]


@subtype
class _Data(_Head):
    lane: u64
    epoch: u64
    base: u64
    sequence: u64
    content: Annotated[bytes, counted(u32)]


@subtype
class _Refusal:
    sequence: u64
    code: u16
    text: str


@subtype
class _Refusals:
    refusals: Annotated[tuple[_Refusal, ...], rest]


@subtype
class _Ack(_Head):
    scope: u8
    flags: u8
    id: u64
    epoch: u64
    value: u64
    content: Annotated[_Refusals, counted(u32)]


_LAYOUTS: Final[dict[int, type]] = {
    FrameType.HELLO: _Hello,
    FrameType.FRAGMENT: _Fragment,
    FrameType.REQUEST: _Request,
    FrameType.REPLY: _Reply,
    FrameType.FAILURE: _Failure,
    FrameType.CANCEL: _Cancel,
    FrameType.DATA: _Data,
    FrameType.ACK: _Ack,
}


def note_frame(payload: bytes, trail: Trail) -> None:
    """Note what is behind the type of a frame. Raises `MalformedMessage` where reading ends."""
    layout = _LAYOUTS.get(payload[2] if len(payload) > 2 else 0, _Head)
    record: Record = layout.__oddwire__  # type: ignore[attr-defined] # every subtype has one
    if layout is not _Head:
        note_bolt(record, payload, trail, 2)
        return
    try:
        note_bolt(record, payload[: 2 + _HEAD], trail, 2)
    except MalformedMessage:
        if len(payload) < 2 + _HEAD:
            raise


_HEAD: Final = 9  # bytes behind the type
