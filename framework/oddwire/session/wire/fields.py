"""Encoding and decoding of the fields that all frames share: header, length, TLV records, texts, refusals. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception's name
from typing import Final

from oddwire.errors import MalformedMessage, PayloadTooLarge, Truncated, UnknownRequiredRecord, ValueOutOfRange
from oddwire.proto.primitives import MAX_MESSAGE, parse_tlv_stream, tu_decode
from oddwire.session.constants import SESSION_TYPE
from oddwire.session.wire.frame_types import MAX_TEXT, FrameType, Refusal

__all__ = [
    "NO_RECORDS",
    "clip",
    "decode_refusals",
    "decode_text",
    "encode_refusals",
    "encode_text",
    "fit_refusals",
    "header_too_short",
    "kind_name",
    "malformed",
    "pack",
    "records",
    "truncated",
    "unfit",
    "unpack",
]

_REFUSAL = Struct(">QHH")
_ACK_ROOM = MAX_MESSAGE - 41  # bytes for refusals in an ack of one payload

_ROUTES: Final = 1 << 64

NO_RECORDS: Final[Mapping[int, int]] = {}
"""For kinds of frames that have no records in version 1."""


def pack(header: Struct, kind: FrameType, route: int, *values: int) -> bytes:
    """Encode a header. Raises `ValueOutOfRange`."""
    try:
        return header.pack(SESSION_TYPE, kind, route, *values)
    except StructError as error:
        if not 0 <= route < _ROUTES:
            raise unfit(f"route should be two addresses of 32 bits each, not {route}") from None
        raise unfit(f"{kind.name.lower()}'s header does not hold {values}: {error}") from None


def unpack(header: Struct, payload: bytes) -> tuple[int, ...]:
    """Decode a header, with type, kind and route. Raises `Truncated`."""
    if len(payload) < header.size:
        raise header_too_short(header, payload)
    return header.unpack_from(payload)


def records(
    payload: bytes, stop: int, known: Mapping[int, int], values: dict[int, bytes | None] | None = None
) -> Mapping[int, int]:
    """Decode the TLV records after the content, which ends at ``stop``. Raises `MalformedMessage`.

    ``known`` are the types of ``tu32`` and ``tu64`` records, with their max length in bytes; their values are returned
    by type. ``values`` has the types of records of other shapes as keys: the bytes of those present are stored in it.
    """
    if stop > len(payload):
        raise truncated(f"content ends {stop - len(payload)} bytes after the frame, by its length", len(payload))
    found: dict[int, int] = {}
    try:
        for record, start, end in parse_tlv_stream(payload, stop):
            if record in known:
                found[record], _ = tu_decode(payload, known[record], start, end)
            elif values is not None and record in values:
                values[record] = payload[start:end]
            elif record % 2 == 0:
                raise UnknownRequiredRecord(f"{kind_name(payload)} has unknown even TLV record {record}", offset=start)
    except MalformedMessage as error:
        error.type_id = SESSION_TYPE
        raise
    return found


# Texts ------------------------------------------------------------------------------------------------


def encode_text(text: str) -> bytes:
    """Encode a text. Raises `ValueOutOfRange` for one that `clip` would change."""
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raise unfit(f"text should be Unicode that UTF-8 holds, not {text!r}") from None
    if len(raw) > MAX_TEXT:
        raise unfit(f"text should be at most {MAX_TEXT} bytes of UTF-8, not {len(raw)}")
    return raw


def decode_text(payload: bytes, start: int, stop: int) -> str:
    """Decode the text from ``start`` to ``stop``. Raises `MalformedMessage`."""
    if stop - start > MAX_TEXT:
        raise malformed(f"text should be at most {MAX_TEXT} bytes, not {stop - start}", start)
    try:
        return payload[start:stop].decode()
    except UnicodeDecodeError as error:
        raise malformed("text should be UTF-8", start + error.start) from None


def clip(text: str, size: int = MAX_TEXT) -> str:
    """Return a text cut to at most ``size`` bytes of UTF-8, between characters; lone surrogates become ``?``."""
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore")


# Refusals ---------------------------------------------------------------------------------------------


def encode_refusals(failures: Iterable[Refusal], value: int) -> bytes:
    """Return the content of an ack of ``value``. Raises `ValueOutOfRange`, and `PayloadTooLarge` for too many."""
    content, last = bytearray(), 0
    for sequence, code, text in failures:
        if not last < sequence <= value:
            raise unfit(f"refusals should ascend up to the lane's value {value}: {sequence} follows {last}")
        last = sequence
        raw = encode_text(text)
        try:
            content += _REFUSAL.pack(sequence, code, len(raw)) + raw
        except StructError:
            raise unfit(f"refusal's sequence should fit 64 bits and its code 16, not {sequence} and {code}") from None
    if len(content) > _ACK_ROOM:
        raise PayloadTooLarge(
            f"refusals take {len(content)} bytes of an ack; there are {_ACK_ROOM}", type_id=SESSION_TYPE
        )
    return bytes(content)


def decode_refusals(payload: bytes, at: int, stop: int, value: int) -> tuple[Refusal, ...]:
    """Decode the content of an ack of ``value``. Raises `MalformedMessage`."""
    failures: list[Refusal] = []
    last = 0
    while at < stop:
        start = at + _REFUSAL.size
        if start > stop:
            raise truncated(f"refusal needs {_REFUSAL.size} bytes, {stop - at} remain", at)
        sequence, code, size = _REFUSAL.unpack_from(payload, at)
        if not last < sequence <= value:
            raise malformed(f"refusals should ascend up to {value}: {sequence} follows {last}", at)
        last = sequence
        at = start + size
        if at > stop:
            raise truncated(f"refusal's text has {size} bytes by its length, {stop - start} remain", start - 2)
        failures.append(Refusal(sequence, code, decode_text(payload, start, at)))
    return tuple(failures)


def fit_refusals(failures: Iterable[Refusal]) -> tuple[Refusal, ...]:
    """Return the refusals, up to `MAX_WINDOW`, with texts cut, the longest first, so that one ack holds them all."""
    found = tuple(refusal._replace(text=clip(refusal.text)) for refusal in failures)
    room = _ACK_ROOM - _REFUSAL.size * len(found)
    sizes = [len(refusal.text.encode()) for refusal in found]
    if sum(sizes) <= room:
        return found
    least, most = 0, MAX_TEXT  # binary search for the greatest length to which all texts can be cut
    while least < most:
        middle = (least + most + 1) // 2
        if sum(min(size, middle) for size in sizes) <= room:
            least = middle
        else:
            most = middle - 1
    return tuple(refusal._replace(text=clip(refusal.text, least)) for refusal in found)


# Errors -----------------------------------------------------------------------------------------------


def kind_name(payload: bytes) -> str:
    """Return the name of a frame's kind, in lower case. The kind must be a known one."""
    return FrameType(payload[2]).name.lower()


def header_too_short(header: Struct, payload: bytes) -> Truncated:
    """Return the error for a frame that ends within its header."""
    text = f"{kind_name(payload)} should have {header.size} bytes before its content, not {len(payload)}"
    return truncated(text, len(payload))


def truncated(text: str, offset: int) -> Truncated:
    """Return the error for a frame, or a field in its content, that ends too early."""
    return Truncated(text, type_id=SESSION_TYPE, offset=offset)


def malformed(text: str, offset: int) -> MalformedMessage:
    """Return the error for a frame that breaks a rule of the protocol at ``offset``."""
    return MalformedMessage(text, type_id=SESSION_TYPE, offset=offset)


def unfit(text: str) -> ValueOutOfRange:
    """Return the error for a value that no frame may carry."""
    return ValueOutOfRange(text, type_id=SESSION_TYPE)
