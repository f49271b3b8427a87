"""What peers say to each other: parcels are reliable, a fetch is a request for a stream."""

from __future__ import annotations

from typing import Final

from oddwire import Message, field, message, subtype, u64

__all__ = ["CHUNK", "MAX_FILES", "MAX_PARCEL", "Chunk", "Contents", "Fetch", "File", "Listing", "Parcel"]

MAX_PARCEL: Final = 8 << 20
"""Bytes of a parcel. A file that is fetched may have any size."""
CHUNK: Final = 256 << 10
"""Bytes of a chunk."""
MAX_FILES: Final = 10_000
"""Files in a listing."""


@message(0x8C21, max_size=MAX_PARCEL + 4096)
class Parcel(Message):
    """A file."""

    name: str = field(max_length=255)
    data: bytes = field(max_length=MAX_PARCEL)


@subtype
class File:
    """A file that may be fetched; ``size`` is in bytes."""

    name: str
    size: u64


@message(0x8C25)
class Listing(Message):
    """The files that may be fetched, by name."""

    files: tuple[File, ...] = field(max_length=MAX_FILES)


@message(0x8C23, replies=Listing)
class Contents(Message):
    """A request for the list of files."""


@message(0x8C27)
class Fetch(Message):
    """A request for a file."""

    name: str


@message(0x8C29, codec="raw")
class Chunk(Message):
    """The next bytes of a file."""

    data: bytes
