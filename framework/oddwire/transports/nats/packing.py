"""What a gateway and the owners of partitions say to each other, as msgpack. Pure.

- From gateway to owner, by the stream: `Batch`, what came of the peers of a partition, in order.
- From owner to gateway, by request: `Outgoing`, payloads for peers; answered by `Accepted`.
- Also by request: controls, maps with ``do``; answered by ``{"ok": ...}`` or ``{"error": [code, text]}``.

Both sides are programs of one operator, but neither believes the other: whatever bytes come, decoding raises
`MalformedBatch` and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgpack

from oddwire.proto.keys import NodeId

__all__ = [
    "CONNECTED",
    "DISCONNECTED",
    "MARKER",
    "MAX_BATCH",
    "PAYLOAD",
    "ROOM",
    "VERSION",
    "Accepted",
    "Batch",
    "Entry",
    "MalformedBatch",
    "Outgoing",
    "WrongVersion",
    "pack_control",
    "unpack_control",
]

VERSION: Final = 1
MAX_BATCH: Final = 256 * 1024
"""Bytes of payloads in one batch; one more payload of any length may be in it."""

CONNECTED: Final = 0
"""``[0, conn, address, direction, features]``: a peer has connected."""
PAYLOAD: Final = 1
"""``[1, conn, number, payload]``: a payload of a peer, numbered from 1 by connection."""
DISCONNECTED: Final = 2
"""``[2, conn, reason]``: a peer has disconnected."""
MARKER: Final = 3
"""``[3, term]``: from here on, what comes is for the owner with this term."""
ROOM: Final = 4
"""``[4, conn]``: a peer whose queue was full takes payloads again."""

Entry = list[Any]
"""One of the above."""

_FORMS: Final[Mapping[int, tuple[type, ...]]] = {
    CONNECTED: (int, int, str, str, bytes),
    PAYLOAD: (int, int, int, bytes),
    DISCONNECTED: (int, int, str),
    MARKER: (int, int),
    ROOM: (int, int),
}
_DIRECTIONS: Final = ("in", "out")


class MalformedBatch(ValueError):
    """Bytes at the broker are not what they should be; the text says what is wrong."""


class WrongVersion(MalformedBatch):
    """They are of another version of this protocol: nothing is wrong with them but who reads them."""


class Batch(NamedTuple):
    """What came of the peers of a partition: one message of the stream.

    ``run`` is the gateway's, ``peers`` are the node ids of all connections in ``entries``, by number.
    """

    run: int
    peers: dict[int, NodeId]
    entries: list[Entry]

    def pack(self) -> bytes:
        """Return its bytes."""
        return _packed((VERSION, self.run, self.peers, self.entries))

    @classmethod
    def unpack(cls, raw: bytes) -> Batch:
        """Decode a batch. Raises `MalformedBatch`."""
        run, peers, entries = _array(raw, "batch", 3)
        if not isinstance(peers, dict) or not isinstance(entries, list):
            raise MalformedBatch("a batch is its run, a map of peers, and a list of entries")
        known = {_number(conn, "connection"): _peer(peer) for conn, peer in peers.items()}
        for entry in entries:
            _check(entry, known)
        return cls(_number(run, "run"), known, entries)


class Outgoing(NamedTuple):
    """Payloads for the peers of a partition, in order: ``(conn, payload)`` each.

    ``batch`` counts from 1 in each term: one that is sent again is answered as before, and not sent to peers again.
    """

    partition: int
    term: int
    run: int
    batch: int
    payloads: Sequence[tuple[int, bytes]]

    def pack(self) -> bytes:
        """Return its bytes."""
        return _packed((VERSION, *self))

    @classmethod
    def unpack(cls, raw: bytes) -> Outgoing:
        """Decode one. Raises `MalformedBatch`."""
        *numbers, payloads = _array(raw, "request to send", 5)
        partition, term, run, batch = (
            _number(number, name) for number, name in zip(numbers, ("partition", "term", "run", "batch"), strict=True)
        )
        if not isinstance(payloads, list):
            raise MalformedBatch("a request to send has a list of payloads")
        for one in payloads:
            if not (isinstance(one, list) and len(one) == 2 and type(one[0]) is int and type(one[1]) is bytes):
                raise MalformedBatch("a payload to send is its connection's number and its bytes")
        return cls(partition, term, run, batch, payloads)


class Accepted(NamedTuple):
    """A gateway's answer to `Outgoing`.

    ``status`` is "" for a batch that was taken, else the reason why nothing of it was: ``stale`` (there is a later
    term), ``run`` (the gateway is another one now), ``partition``, ``batch`` (a number was left out), ``malformed``;
    ``text`` says it to people. ``refused`` are payloads that were not taken: index, reason (``gone``, ``reserved``,
    ``length``), text. ``full`` are connections that should get nothing more until their `ROOM`.
    """

    status: str = ""
    text: str = ""
    refused: Sequence[tuple[int, str, str]] = ()
    full: Sequence[int] = ()

    def pack(self) -> bytes:
        """Return its bytes."""
        return _packed((VERSION, *self))

    @classmethod
    def unpack(cls, raw: bytes) -> Accepted:
        """Decode one. Raises `MalformedBatch`."""
        status, text, refused, full = _array(raw, "answer", 4)
        if not (isinstance(status, str) and isinstance(text, str)):
            raise MalformedBatch("an answer has a status and a text")
        if not (isinstance(refused, list) and isinstance(full, list) and all(type(conn) is int for conn in full)):
            raise MalformedBatch("an answer has lists of what was refused, and of what is full")
        for one in refused:
            if not (isinstance(one, list) and [type(part) for part in one] == [int, str, str]):
                raise MalformedBatch("what was refused has an index, a reason and a text")
        return cls(status, text, [(index, reason, said) for index, reason, said in refused], full)


def pack_control(values: Mapping[str, Any]) -> bytes:
    """Return the bytes of a control, or of the answer to one. Raises `TypeError` for what msgpack does not hold."""
    return _packed(values)


def unpack_control(raw: bytes) -> dict[str, Any]:
    """Decode a control, or the answer to one. Raises `MalformedBatch`."""
    values = _unpack(raw, "control")
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise MalformedBatch("a control is a map by names")
    return values


def _packed(values: Any) -> bytes:
    packed: bytes = msgpack.packb(values)  # pyright: ignore[reportAssignmentType]
    return packed


def _unpack(raw: bytes, what: str) -> Any:
    try:
        return msgpack.unpackb(raw, strict_map_key=False)
    except Exception as error:
        raise MalformedBatch(f"a {what} that is not msgpack: {error or type(error).__name__}") from error


def _array(raw: bytes, what: str, parts: int) -> list[Any]:
    values = _unpack(raw, what)
    if not isinstance(values, list) or not values:
        raise MalformedBatch(f"a {what} is an array")
    if values[0] != VERSION:
        raise WrongVersion(
            f"a {what} of version {values[0]!r:.20}; this program knows {VERSION}: run one oddwire at both ends"
        )
    if len(values) != parts + 1:
        raise MalformedBatch(f"a {what} of version {VERSION} has {parts + 1} parts, not {len(values)}")
    return values[1:]


def _number(value: Any, what: str) -> int:
    if type(value) is not int or value < 0:
        raise MalformedBatch(f"the {what} is a number from 0, not {value!r:.60}")
    return value


_node_id = lru_cache(maxsize=1 << 14)(NodeId)  # the same few in each batch


def _peer(value: Any) -> NodeId:
    try:
        return _node_id(value)
    except (TypeError, ValueError) as error:
        raise MalformedBatch(str(error)) from error


def _check(entry: Any, peers: Mapping[int, NodeId]) -> None:
    if not isinstance(entry, list) or not entry or type(entry[0]) is not int or entry[0] not in _FORMS:
        raise MalformedBatch(f"not an entry of a batch: {entry!r:.60}")
    if tuple(map(type, entry)) != _FORMS[entry[0]]:
        raise MalformedBatch(f"an entry of kind {entry[0]} has other parts: {entry!r:.60}")
    if entry[0] != MARKER and entry[1] not in peers:
        raise MalformedBatch(f"connection {entry[1]} is nobody's in its batch")
    if entry[0] == CONNECTED and entry[3] not in _DIRECTIONS:
        raise MalformedBatch(f"a direction is in or out, not {entry[3]!r:.20}")
