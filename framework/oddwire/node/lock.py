"""One node a directory: lightningd's own pid file is locked, so that lightningd keeps out, too."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from oddwire.errors import TransportError

__all__ = ["DirectoryLock"]


class DirectoryLock:
    """Holds ``lightningd-<network>.pid`` in ``folder`` locked, its content the process id, until `release`.

    The kernel releases it when the process ends, however it ends. Raises `TransportError` naming the holder.
    """

    def __init__(self, folder: Path, network: str) -> None:
        self.path = folder / f"lightningd-{network}.pid"
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o640)
        try:
            # Two kinds: lightningd takes the second, which does not tell apart two nodes of one process
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._handle, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._handle)
            raise TransportError(
                f"{folder} ({network}) is in use by process {holder}, which holds {self.path.name}; "
                "stop it, or choose another --lightning-dir"
            ) from None
        os.ftruncate(self._handle, 0)
        os.write(self._handle, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let others have the directory. Idempotent."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
