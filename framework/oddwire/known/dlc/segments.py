"""Messages that are longer than a payload may be, 65535 bytes, in segments; sizes are those of rust-dlc."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from oddwire.schema import Message, message, u16

__all__ = ["MAX_SIZE", "SegmentChunk", "SegmentStart", "joined", "segments_of"]

_PAYLOAD: Final = 65535
_FIRST: Final = 65526
_NEXT: Final = 65528

MAX_SIZE: Final = 1 << 24
"""Max bytes of a payload in segments, its type included: 257 of them. rust-dlc accepts 1000."""


@message(42900, codec="bolt", spec=True, even="known")
class SegmentStart(Message):
    """The first of ``nb_segments`` segments of a payload: its type, and as much of the rest as there is room for."""

    nb_segments: u16
    data: bytes


@message(42902, codec="bolt", spec=True, even="known")
class SegmentChunk(Message):
    """The next segment. They come in order, with no other message between them."""

    data: bytes


def segments_of(payload: bytes) -> tuple[SegmentStart, tuple[SegmentChunk, ...]]:
    """Return the messages to send in place of a payload, its type included, of more than 65535 bytes.

    Raises `ValueError` for a shorter one, which is sent as it is, and for one of more than 16 MiB.
    """
    if not _PAYLOAD < len(payload) <= MAX_SIZE:
        raise ValueError(f"should be more than {_PAYLOAD} bytes, at most {MAX_SIZE}, not {len(payload)}")
    chunks = tuple(SegmentChunk(data=payload[at : at + _NEXT]) for at in range(_FIRST, len(payload), _NEXT))
    return SegmentStart(nb_segments=1 + len(chunks), data=payload[:_FIRST]), chunks


def joined(start: SegmentStart, chunks: Sequence[SegmentChunk]) -> bytes:
    """Return the payload that a peer sent in segments. Raises `ValueError` if these are not all of them."""
    if 1 + len(chunks) != start.nb_segments:
        raise ValueError(f"should be {start.nb_segments} segments, not {1 + len(chunks)}")
    return start.data + b"".join(chunk.data for chunk in chunks)
