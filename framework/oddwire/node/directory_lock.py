"""A lock for one node per directory: on lightningd's own pid file, so that it excludes lightningd too."""

from __future__ import annotations

from pathlib import Path

from oddwire.errors import TransportError
from oddwire.files import FileLock

__all__ = ["DirectoryLock"]


class DirectoryLock:
    """Holds ``lightningd-<network>.pid`` in ``folder`` locked, its content the process id, until `release`.

    The kernel releases it when the process ends, however it ends. Raises `TransportError` naming the holder.
    """

    def __init__(self, folder: Path, network: str) -> None:
        path = folder / f"lightningd-{network}.pid"
        try:
            self._lock = FileLock(path, 0o640)
        except BlockingIOError as error:
            raise TransportError(
                f"{folder} ({network}) is in use by process {error.strerror}, which holds {path.name}; "
                "stop it, or choose another --lightning-dir"
            ) from None

    def release(self) -> None:
        """Release the lock. Idempotent."""
        self._lock.release()
