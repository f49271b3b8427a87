"""Snapshots: the database's file in pieces, so that the log before it can go."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import zlib
from typing import Any, Final, NamedTuple

import msgpack

from oddwire.cluster.log.entries import Link
from oddwire.cluster.log.reading import damaged
from oddwire.cluster.log.subject import BEHIND, EndedEarly, LogPlace, Message, Overtaken, append_once, read_to
from oddwire.errors import StoreError
from oddwire.transports.nats.errors import BrokerRefused

__all__ = ["Snapshot", "remove_older", "restore", "snapshot_name", "upload"]

_PIECE: Final = 1 << 20
_NAME: Final = re.compile(r"(\d+)-(\d+)\Z")


class Snapshot(NamedTuple):
    """A copy of the database as of an entry of the log; body of an entry itself.

    ``sequence`` and ``link`` are those of the entry, ``term`` that of its owner, ``commit`` the number of the last
    commit. The copy is in ``pieces`` messages of the subject ``name``; it has ``size`` bytes with a checksum.
    """

    name: str
    sequence: int
    link: Link
    term: int
    commit: int
    pieces: int
    size: int
    digest: bytes

    def pack(self) -> bytes:
        """Return the snapshot as the body of an entry."""
        data: Any = msgpack.packb([*self])
        return bytes(data)

    @classmethod
    def unpack(cls, body: bytes) -> Snapshot:
        """Return the snapshot of a body. Raises `ValueError`."""
        try:
            raw: Any = msgpack.unpackb(body)
            found = cls(*raw)
            found = found._replace(link=Link(*found.link))
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise ValueError(f"no snapshot: {error}") from error
        if not isinstance(found.name, str) or not _NAME.match(found.name):
            raise ValueError("no snapshot: its name is none")
        return found


def snapshot_name(term: int, count: int) -> str:
    """Return the name of an owner's snapshot; no other one has it."""
    return f"{term}-{count}"


async def upload(place: LogPlace, name: str, handle: int) -> tuple[int, int, bytes]:
    """Store the open file in pieces. Return their number, the file's size, and its checksum.

    Raises `StoreError` with reason ``io`` if the file changes meanwhile, or if the broker refuses.
    """
    subject, digest = place.snapshot(name), hashlib.blake2b(digest_size=16)
    step, before = min(_PIECE, place.max_message * 15 // 16 - 64), os.fstat(handle)
    at = sequence = pieces = 0

    def piece() -> tuple[int, bytes]:
        block = os.pread(handle, step, at)
        digest.update(block)
        return len(block), zlib.compress(block, 1)

    try:
        while at < before.st_size:
            length, data = await asyncio.to_thread(piece)
            sequence = await append_once(subject, data, sequence)
            at, pieces = at + length, pieces + 1
            if not length:
                break
    except (Overtaken, BrokerRefused) as error:
        text = f"{subject.name} takes no piece: {str(error) or 'somebody else writes there'}"
        raise StoreError(text, path=subject.name, reason="io") from error
    after = os.fstat(handle)
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, at):
        text = f"another program has written to the file of which {subject.name} is a copy"
        raise StoreError(text, path=subject.name, reason="io")
    return pieces, at, digest.digest()


async def restore(place: LogPlace, snapshot: Snapshot, handle: int, *, patience: int = BEHIND) -> None:
    """Write the copy to an open, empty file. Raises `StoreError` with reason ``corrupt`` if it is not whole."""
    subject, digest = place.snapshot(snapshot.name), hashlib.blake2b(digest_size=16)
    at = sequence = 0
    numbers = iter(range(1, snapshot.pieces + 1))

    def is_last(_: Message) -> bool:
        return next(numbers) == snapshot.pieces

    def write(message: Message) -> int:
        block = zlib.decompress(message.data)
        digest.update(block)
        return os.pwrite(handle, block, at)

    try:
        async for message in read_to(subject, 0, is_last, patience=patience):
            sequence = message.sequence
            at += await asyncio.to_thread(write, message)
    except EndedEarly as error:
        what = f"{snapshot.pieces} pieces of a snapshot should be there, and some are missing"
        raise damaged(subject.name, error.after, what) from error
    except zlib.error as error:
        raise damaged(subject.name, sequence, f"a piece of a snapshot is damaged: {error}") from error
    if (at, digest.digest()) != (snapshot.size, snapshot.digest):
        raise damaged(subject.name, sequence, "the pieces of a snapshot are not those that were written")


async def remove_older(place: LogPlace, name: str) -> None:
    """Remove the pieces of all snapshots before one, also of those that were not finished. Raises as the broker does.

    Those of later owners are left alone: who removes may have been fenced meanwhile.
    """
    for other in await place.snapshots():
        if (found := _place_of(other)) is not None and found < (_place_of(name) or (0, 0)):
            await place.snapshot(other).purge()


def _place_of(name: str) -> tuple[int, int] | None:
    match = _NAME.match(name)
    return None if match is None else (int(match[1]), int(match[2]))
