"""The keys of messages that are sent again, as bytes for the database."""

from __future__ import annotations

from enum import Enum
from typing import Final, TypeAlias

from oddwire.errors import ValueOutOfRange
from oddwire.proto.keys import PublicKey, ShortChannelId

__all__ = ["Key", "decode_key", "encode_key"]

Key: TypeAlias = str | bytes | int | ShortChannelId | PublicKey | Enum
"""What a kept message may be called by; a `NodeId` is bytes, and a member of an enum stands for its value."""

_MOST: Final = 1024  # bytes
_KINDS: Final = "a str, bytes, int, NodeId, PublicKey, ShortChannelId, or a member of an Enum with such a value"


def encode_key(key: object) -> bytes:
    """Return a key for the database; keys that Python calls equal have equal bytes.

    Raises `TypeError` for what is no `Key`, `ValueOutOfRange` for one of more than 1024 bytes.
    """
    while isinstance(key, Enum):
        key = key.value
    if isinstance(key, str):
        try:
            found = b"s" + key.encode()
        except UnicodeEncodeError:
            raise ValueOutOfRange(f"a key should be a str that UTF-8 can hold, not {key!r:.200}") from None
    elif isinstance(key, bytes | bytearray | memoryview):
        found = b"b" + bytes(key)
    elif isinstance(key, PublicKey):
        found = b"b" + key.serializeCompressed()
    elif isinstance(key, ShortChannelId):
        found = b"c" + key.to_bytes()
    elif isinstance(key, int) and not isinstance(key, bool):
        found = b"i" + (hex(key).encode() if key.bit_length() <= 8 * _MOST else bytes(_MOST + 1))
    else:
        raise TypeError(f"a key should be {_KINDS}, not {key!r:.200}")
    if len(found) > _MOST:
        raise ValueOutOfRange(f"a key should have {_MOST - 1} bytes at most, not {len(found) - 1}")
    return found


def decode_key(raw: bytes) -> str | bytes | int | ShortChannelId:
    """Return the key with these bytes: that of `encode_key`, or one that is equal to it in the database."""
    kind, rest = raw[:1], raw[1:]
    if kind == b"s":
        return rest.decode()
    if kind == b"c":
        return ShortChannelId.from_bytes(rest)
    return int(rest, 16) if kind == b"i" else rest
