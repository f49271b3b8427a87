"""BOLT 1's integers, BigSize and TLV streams, as pure functions on bytes.

Each ``x_encode`` stands beside its ``x_decode``. Decoders read ``buffer`` from ``offset``, never at or past ``end``
(the buffer's length if None), and return the value and the offset after it. They are strict: bytes that BOLT 1 does not
let anyone write raise a `MalformedMessage` that says where. Callers keep
``0 <= offset <= end <= len(buffer)``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from oddwire.errors import (
    EncodeError,
    MalformedMessage,
    NotMinimal,
    OutOfOrder,
    TrailingBytes,
    Truncated,
    ValueOutOfRange,
)

__all__ = [
    "MAX_MESSAGE",
    "MAX_RECORDS",
    "Buffer",
    "bigsize_decode",
    "bigsize_encode",
    "build_tlv_stream",
    "parse_tlv_stream",
    "sint_decode",
    "sint_encode",
    "tu_decode",
    "tu_encode",
    "uint_decode",
    "uint_encode",
]

Buffer = bytes | bytearray | memoryview

MAX_MESSAGE: Final = 65535
"""Max bytes of a BOLT 8 message, its two-byte type included."""

MAX_RECORDS: Final = 32768
"""Max records of a TLV stream that is read: twice what a message can hold, as payloads may be longer."""

# BOLT 1, Appendix A: the first byte, the bytes that follow it, and the smallest value that needs them.
_BIGSIZE = {0xFD: (2, 0xFD), 0xFE: (4, 0x1_0000), 0xFF: (8, 0x1_0000_0000)}


# Fixed-size integers: u8 to u64, s8 to s64 ---------------------------------------------------------------------------


def uint_encode(value: int, size: int) -> bytes:
    """Return an unsigned integer as ``size`` bytes, big endian. Raises `ValueOutOfRange` if it does not fit."""
    try:
        return value.to_bytes(size, "big")
    except OverflowError:
        raise ValueOutOfRange(f"u{size * 8} should be 0 to {(1 << size * 8) - 1}, not {_shown(value)}") from None


def uint_decode(buffer: Buffer, size: int, offset: int = 0, end: int | None = None) -> tuple[int, int]:
    """Read an unsigned integer of ``size`` bytes, big endian. Raises `Truncated`."""
    stop = _fixed_stop(buffer, f"u{size * 8}", size, offset, end)
    return int.from_bytes(buffer[offset:stop], "big"), stop


def sint_encode(value: int, size: int) -> bytes:
    """Return a signed integer as ``size`` bytes, big endian two's complement. Raises `ValueOutOfRange`."""
    try:
        return value.to_bytes(size, "big", signed=True)
    except OverflowError:
        half = 1 << (size * 8 - 1)
        raise ValueOutOfRange(f"s{size * 8} should be {-half} to {half - 1}, not {_shown(value)}") from None


def sint_decode(buffer: Buffer, size: int, offset: int = 0, end: int | None = None) -> tuple[int, int]:
    """Read a signed integer of ``size`` bytes, big endian two's complement. Raises `Truncated`."""
    stop = _fixed_stop(buffer, f"s{size * 8}", size, offset, end)
    return int.from_bytes(buffer[offset:stop], "big", signed=True), stop


def _fixed_stop(buffer: Buffer, what: str, size: int, offset: int, end: int | None) -> int:
    if end is None:
        end = len(buffer)
    stop = offset + size
    if stop > end:
        raise Truncated(f"{what} needs {size} bytes, {end - offset} remain", offset=offset)
    return stop


def _shown(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # Python refuses to convert more than 4300 digits
        return f"int of {value.bit_length()} bits"


# Truncated integers: tu16, tu32, tu64 --------------------------------------------------------------------------------


def tu_encode(value: int, size: int) -> bytes:
    """Return an unsigned integer in as few bytes as it needs, max ``size``: none for 0. Raises `ValueOutOfRange`."""
    if not 0 <= value < 1 << size * 8:
        raise ValueOutOfRange(f"tu{size * 8} should be 0 to {(1 << size * 8) - 1}, not {_shown(value)}")
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def tu_decode(buffer: Buffer, size: int, offset: int = 0, end: int | None = None) -> tuple[int, int]:
    """Read an integer that fills all bytes up to ``end``, max ``size``; the offset returned is ``end``.

    Raises `NotMinimal` for a leading zero byte, `TrailingBytes` if more than ``size`` bytes remain.
    """
    if end is None:
        end = len(buffer)
    if end - offset > size:
        raise TrailingBytes(f"tu{size * 8} is at most {size} bytes, {end - offset} remain", offset=offset + size)
    if offset < end and buffer[offset] == 0:
        raise NotMinimal(f"tu{size * 8} should not start with a zero byte", offset=offset)
    return int.from_bytes(buffer[offset:end], "big"), end


# BigSize -------------------------------------------------------------------------------------------------------------


def bigsize_encode(value: int) -> bytes:
    """Return an unsigned integer of at most 64 bits in 1, 3, 5 or 9 bytes. Raises `ValueOutOfRange`."""
    if 0 <= value < 0xFD:
        return value.to_bytes(1, "big")
    if 0 <= value < 0x1_0000:
        return b"\xfd" + value.to_bytes(2, "big")
    if 0 <= value < 0x1_0000_0000:
        return b"\xfe" + value.to_bytes(4, "big")
    if 0 <= value < 1 << 64:
        return b"\xff" + value.to_bytes(8, "big")
    raise ValueOutOfRange(f"bigsize should be 0 to {(1 << 64) - 1}, not {_shown(value)}")


def bigsize_decode(buffer: Buffer, offset: int = 0, end: int | None = None) -> tuple[int, int]:
    """Read a BigSize. Raises `Truncated`, or `NotMinimal` if fewer bytes would have held the value."""
    if end is None:
        end = len(buffer)
    if offset >= end:
        raise Truncated("bigsize needs at least 1 byte, none remain", offset=offset)
    first = buffer[offset]
    if first < 0xFD:
        return first, offset + 1
    size, least = _BIGSIZE[first]
    stop = offset + 1 + size
    if stop > end:
        raise Truncated(
            f"bigsize starting with {first:02x} needs {1 + size} bytes, {end - offset} remain", offset=offset
        )
    value = int.from_bytes(buffer[offset + 1 : stop], "big")
    if value < least:
        raise NotMinimal(f"bigsize {value} should not take {1 + size} bytes", offset=offset)
    return value, stop


# TLV streams ---------------------------------------------------------------------------------------------------------


def build_tlv_stream(records: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the bytes of (type, value) records, which must be in strictly ascending order of type.

    Raises `EncodeError` if they do not, `ValueOutOfRange` for a type that is not an unsigned 64-bit integer.
    """
    parts: list[bytes] = []
    last = -1
    for record_type, value in records:
        if record_type <= last:
            raise EncodeError(
                f"TLV record {record_type} should not follow record {last}: types ascend and never repeat"
            )
        last = record_type
        parts += (bigsize_encode(record_type), bigsize_encode(len(value)), value)
    return b"".join(parts)


def parse_tlv_stream(buffer: Buffer, offset: int = 0, end: int | None = None) -> list[tuple[int, int, int]]:
    """Return the records up to ``end``: of each the type, and the start and end of its value in ``buffer``.

    The caller decides which types are known. Raises `Truncated`, `NotMinimal`, `OutOfOrder` for types that
    descend or repeat, and `MalformedMessage` for more than `MAX_RECORDS`.
    """
    if end is None:
        end = len(buffer)
    records: list[tuple[int, int, int]] = []
    last = -1
    while offset < end:
        record_type, length_at = bigsize_decode(buffer, offset, end)
        if record_type <= last:
            how = "repeats" if record_type == last else f"follows record {last}"
            raise OutOfOrder(f"TLV record {record_type} {how}: types should strictly ascend", offset=offset)
        last = record_type
        length, start = bigsize_decode(buffer, length_at, end)
        offset = start + length
        if offset > end:
            text = f"TLV record {record_type} has {length} bytes by its length, {end - start} remain"
            raise Truncated(text, offset=length_at)
        records.append((record_type, start, offset))
        if len(records) > MAX_RECORDS:
            raise MalformedMessage(f"TLV stream holds more than {MAX_RECORDS} records", offset=length_at)
    return records
