"""The name of a place where one process can be at a time: a folder that is locked, on a machine that was not booted."""

from __future__ import annotations

from pathlib import Path

from oddwire.session.store.ages import boot_id

__all__ = ["place_of"]


def place_of(folder: Path) -> str:
    """Return a name of a locked folder that no other has, on any machine, nor after another boot; empty if unknown."""
    status, boot = folder.stat(), boot_id()
    return f"{boot}/{status.st_dev}/{status.st_ino}" if boot else ""
