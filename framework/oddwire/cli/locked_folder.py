"""A folder that one program at a time may use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from oddwire.cli.exit import FAILED, CommandFailure
from oddwire.cli.running import spell_error
from oddwire.files import FileLock, make_folder

__all__ = ["locked_folder"]


@contextlib.contextmanager
def locked_folder(
    folder: Path, lock_file: str, name: str, *, user: str, other: str, code: int = FAILED
) -> Iterator[FileLock]:
    """Context manager: the lock of a folder, a file in it. The folder is made if it is missing.

    For errors, ``name`` is what the folder is called, ``user`` the kind of program that uses it, and ``other`` what may
    be chosen instead. Raises `CommandFailure` if another one has it, if it cannot be used, and, with ``code``, if it is
    a file.
    """
    try:
        make_folder(folder)
        lock = FileLock(folder / lock_file)
    except BlockingIOError as error:
        text = f"{name} {folder} is in use by another {user}, process {error.strerror}"
        raise CommandFailure(f"{text}; stop that, or choose another {other}") from None
    except FileExistsError:
        raise CommandFailure(f"{name} {folder} should be a folder; it is a file", code) from None
    except OSError as error:
        raise CommandFailure(f"{name} {spell_error(error)}") from error
    try:
        yield lock
    finally:
        lock.release()
