"""The frames of the session protocol and their bytes (docs/session-protocol.md). No I/O.

Each `encode_x` stands beside the `_decode_x` that reads it. A frame here is a whole payload, its two-byte type
included; longer than 65535 bytes it travels in fragments, which is not this module's business.

Decoders check all that one frame shows by itself. Whether it fits what went before is for who keeps that, and so are
the sizes and numbers of fragments: one that is wrong fails its transfer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from itertools import pairwise
from struct import Struct
from struct import error as StructError  # noqa: N812 - an exception's name
from typing import Any, Final, NamedTuple, TypeAlias, cast

from oddwire.errors import MalformedMessage, PayloadTooLarge, Truncated, UnknownRequiredRecord, ValueOutOfRange
from oddwire.proto.primitives import MAX_MESSAGE, Buffer, build_tlv_stream, parse_tlv_stream, tu_decode, tu_encode

__all__ = [
    "DEFAULT_REQUESTS",
    "FRAGMENT_OVERHEAD",
    "MAX_EXTENSIONS",
    "MAX_HELLO",
    "MAX_TEXT",
    "MAX_WINDOW",
    "MIN_PIECE",
    "SESSION_TYPE",
    "SESSION_TYPE_BYTES",
    "Ack",
    "AckFlag",
    "Cancel",
    "Code",
    "Data",
    "Failure",
    "Fragment",
    "Frame",
    "Hello",
    "HelloFlag",
    "Kind",
    "Refusal",
    "Reply",
    "ReplyFlag",
    "Request",
    "Scope",
    "Spoken",
    "UnknownFrame",
    "clip",
    "decode",
    "encode",
    "encode_ack",
    "encode_cancel",
    "encode_data",
    "encode_failure",
    "encode_fragment",
    "encode_hello",
    "encode_reply",
    "encode_request",
    "fit_refusals",
    "subject",
]

SESSION_TYPE: Final = 0xC0DD
SESSION_TYPE_BYTES: Final = b"\xc0\xdd"

MAX_HELLO: Final = 32768
"""Bytes in the longest content of a hello."""
MAX_EXTENSIONS: Final = 255
"""Extensions in a hello."""
MAX_TEXT: Final = 1000
"""Bytes in the longest text of a failure or refusal, in UTF-8."""
MAX_WINDOW: Final = 1024
"""Sequences of a lane that may be under way at once, from its base on."""
MIN_PIECE: Final = 1024
"""Bytes in the smallest piece of a transfer, its last one aside."""
FRAGMENT_OVERHEAD: Final = 29
"""Bytes of a fragment that are not its piece."""
DEFAULT_REQUESTS: Final = 16
"""Requests that a peer handles at once if its hello does not say."""

# Extension versions: numbers joined by dots, so that equal versions are equal texts.
_VERSION = re.compile(r"(?:0|[1-9][0-9]{0,8})(?:\.(?:0|[1-9][0-9]{0,8}))*", re.ASCII)
_NAME = re.compile(rb"[\x21-\x7e]{1,255}")


class Kind(IntEnum):
    """What a frame is: its third byte."""

    HELLO = 1
    FRAGMENT = 2
    REQUEST = 3
    REPLY = 4
    FAILURE = 5
    CANCEL = 6
    DATA = 7
    ACK = 8


class Scope(IntEnum):
    """What a failure, cancel or ack is about."""

    REQUEST = 1
    TRANSFER = 2
    LANE = 3


class Code(IntEnum):
    """Why a request, a transfer or a reliable message failed; from 1000 on they are the application's own."""

    INTERNAL = 1
    UNKNOWN_MESSAGE = 2
    MALFORMED = 3
    REFUSED = 4
    QUOTA = 5
    NOT_ALLOWED = 6
    NO_REPLY = 7
    UNSUPPORTED = 8
    TOO_LARGE = 9
    EXPIRED = 10


class HelloFlag(IntEnum):
    """Bits of a hello's flags."""

    ANSWER = 1
    """An answer is wanted."""


class ReplyFlag(IntEnum):
    """Bits of a reply's flags; none for the one reply that ends a request."""

    PART = 1
    """A part of a stream; more may follow."""
    END = 2
    """The stream's end; there is no content."""


class AckFlag(IntEnum):
    """Bits of an ack's flags."""

    AGAIN = 1
    """Send again from the value after this one."""


# Frames -----------------------------------------------------------------------------------------------


def _brief(frame: tuple[object, ...]) -> str:
    """Show a frame without its content's bytes."""
    fields = zip(frame._fields, frame, strict=True)  # type: ignore[attr-defined]
    shown = (f"{name}=<{len(v)} bytes>" if isinstance(v, bytes) else f"{name}={v!r}" for name, v in fields)
    return f"{type(frame).__name__}({', '.join(shown)})"


class Spoken(NamedTuple):
    """An extension in a hello: its name, the versions it speaks, and the message types it takes, ascending."""

    name: str
    versions: tuple[str, ...]
    types: tuple[int, ...]


class Hello(NamedTuple):
    """What a peer is and speaks.

    ``lowest`` to ``highest`` are the versions of this protocol, ``instance`` is another number after every start,
    ``extensions`` ascend by name. ``assembles`` is the size in bytes of the largest payload it puts together of
    fragments, None if it takes none; ``requests`` how many requests it handles at once, None for `DEFAULT_REQUESTS`.
    """

    flags: int
    lowest: int
    highest: int
    instance: int
    extensions: tuple[Spoken, ...] = ()
    assembles: int | None = None
    requests: int | None = None


class Fragment(NamedTuple):
    """Piece number ``piece``, from 0 on, of a payload of ``total`` bytes that was cut every ``size`` bytes."""

    transfer: int
    total: int
    size: int
    piece: int
    content: Buffer

    def __repr__(self) -> str:
        return _brief(self)


class Request(NamedTuple):
    """A payload to answer: by one reply if ``credit`` is 0, else by a stream of which ``credit`` parts may come.

    ``wait_ms`` is how many milliseconds the caller waits, if it says so.
    """

    id: int
    credit: int
    content: bytes
    wait_ms: int | None = None

    def __repr__(self) -> str:
        return _brief(self)


class Reply(NamedTuple):
    """A payload that answers request ``id``; ``flags`` are of `ReplyFlag`."""

    id: int
    flags: int
    content: bytes

    def __repr__(self) -> str:
        return _brief(self)


class Failure(NamedTuple):
    """The end of a request or transfer without success. ``text`` is for people, and the peer's: escape it."""

    scope: Scope
    id: int
    code: int
    text: str


class Cancel(NamedTuple):
    """What a request's caller or a transfer's sender gives up."""

    scope: Scope
    id: int


class Data(NamedTuple):
    """A payload to deliver reliably: number ``sequence`` of a lane, of which all below ``base`` is settled."""

    lane: int
    epoch: int
    base: int
    sequence: int
    content: bytes

    def __repr__(self) -> str:
        return _brief(self)


class Refusal(NamedTuple):
    """A reliable message that was refused for good."""

    sequence: int
    code: int
    text: str


class Ack(NamedTuple):
    """How far things are: the credit of a stream, or the last message of a lane that was handled and is on disk.

    ``id`` is the request or lane. ``failures`` ascend by sequence, none above ``value``.
    """

    scope: Scope
    flags: int
    id: int
    epoch: int
    value: int
    failures: tuple[Refusal, ...] = ()


class UnknownFrame(NamedTuple):
    """A frame of a kind, or with a scope, that version 1 does not know: to be ignored."""

    kind: int


Frame: TypeAlias = Hello | Fragment | Request | Reply | Failure | Cancel | Data | Ack | UnknownFrame


# Headers, up to and with the content's length
_HELLO = Struct(">HBBBBQI")
_FRAGMENT = Struct(">HBQQHII")
_REQUEST = Struct(">HBQII")
_REPLY = Struct(">HBQBI")
_FAILURE = Struct(">HBBQHI")
_CANCEL = Struct(">HBBQI")
_DATA = Struct(">HBQQQQI")
_ACK = Struct(">HBBBQQQI")
_REFUSAL = Struct(">QHH")
_U64 = Struct(">Q")

_ASSEMBLES, _REQUESTS = 1, 3  # records of a hello
_WAIT = 1  # of a request

_NO_RECORDS: Final[Mapping[int, int]] = {}
_HELLO_RECORDS: Final[Mapping[int, int]] = {_ASSEMBLES: 8, _REQUESTS: 4}
_REQUEST_RECORDS: Final[Mapping[int, int]] = {_WAIT: 4}

_SCOPES: Final[Mapping[int, Scope]] = {1: Scope.REQUEST, 2: Scope.TRANSFER}
_SUBJECTS: Final[Mapping[int, Scope]] = {Kind.REQUEST: Scope.REQUEST, Kind.FRAGMENT: Scope.TRANSFER}
_ACK_SCOPES: Final[Mapping[int, Scope]] = {1: Scope.REQUEST, 3: Scope.LANE}


# Hello ------------------------------------------------------------------------------------------------


def encode_hello(
    flags: int,
    lowest: int,
    highest: int,
    instance: int,
    extensions: Iterable[Spoken] = (),
    assembles: int | None = None,
    requests: int | None = None,
) -> bytes:
    """Give a hello's payload. Raises `ValueOutOfRange`, also for extensions or types that do not ascend."""
    if not 1 <= lowest <= highest:
        raise _unfit(f"hello speaks versions from 1 on, the lowest first, not {lowest} to {highest}")
    content = bytearray()
    last, count = b"", 0
    for count, (text, versions, types) in enumerate(extensions, 1):  # noqa: B007 - counted
        name = text.encode("utf-8", "replace")
        if not _NAME.fullmatch(name):
            raise _unfit(f"extension's name should be 1 to 255 printable ASCII characters without space, not {text!r}")
        if name <= last:
            raise _unfit(f"extensions should ascend by name: {text!r} follows {last.decode()!r}")
        last = name
        if not 1 <= len(versions) <= 255:
            raise _unfit(f"extension {text!r} should have 1 to 255 versions, not {len(versions)}")
        content += bytes([len(name)]) + name + bytes([len(versions)])
        for version in versions:
            if len(version) > 255 or not _VERSION.fullmatch(version):
                raise _unfit(f"version of {text!r} should be numbers joined by dots such as '1.0', not {version!r}")
            content += bytes([len(version)]) + version.encode()
        if not _ascend(types):
            raise _unfit(f"types of {text!r} should ascend: {types}")
        try:
            content += Struct(f">H{len(types)}H").pack(len(types), *types)
        except StructError:
            raise _unfit(f"types of {text!r} should be 0 to 65535, and fewer than 65536: {types}") from None
    if count > MAX_EXTENSIONS:
        raise _unfit(f"hello should have at most {MAX_EXTENSIONS} extensions, not {count}")
    if len(content) > MAX_HELLO:
        raise PayloadTooLarge(f"hello's extensions take {len(content)} bytes; {MAX_HELLO} are allowed")
    records = []
    if assembles is not None:
        records.append((_ASSEMBLES, tu_encode(assembles, 8)))
    if requests is not None:
        records.append((_REQUESTS, tu_encode(requests, 4)))
    head = _pack(_HELLO, Kind.HELLO, flags, lowest, highest, instance, len(content))
    return head + content + build_tlv_stream(records)


def _decode_hello(payload: bytes) -> Hello:
    _, _, flags, lowest, highest, instance, length = _unpack(_HELLO, payload)
    stop = _HELLO.size + length
    told = _records(payload, stop, _HELLO_RECORDS)
    if not 1 <= lowest <= highest:
        raise _malformed(f"hello's versions should be 1 or more, the lowest first, not {lowest} to {highest}", 4)
    if length > MAX_HELLO:
        raise _malformed(f"hello's extensions take {length} bytes; {MAX_HELLO} are allowed", _HELLO.size - 4)
    extensions: list[Spoken] = []
    at, last = _HELLO.size, b""
    while at < stop:
        start = at
        name, at = _counted(payload, at, stop)
        if not _NAME.fullmatch(name):
            raise _malformed("extension's name should be 1 or more printable ASCII characters without space", start)
        if name <= last:
            raise _malformed(f"extensions should ascend by name: {name!r} follows {last!r}", start)
        last = name
        versions, at = _decode_versions(payload, at, stop)
        types, at = _decode_types(payload, at, stop)
        extensions.append(Spoken(name.decode(), versions, types))
    if len(extensions) > MAX_EXTENSIONS:
        raise _malformed(f"hello has {len(extensions)} extensions; {MAX_EXTENSIONS} are allowed", _HELLO.size)
    return Hello(flags, lowest, highest, instance, tuple(extensions), told.get(_ASSEMBLES), told.get(_REQUESTS))


def _decode_versions(payload: bytes, at: int, stop: int) -> tuple[tuple[str, ...], int]:
    if at >= stop:
        raise _truncated("extension's number of versions is missing", at)
    count = payload[at]
    if not count:
        raise _malformed("extension should have a version", at)
    at += 1
    versions: list[str] = []
    for _ in range(count):
        start = at
        raw, at = _counted(payload, at, stop)
        version = raw.decode("ascii", "replace")
        if not _VERSION.fullmatch(version):
            raise _malformed(f"version should be numbers joined by dots such as '1.0', not {raw!r}", start)
        versions.append(version)
    return tuple(versions), at


def _decode_types(payload: bytes, at: int, stop: int) -> tuple[tuple[int, ...], int]:
    end = at + 2
    if end > stop:
        raise _truncated("extension's number of types is missing", at)
    count = int.from_bytes(payload[at:end], "big")
    if end + 2 * count > stop:
        raise _truncated(f"extension has {count} types by their number, {stop - end} bytes remain", at)
    types = Struct(f">{count}H").unpack_from(payload, end)
    if not _ascend(types):
        raise _malformed("extension's types should ascend", end)
    return types, end + 2 * count


def _counted(payload: bytes, at: int, stop: int) -> tuple[bytes, int]:
    end = at + 1 + payload[at] if at < stop else stop + 1
    if end > stop:
        raise _truncated("text goes on after the hello's content", at)
    return payload[at + 1 : end], end


def _ascend(numbers: tuple[int, ...]) -> bool:
    return all(a < b for a, b in pairwise(numbers))


# Fragments --------------------------------------------------------------------------------------------


def encode_fragment(transfer: int, total: int, size: int, piece: int, content: Buffer) -> bytes:
    """Give a fragment's payload. Raises `ValueOutOfRange`; that the numbers fit each other is the caller's care."""
    return b"".join((_pack(_FRAGMENT, Kind.FRAGMENT, transfer, total, size, piece, len(content)), content))


def _decode_fragment(payload: bytes) -> Fragment:
    try:
        _, _, transfer, total, size, piece, length = _FRAGMENT.unpack_from(payload)
    except StructError:
        raise _short(_FRAGMENT, payload) from None
    stop = 29 + length
    if stop != len(payload):
        _records(payload, stop, _NO_RECORDS)
    return Fragment(transfer, total, size, piece, payload[29:stop])


# Requests ---------------------------------------------------------------------------------------------


def encode_request(id: int, credit: int, content: bytes, wait_ms: int | None = None) -> bytes:  # noqa: A002
    """Give a request's payload. Raises `ValueOutOfRange`."""
    head = _pack(_REQUEST, Kind.REQUEST, id, credit, len(content))
    if wait_ms is None:
        return head + content
    return head + content + build_tlv_stream([(_WAIT, tu_encode(wait_ms, 4))])


def _decode_request(payload: bytes) -> Request:
    try:
        _, _, number, credit, length = _REQUEST.unpack_from(payload)
    except StructError:
        raise _short(_REQUEST, payload) from None
    stop = 19 + length
    told = _records(payload, stop, _REQUEST_RECORDS) if stop != len(payload) else _NO_RECORDS
    _check_inner(payload, 19, stop)
    return Request(number, credit, payload[19:stop], told.get(_WAIT))


def encode_reply(id: int, flags: int, content: bytes) -> bytes:  # noqa: A002
    """Give a reply's payload; that of a stream's end has no content. Raises `ValueOutOfRange`."""
    return _pack(_REPLY, Kind.REPLY, id, flags, len(content)) + content


def _decode_reply(payload: bytes) -> Reply:
    try:
        _, _, number, flags, length = _REPLY.unpack_from(payload)
    except StructError:
        raise _short(_REPLY, payload) from None
    stop = 16 + length
    if stop != len(payload):
        _records(payload, stop, _NO_RECORDS)
    if flags & 2:
        if flags & 1 or length:
            raise _malformed("stream's end should be no part and have no content", 11)
    else:
        _check_inner(payload, 16, stop)
    return Reply(number, flags, payload[16:stop])


def encode_failure(scope: int, id: int, code: int, text: str) -> bytes:  # noqa: A002
    """Give a failure's payload. Raises `ValueOutOfRange`, also for a text that `clip` would shorten."""
    raw = _encode_text(text)
    return _pack(_FAILURE, Kind.FAILURE, scope, id, code, len(raw)) + raw


def _decode_failure(payload: bytes) -> Failure | UnknownFrame:
    _, kind, number, about, code, length = _unpack(_FAILURE, payload)
    scope = _SCOPES.get(number)
    if scope is None:
        return UnknownFrame(kind)
    stop = _FAILURE.size + length
    _records(payload, stop, _NO_RECORDS)
    return Failure(scope, about, code, _decode_text(payload, _FAILURE.size, stop))


def encode_cancel(scope: int, id: int) -> bytes:  # noqa: A002
    """Give a cancel's payload. Raises `ValueOutOfRange`."""
    return _pack(_CANCEL, Kind.CANCEL, scope, id, 0)


def _decode_cancel(payload: bytes) -> Cancel | UnknownFrame:
    _, kind, number, about, length = _unpack(_CANCEL, payload)
    scope = _SCOPES.get(number)
    if scope is None:
        return UnknownFrame(kind)
    _records(payload, _CANCEL.size + length, _NO_RECORDS)
    if length:
        raise _malformed("cancel should have no content", _CANCEL.size - 4)
    return Cancel(scope, about)


# Reliable delivery ------------------------------------------------------------------------------------


def encode_data(lane: int, epoch: int, base: int, sequence: int, content: bytes) -> bytes:
    """Give the payload of a reliable message. Raises `ValueOutOfRange`."""
    if not 1 <= base <= sequence < base + MAX_WINDOW or not epoch:
        raise _unfit(
            f"data should have an epoch from 1 on, and a sequence at most {MAX_WINDOW - 1} above its base, "
            f"not epoch {epoch}, base {base}, sequence {sequence}"
        )
    return _pack(_DATA, Kind.DATA, lane, epoch, base, sequence, len(content)) + content


def _decode_data(payload: bytes) -> Data:
    try:
        _, _, lane, epoch, base, sequence, length = _DATA.unpack_from(payload)
    except StructError:
        raise _short(_DATA, payload) from None
    stop = 39 + length
    if stop != len(payload):
        _records(payload, stop, _NO_RECORDS)
    if not 1 <= base <= sequence < base + MAX_WINDOW:
        raise _malformed(f"sequence should be at most {MAX_WINDOW - 1} above its base, not {sequence} of {base}", 19)
    if not epoch:
        raise _malformed("epoch should not be 0", 11)
    _check_inner(payload, 39, stop)
    return Data(lane, epoch, base, sequence, payload[39:stop])


def encode_ack(
    scope: int,
    flags: int,
    id: int,  # noqa: A002
    epoch: int,
    value: int,
    failures: Iterable[Refusal] = (),
) -> bytes:
    """Give an ack's payload. Raises `ValueOutOfRange`; `PayloadTooLarge` for failures that `fit_refusals` would cut."""
    content, last = bytearray(), 0
    for sequence, code, text in failures:
        if not last < sequence <= value or scope != Scope.LANE:
            raise _unfit(f"failures ascend up to the lane's value {value}: {sequence} follows {last}")
        last = sequence
        raw = _encode_text(text)
        try:
            content += _REFUSAL.pack(sequence, code, len(raw)) + raw
        except StructError:
            raise _unfit(f"failure's sequence should fit 64 bits and its code 16, not {sequence} and {code}") from None
    if bool(epoch) is not (scope == Scope.LANE):
        raise _unfit(f"epoch should be 0 for a stream and not for a lane, not {epoch}")
    if _ACK.size + len(content) > MAX_MESSAGE:
        raise PayloadTooLarge(f"ack of {_ACK.size + len(content)} bytes; {MAX_MESSAGE} are allowed")
    return _pack(_ACK, Kind.ACK, scope, flags, id, epoch, value, len(content)) + content


def _decode_ack(payload: bytes) -> Ack | UnknownFrame:
    _, kind, number, flags, about, epoch, value, length = _unpack(_ACK, payload)
    scope = _ACK_SCOPES.get(number)
    if scope is None:
        return UnknownFrame(kind)
    stop = _ACK.size + length
    if stop != len(payload):
        _records(payload, stop, _NO_RECORDS)
    if bool(epoch) is not (scope is Scope.LANE):
        raise _malformed(f"epoch should be 0 for a stream and not for a lane, not {epoch}", 13)
    if not length:
        return Ack(scope, flags, about, epoch, value)
    if scope is not Scope.LANE:
        raise _malformed("stream's ack should have no content", _ACK.size)
    return Ack(scope, flags, about, epoch, value, _decode_refusals(payload, stop, value))


def _decode_refusals(payload: bytes, stop: int, value: int) -> tuple[Refusal, ...]:
    failures: list[Refusal] = []
    at, last = _ACK.size, 0
    while at < stop:
        start = at + _REFUSAL.size
        if start > stop:
            raise _truncated(f"failure needs {_REFUSAL.size} bytes, {stop - at} remain", at)
        sequence, code, size = _REFUSAL.unpack_from(payload, at)
        if not last < sequence <= value:
            raise _malformed(f"failures should ascend up to {value}: {sequence} follows {last}", at)
        last = sequence
        at = start + size
        if at > stop:
            raise _truncated(f"failure's text has {size} bytes by its length, {stop - start} remain", start - 2)
        failures.append(Refusal(sequence, code, _decode_text(payload, start, at)))
    return tuple(failures)


def fit_refusals(failures: Iterable[Refusal]) -> tuple[Refusal, ...]:
    """Shorten texts, the longest first, until all of them fit one ack. Takes up to `MAX_WINDOW` of them."""
    told = tuple(failures)
    room = MAX_MESSAGE - _ACK.size - _REFUSAL.size * len(told)
    sizes = [len(clip(refusal.text).encode()) for refusal in told]
    if sum(sizes) <= room:
        return told
    least, most = 0, MAX_TEXT  # the greatest length to which all can be cut
    while least < most:
        middle = (least + most + 1) // 2
        if sum(min(size, middle) for size in sizes) <= room:
            least = middle
        else:
            most = middle - 1
    return tuple(refusal._replace(text=clip(refusal.text, least)) for refusal in told)


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
    Kind.HELLO: _decode_hello,
    Kind.FRAGMENT: _decode_fragment,
    Kind.REQUEST: _decode_request,
    Kind.REPLY: _decode_reply,
    Kind.FAILURE: _decode_failure,
    Kind.CANCEL: _decode_cancel,
    Kind.DATA: _decode_data,
    Kind.ACK: _decode_ack,
}


def encode(frame: Frame) -> bytes:
    """Give a frame's whole payload. Raises `ValueOutOfRange` or `PayloadTooLarge` for what no peer would take."""
    encoder = _ENCODERS.get(type(frame))
    if encoder is None:
        raise _unfit(f"{type(frame).__name__} cannot be sent")
    return encoder(*cast("tuple[Any, ...]", frame))


def decode(payload: bytes) -> Frame:
    """Read a payload of type `SESSION_TYPE`, an `UnknownFrame` if version 1 does not know it.

    Raises `MalformedMessage` kinds: `UnknownRequiredRecord` for a frame of later days that we do not understand,
    any other for one that is wrong. `subject` tells whom to answer.
    """
    if len(payload) < 3:
        raise _truncated("frame should have a kind", len(payload))
    decoder = _DECODERS.get(payload[2])
    if decoder is None:
        return UnknownFrame(payload[2])
    return decoder(payload)


def subject(payload: bytes) -> tuple[Scope, int] | None:
    """Give what a failure should name if `decode` refused ``payload``: the request or transfer that it belongs to.

    None if it belongs to none, or is too short to tell.
    """
    if len(payload) < 11:
        return None
    scope = _SUBJECTS.get(payload[2])
    return None if scope is None else (scope, _U64.unpack_from(payload, 3)[0])


def clip(text: str, size: int = MAX_TEXT) -> str:
    """Cut a text to at most ``size`` bytes of UTF-8, between characters; what UTF-8 cannot hold becomes ``?``."""
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore")


# What they share --------------------------------------------------------------------------------------


def _pack(header: Struct, kind: Kind, *values: int) -> bytes:
    try:
        return header.pack(SESSION_TYPE, kind, *values)
    except StructError as error:
        raise _unfit(f"{kind.name.lower()}'s header does not hold {values}: {error}") from None


def _unpack(header: Struct, payload: bytes) -> tuple[int, ...]:
    if len(payload) < header.size:
        raise _short(header, payload)
    return header.unpack_from(payload)


def _records(payload: bytes, stop: int, known: Mapping[int, int]) -> Mapping[int, int]:
    """Read the records after the content, which ends at ``stop``; those ``known`` are integers of so many bytes."""
    if stop > len(payload):
        raise _truncated(f"content ends {stop - len(payload)} bytes after the frame, by its length", len(payload))
    told: dict[int, int] = {}
    try:
        for record, start, end in parse_tlv_stream(payload, stop):
            if record in known:
                told[record], _ = tu_decode(payload, known[record], start, end)
            elif record % 2 == 0:
                raise UnknownRequiredRecord(f"{_name(payload)} has unknown even TLV record {record}", offset=start)
    except MalformedMessage as error:
        error.type_id = SESSION_TYPE
        raise
    return told


def _check_inner(payload: bytes, start: int, stop: int) -> None:
    if stop < start + 2:
        raise _truncated(f"{_name(payload)} should hold a message, with its type", start)
    if payload[start] == 0xC0 and payload[start + 1] == 0xDD:
        raise _malformed(f"{_name(payload)} should not hold a frame", start)


def _encode_text(text: str) -> bytes:
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raise _unfit(f"text should be Unicode that UTF-8 holds, not {text!r}") from None
    if len(raw) > MAX_TEXT:
        raise _unfit(f"text should be at most {MAX_TEXT} bytes of UTF-8, not {len(raw)}")
    return raw


def _decode_text(payload: bytes, start: int, stop: int) -> str:
    if stop - start > MAX_TEXT:
        raise _malformed(f"text should be at most {MAX_TEXT} bytes, not {stop - start}", start)
    try:
        return payload[start:stop].decode()
    except UnicodeDecodeError as error:
        raise _malformed("text should be UTF-8", start + error.start) from None


def _name(payload: bytes) -> str:
    return Kind(payload[2]).name.lower()


def _short(header: Struct, payload: bytes) -> Truncated:
    text = f"{_name(payload)} should have {header.size} bytes before its content, not {len(payload)}"
    return _truncated(text, len(payload))


def _truncated(text: str, offset: int) -> Truncated:
    return Truncated(text, type_id=SESSION_TYPE, offset=offset)


def _malformed(text: str, offset: int) -> MalformedMessage:
    return MalformedMessage(text, type_id=SESSION_TYPE, offset=offset)


def _unfit(text: str) -> ValueOutOfRange:
    return ValueOutOfRange(text, type_id=SESSION_TYPE)
