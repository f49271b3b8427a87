"""What peers say to each other. Offers, outcomes and withdrawals are reliable; a fetch is a request for a stream."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from oddwire import Message, field, fixed, message, rest, sha256, u64

__all__ = ["BUSY", "CHUNK", "FINAL", "Chunk", "Fetch", "Offer", "Outcome", "Withdraw"]

CHUNK: Final = 256 << 10
"""Bytes of each chunk but the last, which has what is left."""

FINAL: Final = 1001
"""Code of a refused `Fetch` that will never succeed: not offered, withdrawn, changed."""
BUSY: Final = 1002
"""Code of a refused `Fetch` that may succeed later."""


@message(0x8C31)
class Offer(Message):
    """A file to be fetched by the peer, if it likes. ``key`` is random, and names it in all other messages."""

    key: Annotated[bytes, fixed(16)]
    name: str = field(max_length=255)
    size: u64
    digest: sha256


@message(0x8C33)
class Outcome(Message):
    """What has become of an offer: the receiver has the whole file, or has refused it, or will not fetch it again."""

    key: Annotated[bytes, fixed(16)]
    outcome: Literal["received", "refused", "failed"]
    reason: str = field(max_length=500, default="")


@message(0x8C35)
class Withdraw(Message):
    """An offer does not stand any more."""

    key: Annotated[bytes, fixed(16)]


@message(0x8C39, codec="bolt", max_size=CHUNK + 64)
class Chunk(Message):
    """The bytes of a file from ``offset`` on."""

    offset: u64
    data: Annotated[bytes, rest]


@message(0x8C37)
class Fetch(Message):
    """A request for a stream of `Chunk`, from ``offset`` to the end of an offered file."""

    key: Annotated[bytes, fixed(16)]
    offset: u64
