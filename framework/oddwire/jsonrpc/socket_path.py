"""Unix socket paths of any length: the kernel accepts 107 bytes, so a folder's descriptor stands for the rest."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

__all__ = ["socket_address"]

# sun_path of unix(7), less its final zero
_LONGEST: Final = 107


@contextlib.contextmanager
def socket_address(path: str | os.PathLike[str]) -> Iterator[str]:
    """Context manager: yield an address for ``path`` to bind or connect to. Raises `OSError` without its folder."""
    text = os.fspath(path)
    if len(os.fsencode(text)) <= _LONGEST:
        yield text
        return
    parent, name = os.path.split(text)
    folder = os.open(parent or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{name}"
    finally:
        os.close(folder)
