"""Names and files: what may be read for a peer, and what is written of a peer's."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["Source", "is_file", "is_name", "new_file", "open_file"]

_NO_LINKS: Final = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}


def is_name(name: str) -> bool:
    """Return whether this is the name of a file, and no path."""
    return 0 < len(name) <= 255 and name.isprintable() and name not in (".", "..") and not set(name) & set("/\\")


def is_file(path: Path) -> bool:
    """Return whether there is a file, and no link."""
    return path.is_file() and not path.is_symlink()


def open_file(path: Path, flags: int = 0) -> BinaryIO:
    """Open a file to read; a pipe would have us wait for who writes to it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path} should be a file")
    return os.fdopen(descriptor, "rb")


class Source:
    """A file that is read for a peer; whether it was changed since it was opened is noticed. All of it blocks."""

    def __init__(self, path: Path) -> None:
        self._file = open_file(path, os.O_NOFOLLOW)
        self._mark = self._now()
        self._left = self._mark[0]

    def _now(self) -> tuple[int, int]:
        found = os.fstat(self._file.fileno())
        return found.st_size, found.st_mtime_ns

    def read(self, size: int) -> bytes:
        """Return the next bytes, none at the end. Raises `ValueError` if the file was written to meanwhile."""
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        if self._now() != self._mark or (not data and self._left):
            raise ValueError("it was changed while it was read")
        return data

    def close(self) -> None:
        """Close it."""
        self._file.close()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextlib.asynccontextmanager
async def new_file(path: Path) -> AsyncIterator[BinaryIO]:
    """Make a file, for its owner alone. Its name is there once all of it is on the disk, so half a file never has it.

    Until then its name is ``.courier-``, random digits and ``.part``, in the same folder, and if the block fails it is
    gone; a process that is killed leaves it behind. Raises `ValueError` for a path that can have no new file.
    """
    part = path.with_name(f".courier-{os.urandom(8).hex()}.part")
    try:
        if await asyncio.to_thread(os.path.lexists, path):
            raise FileExistsError
        opened = await asyncio.to_thread(open, part, "xb", opener=_private)
        try:
            with opened as file:
                yield file
                await asyncio.to_thread(_sync, file)
            await asyncio.to_thread(_place, part, path)
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)
    except FileExistsError:
        raise ValueError(f"{path} exists already; it should be a new file") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}") from error


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _place(part: Path, path: Path) -> None:
    """Give a file its name, and have that on the disk, too. Raises `FileExistsError`: nothing is ever replaced."""
    try:
        os.link(part, path, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without hard links: the name is reserved by an empty file, which is then replaced
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            part.replace(path)
        except OSError:
            path.unlink(missing_ok=True)
            raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
