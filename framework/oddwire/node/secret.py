"""``hsm_secret``, the node's secret seed, and the keys derived from it, as lightningd derives them.

The file holds 32 bytes, lightningd's plain form: with the same file, lightningd has the same node id and secrets.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from oddwire.errors import DefinitionError
from oddwire.files import open_private
from oddwire.proto.keys import PrivateKey, Secret

__all__ = ["SECRET_FILE", "NodeSecret", "load_secret", "make_once", "read_private"]

SECRET_FILE: Final = "hsm_secret"  # noqa: S105 - its name


class NodeSecret:
    """The node's key and named secrets, derived from its seed of 32 bytes. Raises `ValueError` for another length."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise ValueError(f"seed should be 32 bytes, not {len(seed)}")
        self._derived = _hkdf(b"", seed, b"derived secrets")
        salt = 0
        while True:
            with contextlib.suppress(ValueError):  # zero, or the group's order and above: once in 2**128
                self.node_key = PrivateKey(_hkdf(salt.to_bytes(4, "little"), seed, b"nodeid"))
                break
            salt += 1

    def derive(self, info: bytes) -> Secret:
        """Return the secret of this name, as ``makesecret`` does."""
        return Secret(_hkdf(b"", self._derived, info))


def _hkdf(salt: bytes, key: bytes, info: bytes) -> bytes:
    # RFC 5869 with SHA-256, for the first 32 bytes
    extracted = hmac.digest(salt or bytes(32), key, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256)


def load_secret(folder: Path) -> NodeSecret:
    """Read ``hsm_secret`` in ``folder``; if there is none, create it, readable by its owner alone.

    Raises `DefinitionError` for an invalid file, with a remedy, and `OSError` if it cannot be read or created.
    """
    path = folder / SECRET_FILE
    if not os.path.lexists(path):
        make_once(path, secrets.token_bytes(32))
    remedy = "restore it from a backup, or move it away and a new one, with a new node id, is made"
    seed = read_private(path, remedy)
    if len(seed) != 32:
        raise DefinitionError(
            f"{path} should be 32 bytes, lightningd's plain form, not {len(seed)} "
            f"(encrypted and mnemonic ones are not read); {remedy}"
        )
    return NodeSecret(seed)


def read_private(path: Path, remedy: str) -> bytes:
    """Return the first KiB of a regular file that only its owner may read.

    Raises `DefinitionError` for any other file, with ``remedy`` or the command that corrects it, and `OSError`.
    """
    try:
        handle = open_private(path, os.O_RDONLY)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOENT):
            raise
        text = f"{path} {error.strerror}"
        if "; " not in text:
            text = f"{text}; {remedy}"
        raise DefinitionError(text.replace("; run: chmod", "; if nobody has read it, run: chmod")) from None
    with os.fdopen(handle, "rb") as file:
        return file.read(1024)


def make_once(path: Path, content: bytes) -> None:
    """Create a file with mode 0600, complete and on disk, or not at all. An existing file is left unchanged."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
