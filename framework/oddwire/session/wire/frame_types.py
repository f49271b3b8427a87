"""The session protocol's constants: kinds of frames with their fields, flags, failure codes, fixed limits. No I/O."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

from oddwire.proto.primitives import Buffer

__all__ = [
    "DEFAULT_REQUESTS",
    "FRAGMENT_OVERHEAD",
    "MAX_NUMBER",
    "MAX_STORES",
    "MAX_TEXT",
    "MAX_WINDOW",
    "MIN_PIECE",
    "Ack",
    "AckFlag",
    "Cancel",
    "Code",
    "Data",
    "Failure",
    "Fragment",
    "Frame",
    "FrameType",
    "Hello",
    "HelloFlag",
    "Refusal",
    "Reply",
    "ReplyFlag",
    "Request",
    "Scope",
    "Spoken",
    "UnknownFrame",
    "count_as",
    "describe_code",
]

MAX_NUMBER: Final = 2**62 - 1
"""The greatest epoch, sequence, credit and ack: the sum of two fits a signed 64-bit integer, as databases use."""
MAX_STORES: Final = 32
"""Stores in a hello."""
MAX_TEXT: Final = 1000
"""Bytes in the longest text of a failure or refusal, in UTF-8."""
MAX_WINDOW: Final = 1024
"""Sequences of a lane that may be under way at once, from its base on."""
MIN_PIECE: Final = 1024
"""Bytes in the smallest piece of a transfer, its last one aside."""
FRAGMENT_OVERHEAD: Final = 37
"""Bytes of a fragment that are not its piece."""
DEFAULT_REQUESTS: Final = 16
"""Requests that a peer handles at once if its hello has no *requests* record."""


class FrameType(IntEnum):
    """The kind of a frame: its third byte. 1 to 8 were kinds of a draft whose frames had no addresses."""

    HELLO = 9
    FRAGMENT = 10
    REQUEST = 11
    REPLY = 12
    FAILURE = 13
    CANCEL = 14
    DATA = 15
    ACK = 16


class Scope(IntEnum):
    """What a failure, cancel or ack is about."""

    REQUEST = 1
    TRANSFER = 2
    LANE = 3


class Code(IntEnum):
    """Why a request, a transfer or a reliable message failed. Codes from 1000 on are the application's own."""

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


def describe_code(code: int) -> str:
    """Return a code for people, with its name if it is a `Code`: ``code 9 (TOO_LARGE)``, ``code 1400``."""
    return f"code {code} ({Code(code).name})" if code in _CODES else f"code {code}"


def count_as(code: int) -> str:
    """Return the name under which failures with a code are counted: one of few, whatever codes a peer sends."""
    return Code(code).name.lower() if code in _CODES else "application" if code >= _APPLICATION else "unknown"


_CODES: Final = frozenset(Code)
_APPLICATION: Final = 1000  # the first of the application's own codes


class HelloFlag(IntEnum):
    """Bits of a hello's flags."""

    ANSWER = 1
    """An answer is wanted."""
    LEAVING = 2
    """The session is over; sent to 0, the instance ends, and sends and answers nothing more."""


class ReplyFlag(IntEnum):
    """Bits of a reply's flags; none for the one reply that ends a request."""

    PART = 1
    """A part of a stream; more may follow."""
    END = 2
    """The stream's end; there is no content."""


class AckFlag(IntEnum):
    """Bits of an ack's flags."""

    AGAIN = 1
    """Send again everything after the ack's value."""


# Frames, without their addresses ----------------------------------------------------------------------


def _brief(frame: tuple[object, ...]) -> str:
    """Return a frame's repr with the length of its content in place of the bytes."""
    fields = zip(frame._fields, frame, strict=True)  # type: ignore[attr-defined]
    shown = (f"{name}=<{len(v)} bytes>" if isinstance(v, bytes) else f"{name}={v!r}" for name, v in fields)
    return f"{type(frame).__name__}({', '.join(shown)})"


class Spoken(NamedTuple):
    """An extension in a hello: its name, its versions, and the message types it handles, ascending."""

    name: str
    versions: tuple[str, ...]
    types: tuple[int, ...]


class Hello(NamedTuple):
    """Which program is behind a node, and what it speaks. Its instance is the frame's ``from`` address.

    ``flags`` are of `HelloFlag`, ``lowest`` to ``highest`` the versions of this protocol. ``program`` is the same after
    every start, ``extensions`` ascend by name. ``assembles`` is the max size in bytes of a payload that it reassembles,
    None if it takes no fragments; ``requests`` the max number of requests it handles at once, None for
    `DEFAULT_REQUESTS`. ``stores`` are the numbers of its stores of reliable messages, empty if it lists none.
    """

    flags: int
    lowest: int
    highest: int
    program: int
    extensions: tuple[Spoken, ...] = ()
    assembles: int | None = None
    requests: int | None = None
    stores: tuple[int, ...] = ()


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

    ``wait_ms`` is how many milliseconds the caller waits, None if it does not say. ``urgent`` says that the caller
    handles nothing from the receiver before it has the answer.
    """

    id: int
    credit: int
    content: bytes
    wait_ms: int | None = None
    urgent: bool = False

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
    """The end of a request or transfer without success. ``text`` is for people, and chosen by the peer: escape it."""

    scope: Scope
    id: int
    code: int
    text: str


class Cancel(NamedTuple):
    """The end of a request by its caller, or of a transfer by its sender."""

    scope: Scope
    id: int


class Data(NamedTuple):
    """A payload to deliver reliably: number ``sequence`` of a lane whose sequences below ``base`` are all settled."""

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
    """The total credit of a stream, or the sequence up to which a lane's messages are handled or refused, on disk.

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
