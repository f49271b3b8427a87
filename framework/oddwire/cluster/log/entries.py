"""Entries of a partition's log: bytes with a checksum, each with that of the one before.

An entry is a message of the log's subject. Its number is its place in the log, from 1; its term is the stream sequence
of the *fence* by which its writer took the log. A fence's own term is 0, as the broker gives it a sequence later. What
is too long for a message is in several entries in a row, all but the last of which say that more follows: together
they take effect, or not at all if the last is missing.
"""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum
from typing import Final, NamedTuple

__all__ = ["OVERHEAD", "START", "ChainBroken", "Entry", "Kind", "Link", "encode", "follow"]

_VERSION: Final = 1
_MORE: Final = 1
_HEAD: Final = struct.Struct(">BBBQQ16s")
_DIGEST: Final = 16
OVERHEAD: Final = _HEAD.size + _DIGEST
"""Bytes of an entry besides its body."""


class Kind(IntEnum):
    """What an entry is."""

    FENCE = 1
    """A new owner: 16 random bytes, and its name."""
    COMMIT = 2
    """Pages that a commit changed."""
    SNAPSHOT = 3
    """Where a copy of the database is."""


class Link(NamedTuple):
    """A place in the chain: an entry's number and its checksum, which the next one repeats."""

    number: int
    digest: bytes


START: Final = Link(0, bytes(_DIGEST))
"""The place before the first entry."""


class Entry(NamedTuple):
    """An entry; ``previous`` is the checksum of the one before, ``digest`` its own, ``more`` whether it goes on."""

    kind: Kind
    more: bool
    term: int
    number: int
    previous: bytes
    body: bytes
    digest: bytes

    @property
    def link(self) -> Link:
        """Its place in the chain."""
        return Link(self.number, self.digest)


class ChainBroken(ValueError):
    """What is read is no entry, is damaged, or does not belong behind the one before."""


def encode(kind: Kind, term: int, after: Link, body: bytes, *, more: bool = False) -> tuple[bytes, Link]:
    """Return the bytes of an entry behind ``after``, and its own place in the chain."""
    data = _HEAD.pack(_VERSION, kind, _MORE * more, term, after.number + 1, after.digest) + body
    digest = _digest(data)
    return data + digest, Link(after.number + 1, digest)


def follow(after: Link | None, data: bytes) -> Entry:
    """Return the entry that ``data`` is, which should follow on ``after``; None is any place.

    Raises `ChainBroken`, saying what is wrong.
    """
    if len(data) < OVERHEAD:
        raise ChainBroken(f"it has {len(data)} bytes, and an entry has at least {OVERHEAD}")
    version, kind, flags, term, number, previous = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise ChainBroken(f"it is of version {version}; this oddwire reads version {_VERSION}")
    digest = data[-_DIGEST:]
    if digest != _digest(memoryview(data)[:-_DIGEST]):
        raise ChainBroken("it is damaged: its checksum is not that of its bytes")
    try:
        kind = Kind(kind)
    except ValueError:
        raise ChainBroken(f"it is of the unknown kind {kind}; a later oddwire may have written it") from None
    if after is not None:
        if number != after.number + 1:
            raise ChainBroken(f"it is entry {number}, where entry {after.number + 1} should be")
        if previous != after.digest:
            raise ChainBroken(f"entry {number} was written behind another entry {number - 1} than the one before it")
    return Entry(kind, bool(flags & _MORE), term, number, previous, data[_HEAD.size : -_DIGEST], digest)


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()
