"""Files on disk: the one that is offered, and the part of one that has arrived. All of this blocks: call it in threads.

A part lies in the folder ``.quarantine`` of the folder that the file is accepted for, for its owner alone. Folders are
opened once and names are looked up in them, without following links, so nobody who can write beside them leads a write
elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from oddwire_extensions.filedrop.names import candidates
from oddwire_extensions.filedrop.quarantine import (
    QUARANTINE,
    SUFFIX,
    open_quarantine,
    read_note,
    remove_note,
    write_note,
)

__all__ = ["SLICE", "Hashed", "Part", "Source"]

SLICE: Final = 8 << 20
"""Bytes that are hashed by one call, so that a thread is busy for some milliseconds and no more."""

_NO_LINKS: Final = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}


class Hashed(NamedTuple):
    """How many bytes of a part were hashed, their hash, and the part's mark then: it changes with any write to it."""

    size: int
    hash: hashlib._Hash
    mark: str


class Source:
    """A file of ours that is read, once it is open. ``mark`` changes when it is written to, or replaced by another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def open(self) -> None:
        """Open it. Raises `OSError`, and `ValueError` for what is no regular file, or a link."""
        try:
            # O_NONBLOCK: a pipe would have us wait for who writes to it
            self._file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise ValueError(f"{self._path} should be a file, not a link") from None
            raise
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            raise ValueError(f"{self._path} should be a file")

    @property
    def size(self) -> int:
        """Bytes of the file now."""
        return os.fstat(self._file).st_size

    @property
    def mark(self) -> str:
        """The file's number, size and time of change."""
        return _mark(self._file)

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset`` on; fewer only at the end of the file."""
        data = os.pread(self._file, size, offset)
        while len(data) < size and (more := os.pread(self._file, size - len(data), offset + len(data))):
            data += more
        return data

    def read_marked(self, offset: int, size: int) -> tuple[bytes, str]:
        """Return what `read` does, and the mark after that."""
        return self.read(offset, size), self.mark

    def close(self) -> None:
        """Close it, if it is open."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


class Part:
    """The first ``size`` bytes of a file that is being received, once open, and their hash: `catch_up` reads them."""

    def __init__(self, folder: Path, name: str) -> None:
        self.size = 0
        self._mark = name
        self._name = name + SUFFIX
        self.folder = folder
        self._quarantine = self._file = -1
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._moved = ""  # the name it was moved to by a process that did not write that down

    def open(self, safe: int, hashed: Hashed | None = None) -> None:
        """Open the part, or make an empty one; what lies behind the first ``safe`` bytes is cut off.

        ``hashed`` is what `hashed` gave when the part was closed: if nothing was written to it, no byte has to be read
        again. Raises `OSError`, and `ValueError` for a quarantine folder that others may use, or a part that is no
        file.
        """
        self._quarantine = open_quarantine(self.folder)
        self._hashed, self._hash, self._moved = 0, hashlib.sha256(), ""
        if self._open_moved(safe):
            return
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._file = os.open(self._name, flags, 0o600, dir_fd=self._quarantine)
        found = os.fstat(self._file)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{self.folder / QUARANTINE / self._name} should be a file")
        self.size = min(safe, found.st_size)
        untouched = hashed is not None and hashed.mark == _mark(self._file)
        os.ftruncate(self._file, self.size)
        if hashed is not None and untouched and hashed.size == self.size:
            self._hashed, self._hash = hashed.size, hashed.hash.copy()

    def _open_moved(self, safe: int) -> bool:
        """Open the file that the part was moved to, if it was; it is only read from then on."""
        name = read_note(self._quarantine, self._mark)
        if not name or _exists(self._name, self._quarantine):
            return False
        folder = _open_folder(self.folder)
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP):
                raise
            return False
        finally:
            os.close(folder)
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_size != safe:
            os.close(file)
            return False
        self._file, self.size, self._moved = file, safe, name
        return True

    def hashed(self) -> Hashed | None:
        """Return how far it was hashed; None if it is not open."""
        return Hashed(self._hashed, self._hash, _mark(self._file)) if self._file >= 0 else None

    @property
    def is_hashed(self) -> bool:
        """Whether the hash is that of all bytes so far."""
        return self._hashed == self.size

    def catch_up(self) -> None:
        """Hash some of the bytes that were there when it was opened."""
        data = os.pread(self._file, min(SLICE, self.size - self._hashed), self._hashed)
        if not data:
            raise OSError(errno.EIO, "the part was cut off while it was read")
        self._hash.update(data)
        self._hashed += len(data)

    def write(self, data: bytes) -> None:
        """Append and hash bytes. After an `OSError` nothing of them counts."""
        view, at = memoryview(data), self.size
        while view:
            written = os.pwrite(self._file, view, at)
            view, at = view[written:], at + written
        self._hash.update(data)
        self.size = self._hashed = at

    def sync(self) -> None:
        """Wait until all bytes so far are on the disk."""
        os.fsync(self._file)

    def digest(self) -> bytes:
        """Return the SHA-256 of all bytes so far; `is_hashed` has to be true."""
        return self._hash.digest()

    def place(self, name: str) -> Path:
        """Give the part its name in the folder, or that name with a number if it is taken; never replaces anything.

        The part stays as well, until `remove_part`; placed again, it is found where it is. Raises `OSError`, and
        `ValueError` if no name is free.
        """
        if self._moved:
            return self.folder / self._moved
        folder = _open_folder(self.folder)
        try:
            for candidate in candidates(name):
                if self._takes(candidate, folder):
                    os.fsync(folder)
                    return self.folder / candidate
        finally:
            os.close(folder)
        raise ValueError(f"{self.folder} has too many files named like {name}")

    def displace(self, path: Path) -> None:
        """Take back what `place` did, unless another file is there now. Raises `OSError`."""
        folder = _open_folder(self.folder)
        try:
            with contextlib.suppress(FileNotFoundError):
                there = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
                if os.path.samestat(there, os.fstat(self._file)):
                    os.unlink(path.name, dir_fd=folder)
        finally:
            os.close(folder)

    def _takes(self, name: str, folder: int) -> bool:
        try:
            os.link(self._name, name, src_dir_fd=self._quarantine, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            there = os.stat(name, dir_fd=folder, follow_symlinks=False)
            return os.path.samestat(there, os.fstat(self._file))
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return self._moves(name, folder)
        return True

    def _moves(self, name: str, folder: int) -> bool:
        """Move the part to a name that is free, in a file system without hard links.

        The name is written down first, so who is killed behind that finds the file again; then it is reserved by an
        empty file of our own, which is replaced.
        """
        if _exists(name, folder):
            there = os.stat(name, dir_fd=folder, follow_symlinks=False)
            reserved = read_note(self._quarantine, self._mark) == name
            if not (reserved and stat.S_ISREG(there.st_mode) and there.st_size == 0):
                return False
        else:
            write_note(self._quarantine, self._mark, name)
            try:
                os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder))
            except FileExistsError:
                remove_note(self._quarantine, self._mark)
                return False
        try:
            os.replace(self._name, name, src_dir_fd=self._quarantine, dst_dir_fd=folder)
        except OSError:
            os.unlink(name, dir_fd=folder)
            remove_note(self._quarantine, self._mark)
            raise
        return True

    def close(self) -> None:
        """Close what is open; the part stays."""
        for descriptor in (self._file, self._quarantine):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._quarantine = -1


def _mark(file: int) -> str:
    found = os.fstat(file)
    return f"{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _open_folder(path: Path) -> int:
    # The folder is its owner's choice, and may be reached by a link; names in it may not be links
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
