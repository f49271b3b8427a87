"""`Transfers`: messages put together of the session protocol's fragments, as they come by in a log."""

from __future__ import annotations

from typing import Final

from oddwire.errors import DecodeError
from oddwire.session.constants import SESSION_TYPE_BYTES
from oddwire.session.wire.frame_types import Fragment, FrameType
from oddwire.session.wire.frames import addresses, decode

__all__ = ["Transfers"]

_MOST_BYTES: Final = 64 << 20
"""Bytes of all transfers under way; the oldest are given up for others."""

_Key = tuple[str, int, int]


class _Transfer:
    __slots__ = ("pieces", "size", "total")

    def __init__(self, total: int) -> None:
        self.total = total
        self.size = 0
        self.pieces: dict[int, bytes] = {}


class Transfers:
    """Pieces of transfers, by where they come from. Memory is bounded: what is never completed makes room.

    ``size`` is the number of bytes that are kept.
    """

    def __init__(self) -> None:
        self._open: dict[_Key, _Transfer] = {}
        self.size = 0

    def add(self, way: str, payload: bytes) -> bytes | None:
        """Take a payload that passed by, and return the whole one that it completes, if it does.

        ``way`` tells apart whose transfers are numbered by themselves: peer and direction.
        """
        if payload[:2] != SESSION_TYPE_BYTES or payload[2:3] != bytes([FrameType.FRAGMENT]):
            return None
        try:
            frame = decode(payload)
            _, sender = addresses(payload)
        except DecodeError:
            return None
        if not isinstance(frame, Fragment) or frame.total > _MOST_BYTES:
            return None
        key = (way, sender, frame.transfer)
        transfer = self._open.get(key)
        if transfer is None or transfer.total != frame.total:
            self._drop(key)
            transfer = self._open[key] = _Transfer(frame.total)
        if frame.piece not in transfer.pieces:
            transfer.pieces[frame.piece] = bytes(frame.content)
            transfer.size += len(frame.content)
            self.size += len(frame.content)
        if transfer.size < transfer.total:
            while self.size > _MOST_BYTES:
                self._drop(next(iter(self._open)))
            return None
        whole = b"".join(transfer.pieces[number] for number in sorted(transfer.pieces))
        self._drop(key)
        return whole if len(whole) == frame.total else None

    def _drop(self, key: _Key) -> None:
        transfer = self._open.pop(key, None)
        if transfer is not None:
            self.size -= transfer.size
