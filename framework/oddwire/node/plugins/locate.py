"""Finding plugins: executable files in directories, by lightningd's rules."""

from __future__ import annotations

import os
import shlex
import zlib
from pathlib import Path

from oddwire.errors import ExtensionError

__all__ = ["checksum", "is_program", "program", "programs_below", "programs_in", "resolved"]


def resolved(path: str | Path) -> str:
    """Return the path that identifies a plugin: absolute, with symbolic links resolved."""
    return str(Path(path).resolve())


def is_program(path: str | Path) -> bool:
    """Return whether ``path`` is an executable file."""
    return Path(path).is_file() and os.access(path, os.X_OK)


def program(path: str | Path) -> str:
    """Return the resolved path of a plugin that the operator named. Raises `ExtensionError` if it is not executable."""
    if not is_program(path):
        found = Path(path)
        hint = "it is not one" if found.exists() else "it does not exist"
        if found.is_file():
            hint = f"chmod +x {shlex.quote(str(path))} makes it one"
        raise ExtensionError(f"plugin {path} should be an executable file; {hint}")
    return resolved(path)


def programs_in(directory: str | Path) -> list[str]:
    """Return the resolved paths of a directory's programs, by name. Raises `ExtensionError` if it cannot be read."""
    if not str(directory):
        raise ExtensionError("plugin directory should be a path, not empty")  # pathlib would read it as "."
    try:
        files = sorted(Path(directory).iterdir())
    except OSError as error:
        raise ExtensionError(f"plugin directory {directory} could not be read: {error.strerror}") from error
    return [resolved(file) for file in files if _is_sane(file.name) and is_program(file)]


def programs_below(directory: Path) -> list[str]:
    """Return the programs in a directory and in its subdirectories, one level deep; none if it does not exist."""
    if not directory.is_dir():
        return []
    folders = [directory, *sorted(entry for entry in directory.iterdir() if entry.is_dir())]
    return [path for folder in folders for path in programs_in(folder)]


def checksum(path: str) -> int:
    """Return a CRC-32 of the file's content; 0 if it cannot be read."""
    try:
        return zlib.crc32(Path(path).read_bytes())
    except OSError:
        return 0


def _is_sane(name: str) -> bool:
    # As lightningd: no punctuation but these three. On some file systems all files seem to be executable
    return name != "README.md" and all(c in "-_." or not c.isascii() or c.isalnum() for c in name)
