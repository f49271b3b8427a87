"""The node's private key on disk: made on first use, readable by its owner alone, refused when anything is odd."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from pathlib import Path

from oddwire.cli.failure import Failure
from oddwire.proto.keys import PrivateKey

__all__ = ["KEY_FILE", "ephemeral_key", "load_key"]

KEY_FILE = "node_key"

_TEXT = re.compile(rb"[0-9a-fA-F]{64}\s*")


def ephemeral_key() -> PrivateKey:
    """Make a key that nobody keeps."""
    while True:
        with contextlib.suppress(ValueError):  # zero, or the group's order and above: once in 2**128
            return PrivateKey(secrets.token_bytes(32))


def load_key(data_dir: Path) -> PrivateKey:
    """Read the key of a node's data directory; the first time, make both, for the owner's eyes only.

    The file holds 64 hex digits. It is made whole or not at all, and of two processes that make it at once both get
    the same key. Raises `Failure` saying what is wrong with it and what to do.
    """
    path = data_dir / KEY_FILE
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.path.lexists(path):
            _make(path)
        return _read(path)
    except OSError as error:
        raise Failure(f"data directory {data_dir}: {error.strerror}: {error.filename}") from error


def _make(path: Path) -> None:
    # A link appears with its whole content or not at all, and never replaces another one's key
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(ephemeral_key().to_bytes().hex().encode() + b"\n")
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


def _read(path: Path) -> PrivateKey:
    remedy = "restore it from a backup, or move it away and a new key, with a new node id, is made"
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Failure(f"key file {path} should be a regular file; {remedy}")
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077:
            raise Failure(
                f"key file {path} has mode {mode:04o}: others than its owner may use it; "
                f"if nobody has read it, run: chmod 600 {path}"
            )
        content = file.read(1024)
    if len(content.strip()) != 64:
        raise Failure(f"key file {path} should hold 64 hex digits, not {len(content.strip())} bytes; {remedy}")
    if not _TEXT.fullmatch(content):
        raise Failure(f"key file {path} should hold 64 hex digits; it holds something else; {remedy}")
    try:
        return PrivateKey(bytes.fromhex(content.decode()))
    except ValueError as error:
        raise Failure(f"key file {path}: {error}; {remedy}") from None
