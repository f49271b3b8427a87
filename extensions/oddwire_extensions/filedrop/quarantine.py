"""The folder ``.quarantine`` of a folder that files are accepted for. All of this blocks: call it in threads."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from pathlib import Path
from typing import Final

__all__ = [
    "QUARANTINE",
    "SUFFIX",
    "free_bytes",
    "make_folder",
    "open_quarantine",
    "parts_of",
    "read_note",
    "remove_note",
    "remove_part",
    "write_note",
]

QUARANTINE: Final = ".quarantine"
SUFFIX: Final = ".part"
_NOTE: Final = ".name"
"""Suffix of the note beside a part in a file system without hard links: the name that the part is moved to."""
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def parts_of(folder: Path) -> dict[str, tuple[float, float]]:
    """Return when each part in a folder's quarantine was written to, and the seconds since then, by name."""
    found: dict[str, tuple[float, float]] = {}
    with contextlib.suppress(OSError, ValueError):
        quarantine = open_quarantine(folder, make=False)
        try:
            for file in os.listdir(quarantine):  # noqa: PTH208 - a descriptor
                name, suffix = os.path.splitext(file)  # noqa: PTH122 - a name, not a path
                if suffix in (SUFFIX, _NOTE):
                    with contextlib.suppress(FileNotFoundError):
                        changed = os.stat(file, dir_fd=quarantine, follow_symlinks=False).st_mtime
                        changed = max(changed, found[name][0]) if name in found else changed
                        found[name] = changed, time.time() - changed
        finally:
            os.close(quarantine)
    return found


def remove_part(folder: Path, name: str) -> None:
    """Remove a part from a folder's quarantine, if it is there. Raises `OSError` if it cannot be removed."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        quarantine = open_quarantine(folder, make=False)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name + SUFFIX, dir_fd=quarantine)
            remove_note(quarantine, name)
        finally:
            os.close(quarantine)


def read_note(quarantine: int, mark: str) -> str:
    """Return the name that a part was being moved to; empty if it was not, or that was not written to its end."""
    try:
        file = os.open(mark + _NOTE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=quarantine)
    except FileNotFoundError:
        return ""
    try:
        text = os.read(file, 4096)
    finally:
        os.close(file)
    return os.fsdecode(text[:-1]) if text.endswith(b"\n") else ""


def write_note(quarantine: int, mark: str, name: str) -> None:
    """Write down, on the disk, the name that a part is moved to. Raises `OSError`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(mark + _NOTE, flags, 0o600, dir_fd=quarantine)
    try:
        os.write(file, os.fsencode(name) + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    os.fsync(quarantine)


def remove_note(quarantine: int, mark: str) -> None:
    """Remove what `write_note` wrote, if it is there. Raises `OSError`."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(mark + _NOTE, dir_fd=quarantine)


def make_folder(path: Path) -> None:
    """Make a folder for its owner alone, unless it is there. Raises `OSError`."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def free_bytes(folder: Path) -> int:
    """Return how many bytes can be written in a folder that exists. Raises `OSError`."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def open_quarantine(folder: Path, *, make: bool = True) -> int:
    """Open a folder's quarantine, and make it if it is not there.

    Raises `OSError`, and `ValueError` for one that others may use, or that is a link.
    """
    path = folder / QUARANTINE
    if make:
        make_folder(folder)
        path.mkdir(mode=0o700, exist_ok=True)
    try:
        descriptor = os.open(path, _FOLDER)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise ValueError(f"{path} should be a folder, not a link or a file") from None
        raise
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        os.close(descriptor)
        raise ValueError(f"{path} should be its owner's alone: chmod 700 {path}")
    return descriptor
