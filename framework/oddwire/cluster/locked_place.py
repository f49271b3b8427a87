"""The name of a place where one process can be at a time: a file or folder that is locked, on one boot of a machine."""

from __future__ import annotations

import os
from pathlib import Path

from oddwire.files import FileLock
from oddwire.session.store.ages import boot_id

__all__ = ["Place", "place_of"]


def place_of(path: str | os.PathLike[str]) -> str:
    """Return a name of a file or folder that no other has, on any machine, nor after another boot; empty if unknown.

    Only who has locked it may use it as its place. Raises `OSError`.
    """
    status, boot = os.stat(path), boot_id()  # noqa: PTH116 - descriptors and texts are paths, too
    return f"{boot}/{status.st_dev}/{status.st_ino}" if boot else ""


class Place:
    """A file to be locked."""

    def __init__(self, path: str) -> None:
        self.path = Path(path).absolute()
        self.name = ""
        self.holder = ""
        """The process that has it, if it is another's."""
        self._lock: FileLock | None = None

    def take(self) -> bool:
        """Lock it, and return whether that was possible. Raises `OSError`."""
        try:
            self._lock = FileLock(self.path)
        except BlockingIOError as error:
            self.holder = str(error.strerror)
            return False
        self.name = place_of(self.path)
        return True

    def release(self) -> None:
        """Unlock it. Idempotent."""
        if self._lock is not None:
            self._lock.release()
