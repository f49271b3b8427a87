"""The frames of the session protocol and their bytes (docs/session-protocol.md). No I/O.

Each `encode_x` stands beside its `_decode_x`. A frame here is a whole payload, its two-byte type included; one longer
than 65535 bytes is sent in fragments, by `session.peer.fragment_sender`.

A *route* is the two addresses of a frame as one u64: ``to`` in the upper half, ``from`` in the lower. Encoders take it
as their first argument; decoders skip it, `addresses` reads it.

Decoders check everything that can be checked within one frame. Checks against earlier frames are the caller's, and so
are the sizes and numbers of fragments, since a wrong one fails its transfer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception's name
from typing import Any, Final, cast

from oddwire.errors import ValueOutOfRange
from oddwire.proto.primitives import Buffer, build_tlv_stream, tu_encode
from oddwire.session.constants import SESSION_TYPE, SESSION_TYPE_BYTES
from oddwire.session.wire.fields import (
    NO_RECORDS,
    decode_refusals,
    decode_text,
    encode_refusals,
    encode_text,
    header_too_short,
    kind_name,
    malformed,
    pack,
    records,
    truncated,
    unfit,
    unpack,
)
from oddwire.session.wire.frame_types import (
    FRAGMENT_OVERHEAD,
    MAX_NUMBER,
    MAX_WINDOW,
    Ack,
    Cancel,
    Data,
    Failure,
    Fragment,
    Frame,
    FrameType,
    Hello,
    Refusal,
    Reply,
    ReplyFlag,
    Request,
    Scope,
    UnknownFrame,
)
from oddwire.session.wire.hello import decode_hello, encode_hello

__all__ = [
    "addresses",
    "data_place",
    "decode",
    "encode",
    "encode_ack",
    "encode_cancel",
    "encode_data",
    "encode_failure",
    "encode_fragment",
    "encode_reply",
    "encode_request",
    "is_part",
    "subject",
]

# Headers, up to and with the content's length
_FRAGMENT = Struct(">HBQQQHII")
_REQUEST = Struct(">HBQQII")
_REPLY = Struct(">HBQQBI")
_FAILURE = Struct(">HBQBQHI")
_CANCEL = Struct(">HBQBQI")
_DATA = Struct(">HBQQQQQI")
_ACK = Struct(">HBQBBQQQI")
_SUBJECT = Struct(">11xQ")
_ADDRESSES = Struct(">3xII")

_REQUEST_HEAD, _REPLY_HEAD, _DATA_HEAD = _REQUEST.size, _REPLY.size, _DATA.size
_LEAST = _ADDRESSES.size  # bytes of the shortest frame

# The same, without the fields before the header, which a decoder does not need
_REQUEST_FIELDS, _REPLY_FIELDS = Struct(">11xQII"), Struct(">11xQBI")
_FRAGMENT_FIELDS, _DATA_FIELDS = Struct(">11xQQHII"), Struct(">11xQQQQI")

# Members of enums as integers: looking them up for every frame is slow
_IS_REQUEST, _IS_REPLY = int(FrameType.REQUEST), int(FrameType.REPLY)
_PART, _END = int(ReplyFlag.PART), int(ReplyFlag.END)

# Fast path for requests and replies, most of all frames: content whose first byte differs cannot be a nested frame
_FRAMES_BEGIN = SESSION_TYPE_BYTES[0]
_new = tuple.__new__  # a named tuple's own constructor takes nearly twice as long

_WAIT, _URGENT = 1, 3  # records of a request
_REQUEST_RECORDS: Final[Mapping[int, int]] = {_WAIT: 4, _URGENT: 0}

_SCOPES: Final[Mapping[int, Scope]] = {1: Scope.REQUEST, 2: Scope.TRANSFER}
_SUBJECTS: Final[Mapping[int, Scope]] = {FrameType.REQUEST: Scope.REQUEST, FrameType.FRAGMENT: Scope.TRANSFER}
_ACK_SCOPES: Final[Mapping[int, Scope]] = {1: Scope.REQUEST, 3: Scope.LANE}


# Fragments --------------------------------------------------------------------------------------------


def encode_fragment(route: int, transfer: int, total: int, size: int, piece: int, content: Buffer) -> bytes:
    """Return a fragment's payload. Raises `ValueOutOfRange`; the caller ensures that the numbers fit each other."""
    return b"".join((pack(_FRAGMENT, FrameType.FRAGMENT, route, transfer, total, size, piece, len(content)), content))


def _decode_fragment(payload: bytes) -> Fragment:
    try:
        transfer, total, size, piece, length = _FRAGMENT_FIELDS.unpack_from(payload)
    except StructError:
        raise header_too_short(_FRAGMENT, payload) from None
    stop = FRAGMENT_OVERHEAD + length
    if stop != len(payload):
        records(payload, stop, NO_RECORDS)
    return Fragment(transfer, total, size, piece, payload[FRAGMENT_OVERHEAD:stop])


# Requests ---------------------------------------------------------------------------------------------


def encode_request(
    route: int,
    id: int,  # noqa: A002
    credit: int,
    content: bytes,
    wait_ms: int | None = None,
    urgent: bool = False,
) -> bytes:
    """Return a request's payload. Raises `ValueOutOfRange`, also if ``content`` is not a message with its type."""
    if len(content) < 2 or content[:2] == SESSION_TYPE_BYTES:
        raise _no_message(content)
    try:
        head = _REQUEST.pack(SESSION_TYPE, _IS_REQUEST, route, id, credit, len(content))
    except StructError:
        head = pack(_REQUEST, FrameType.REQUEST, route, id, credit, len(content))  # raises, and names the value
    if wait_ms is None and not urgent:
        return head + content
    tlvs = [] if wait_ms is None else [(_WAIT, tu_encode(wait_ms, 4))]
    if urgent:
        tlvs.append((_URGENT, b""))
    return head + content + build_tlv_stream(tlvs)


def _decode_request(payload: bytes) -> Request:
    try:
        number, credit, length = _REQUEST_FIELDS.unpack_from(payload)
    except StructError:
        raise header_too_short(_REQUEST, payload) from None
    content = payload[_REQUEST_HEAD:]
    if len(content) == length >= 2 and content[0] != _FRAMES_BEGIN:
        return _new(Request, (number, credit, content, None, False))
    stop = _REQUEST_HEAD + length
    found = records(payload, stop, _REQUEST_RECORDS) if stop != len(payload) else NO_RECORDS
    _check_inner(payload, _REQUEST_HEAD, stop)
    return Request(number, credit, payload[_REQUEST_HEAD:stop], found.get(_WAIT), _URGENT in found)


_REPLY_FLAGS: Final = 19  # offset of the flags: after type, kind, addresses and id


def encode_reply(route: int, id: int, flags: int, content: bytes) -> bytes:  # noqa: A002
    """Return a reply's payload; the end of a stream has no content. Raises `ValueOutOfRange`."""
    if flags & _END:
        if flags & _PART or content:
            raise unfit("stream's end is no part and has no content")
    elif len(content) < 2 or content[:2] == SESSION_TYPE_BYTES:
        raise _no_message(content)
    try:
        return _REPLY.pack(SESSION_TYPE, _IS_REPLY, route, id, flags, len(content)) + content
    except StructError:
        return pack(_REPLY, FrameType.REPLY, route, id, flags, len(content))  # raises, and names the value


def is_part(frame: bytes) -> bool:
    """Return whether a frame made by `encode_reply` is a part of a stream, after which more may follow."""
    return bool(frame[_REPLY_FLAGS] & _PART)


def _decode_reply(payload: bytes) -> Reply:
    try:
        number, flags, length = _REPLY_FIELDS.unpack_from(payload)
    except StructError:
        raise header_too_short(_REPLY, payload) from None
    content = payload[_REPLY_HEAD:]
    if len(content) == length >= 2 and not flags & _END and content[0] != _FRAMES_BEGIN:
        return _new(Reply, (number, flags, content))
    stop = _REPLY_HEAD + length
    if stop != len(payload):
        records(payload, stop, NO_RECORDS)
    if flags & _END:
        if flags & _PART or length:
            raise malformed("stream's end should be no part and have no content", 19)
    else:
        _check_inner(payload, _REPLY_HEAD, stop)
    return Reply(number, flags, payload[_REPLY_HEAD:stop])


def encode_failure(route: int, scope: int, id: int, code: int, text: str) -> bytes:  # noqa: A002
    """Return a failure's payload. Raises `ValueOutOfRange`, also for a text that `clip` would shorten."""
    _check_scope(scope)
    raw = encode_text(text)
    return pack(_FAILURE, FrameType.FAILURE, route, scope, id, code, len(raw)) + raw


def _decode_failure(payload: bytes) -> Failure | UnknownFrame:
    _, kind, _, number, about, code, length = unpack(_FAILURE, payload)
    scope = _SCOPES.get(number)
    if scope is None:
        return UnknownFrame(kind)
    stop = _FAILURE.size + length
    records(payload, stop, NO_RECORDS)
    return Failure(scope, about, code, decode_text(payload, _FAILURE.size, stop))


def encode_cancel(route: int, scope: int, id: int) -> bytes:  # noqa: A002
    """Return a cancel's payload. Raises `ValueOutOfRange`."""
    _check_scope(scope)
    return pack(_CANCEL, FrameType.CANCEL, route, scope, id, 0)


def _decode_cancel(payload: bytes) -> Cancel | UnknownFrame:
    _, kind, _, number, about, length = unpack(_CANCEL, payload)
    scope = _SCOPES.get(number)
    if scope is None:
        return UnknownFrame(kind)
    records(payload, _CANCEL.size + length, NO_RECORDS)
    if length:
        raise malformed("cancel should have no content", _CANCEL.size - 4)
    return Cancel(scope, about)


# Reliable delivery ------------------------------------------------------------------------------------


def encode_data(route: int, lane: int, epoch: int, base: int, sequence: int, content: bytes) -> bytes:
    """Return the payload of a data frame. Raises `ValueOutOfRange`."""
    if not 0 < base <= sequence < base + MAX_WINDOW or not 0 < epoch <= MAX_NUMBER or sequence > MAX_NUMBER:
        raise unfit(
            f"data should have numbers from 1 to {MAX_NUMBER}, and a sequence at most {MAX_WINDOW - 1} above its base, "
            f"not epoch {epoch}, base {base}, sequence {sequence}"
        )
    if len(content) < 2 or content[:2] == SESSION_TYPE_BYTES:
        raise _no_message(content)
    return pack(_DATA, FrameType.DATA, route, lane, epoch, base, sequence, len(content)) + content


def data_place(frame: bytes) -> tuple[int, int, int]:
    """Return the lane, epoch and sequence of a frame made by `encode_data`."""
    lane, epoch, _, sequence, _ = _DATA_FIELDS.unpack_from(frame)
    return lane, epoch, sequence


def _decode_data(payload: bytes) -> Data:
    try:
        lane, epoch, base, sequence, length = _DATA_FIELDS.unpack_from(payload)
    except StructError:
        raise header_too_short(_DATA, payload) from None
    stop = _DATA_HEAD + length
    if stop != len(payload):
        records(payload, stop, NO_RECORDS)
    if not 0 < base <= sequence < base + MAX_WINDOW:
        raise malformed(f"sequence should be at most {MAX_WINDOW - 1} above its base, not {sequence} of {base}", 27)
    if not 0 < epoch <= MAX_NUMBER or sequence > MAX_NUMBER:
        raise malformed(f"epoch and sequence should be 1 to {MAX_NUMBER}, not {epoch} and {sequence}", 19)
    _check_inner(payload, _DATA_HEAD, stop)
    return Data(lane, epoch, base, sequence, payload[_DATA_HEAD:stop])


def encode_ack(
    route: int,
    scope: int,
    flags: int,
    id: int,  # noqa: A002
    epoch: int,
    value: int,
    failures: Iterable[Refusal] = (),
) -> bytes:
    """Return an ack's payload. Raises `ValueOutOfRange`, and `PayloadTooLarge` for what `fit_refusals` would cut."""
    if scope not in _ACK_SCOPES:
        raise unfit(f"ack is about a request's stream ({Scope.REQUEST:d}) or a lane ({Scope.LANE:d}), not {scope}")
    content = encode_refusals(failures, value if scope == Scope.LANE else 0)
    if not _is_epoch_of(scope, epoch) or value > MAX_NUMBER:
        raise unfit(
            f"epoch should be 0 for a stream, else 1 to {MAX_NUMBER}, not {epoch}; value at most that, not {value}"
        )
    return pack(_ACK, FrameType.ACK, route, scope, flags, id, epoch, value, len(content)) + content


def _decode_ack(payload: bytes) -> Ack | UnknownFrame:
    _, kind, _, number, flags, about, epoch, value, length = unpack(_ACK, payload)
    scope = _ACK_SCOPES.get(number)
    if scope is None:
        return UnknownFrame(kind)
    stop = _ACK.size + length
    if stop != len(payload):
        records(payload, stop, NO_RECORDS)
    if not _is_epoch_of(scope, epoch):
        raise malformed(f"epoch should be 0 for a stream, and 1 to {MAX_NUMBER} for a lane, not {epoch}", 21)
    if value > MAX_NUMBER:
        raise malformed(f"value should be at most {MAX_NUMBER}, not {value}", 29)
    if not length:
        return Ack(scope, flags, about, epoch, value)
    if scope is not Scope.LANE:
        raise malformed("stream's ack should have no content", _ACK.size)
    return Ack(scope, flags, about, epoch, value, decode_refusals(payload, _ACK.size, stop, value))


def _is_epoch_of(scope: int, epoch: int) -> bool:
    return 0 < epoch <= MAX_NUMBER if scope == Scope.LANE else epoch == 0


# Any frame --------------------------------------------------------------------------------------------

_ENCODERS: Final[Mapping[type, Callable[..., bytes]]] = {
    Hello: encode_hello,
    Fragment: encode_fragment,
    Request: encode_request,
    Reply: encode_reply,
    Failure: encode_failure,
    Cancel: encode_cancel,
    Data: encode_data,
    Ack: encode_ack,
}

_DECODERS: Final[Mapping[int, Callable[[bytes], Frame]]] = {
    FrameType.HELLO: decode_hello,
    FrameType.FRAGMENT: _decode_fragment,
    FrameType.REQUEST: _decode_request,
    FrameType.REPLY: _decode_reply,
    FrameType.FAILURE: _decode_failure,
    FrameType.CANCEL: _decode_cancel,
    FrameType.DATA: _decode_data,
    FrameType.ACK: _decode_ack,
}


def encode(frame: Frame, route: int) -> bytes:
    """Return a frame's payload. Raises `ValueOutOfRange` or `PayloadTooLarge` for one that is not valid."""
    encoder = _ENCODERS.get(type(frame))
    if encoder is None:
        raise unfit(f"{type(frame).__name__} cannot be sent")
    return encoder(route, *cast("tuple[Any, ...]", frame))


def decode(payload: bytes) -> Frame:
    """Decode a payload of type `SESSION_TYPE`; return an `UnknownFrame` for a kind or scope not in version 1.

    Raises `UnknownRequiredRecord` for a frame that is not understood (it may be of a later version), and any other
    `MalformedMessage` for a malformed one. `subject` then returns what a failure should name.
    """
    if len(payload) < _LEAST:
        raise truncated("frame should have a kind and two addresses", len(payload))
    decoder = _DECODERS.get(payload[2])
    if decoder is None:
        return UnknownFrame(payload[2])
    return decoder(payload)


def subject(payload: bytes) -> tuple[Scope, int] | None:
    """Return the scope and id for a failure in answer to a payload that `decode` refused.

    None if it belongs to neither a request nor a transfer, or is too short to tell.
    """
    if len(payload) < _SUBJECT.size:
        return None
    scope = _SUBJECTS.get(payload[2])
    return None if scope is None else (scope, _SUBJECT.unpack_from(payload)[0])


def addresses(payload: bytes) -> tuple[int, int]:
    """Return a frame's ``to`` (0 for all instances) and ``from`` (0 is not valid). Raises `Truncated`."""
    try:
        return _ADDRESSES.unpack_from(payload)
    except StructError:
        raise truncated("frame should have a kind and two addresses", len(payload)) from None


def _check_scope(scope: int) -> None:
    if scope not in _SCOPES:
        raise unfit(f"a request ({Scope.REQUEST:d}) or transfer ({Scope.TRANSFER:d}) can end so, not scope {scope}")


def _no_message(content: bytes) -> ValueOutOfRange:
    return unfit(
        f"content should be a message with its type, and no frame itself, not {content[:2].hex() or 'nothing'}"
    )


def _check_inner(payload: bytes, start: int, stop: int) -> None:
    if stop < start + 2:
        raise truncated(f"{kind_name(payload)} should hold a message, with its type", start)
    if payload[start] == 0xC0 and payload[start + 1] == 0xDD:
        raise malformed(f"{kind_name(payload)} should not hold a frame", start)
