"""Where in its log a cache is: a small file beside it, which is only believed as a whole, and within one boot."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from oddwire.cluster.log.entries import Link
from oddwire.session.store.ages import boot_id

__all__ = ["Position", "PositionFile", "digest_of"]

_FORM: Final = struct.Struct(">4s16sQQ16sQQQQ16sQ")
_MAGIC: Final = b"owp1"
_DIGEST: Final = 16
_BLOCK: Final = 1 << 20


class Position(NamedTuple):
    """A place in the log, and how the files are that have what is in the log up to there.

    ``sequence`` and ``link`` are those of the last entry, ``term`` that of its owner, ``commit`` the number of the last
    commit. The database's file has ``size`` bytes with the checksum ``digest``, and of its write-ahead log the first
    ``ahead`` bytes count. The log has ``grown`` by so many bytes since its last snapshot.
    """

    sequence: int
    link: Link
    term: int
    commit: int
    ahead: int = 0
    size: int = 0
    digest: bytes = bytes(_DIGEST)
    grown: int = 0


class PositionFile:
    """The file at ``path``. What an earlier boot wrote is not read: the database is not synced to the disk."""

    def __init__(self, path: Path, *, boot: Callable[[], str] = boot_id) -> None:
        self._path = path
        self._handle = -1
        self._boot = hashlib.blake2b(boot().encode(), digest_size=16).digest()

    def read(self) -> Position | None:
        """Return the position; None if there is none that can be believed."""
        try:
            data = self._path.read_bytes()
        except OSError:
            return None
        raw, digest = data[:-_DIGEST], data[-_DIGEST:]
        if len(raw) != _FORM.size or digest != _digest(raw):
            return None
        magic, boot, sequence, number, link, term, commit, ahead, size, file, grown = _FORM.unpack(raw)
        if magic != _MAGIC or boot != self._boot:
            return None
        return Position(sequence, Link(number, link), term, commit, ahead, size, file, grown)

    def write(self, position: Position) -> None:
        """Write the position. Raises `OSError`."""
        if self._handle < 0:
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        sequence, (number, link), term, commit, ahead, size, file, grown = position
        raw = _FORM.pack(_MAGIC, self._boot, sequence, number, link, term, commit, ahead, size, file, grown)
        os.pwrite(self._handle, raw + _digest(raw), 0)

    def clear(self) -> None:
        """Delete it."""
        self.close()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _digest(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=_DIGEST).digest()


def digest_of(handle: int) -> tuple[int, bytes]:
    """Return the size and the checksum of an open file."""
    found, at = hashlib.blake2b(digest_size=_DIGEST), 0
    while block := os.pread(handle, _BLOCK, at):
        found.update(block)
        at += len(block)
    return at, found.digest()
