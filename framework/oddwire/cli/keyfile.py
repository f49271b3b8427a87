"""The node's private key on disk: created on first use, readable by its owner alone, refused if it is not."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from oddwire.cli.exit import CommandFailure
from oddwire.errors import DefinitionError
from oddwire.files import make_folder, open_private
from oddwire.node.secret import make_once, read_private
from oddwire.proto.keys import PrivateKey

__all__ = ["KEY_FILE", "ephemeral_key", "load_key", "sole_use"]

KEY_FILE = "node_key"

_TEXT = re.compile(rb"[0-9a-fA-F]{64}\s*")


def ephemeral_key() -> PrivateKey:
    """Return a new random key, which is not stored."""
    while True:
        with contextlib.suppress(ValueError):  # zero, or the group's order and above: once in 2**128
            return PrivateKey(secrets.token_bytes(32))


def load_key(data_dir: Path) -> PrivateKey:
    """Read the key in a node's data directory; if there is none, create both, readable by the owner alone.

    The file holds 64 hex digits. It is created complete or not at all, and two processes that create it at once get
    the same key. Raises `CommandFailure` with what is wrong, and a remedy.
    """
    path = data_dir / KEY_FILE
    with _explained(data_dir):
        make_folder(data_dir)
        if not os.path.lexists(path):
            make_once(path, ephemeral_key().to_bytes().hex().encode() + b"\n")
        return _read(path)


@contextlib.contextmanager
def sole_use(data_dir: Path, *, has_key: bool = True) -> Iterator[None]:
    """Context manager: a lock, so that no other process runs a program with this directory, and the key of `load_key`.

    Of two nodes with one key, a peer is connected to one at a time. The lock ends with the process, however that ends.
    Without ``has_key`` the directory may have no key, and is created if it is missing. Raises `CommandFailure` if
    another process has it, or if it is no folder of ours.
    """
    with contextlib.ExitStack() as stack:
        with _explained(data_dir):
            if not has_key:
                make_folder(data_dir)
            handles = [os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
            stack.callback(os.close, handles[0])
            if has_key:
                handles.append(open_private(data_dir / KEY_FILE, os.O_RDONLY))
                stack.callback(os.close, handles[1])
        try:
            for handle in handles:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = f"data directory {data_dir} is in use by another node; stop that, or choose another --data-dir"
            raise CommandFailure(text) from None
        yield


@contextlib.contextmanager
def _explained(data_dir: Path) -> Iterator[None]:
    """Context manager: an error of the system about the directory is a `CommandFailure`."""
    try:
        yield
    except FileExistsError:
        raise CommandFailure(f"data directory {data_dir} should be a folder; it is a file") from None
    except OSError as error:
        where = "" if error.filename in (None, str(data_dir)) else f": {error.filename}"
        raise CommandFailure(f"data directory {data_dir}: {error.strerror}{where}") from error


def _read(path: Path) -> PrivateKey:
    remedy = "restore it from a backup, or move it away and a new key, with a new node id, is made"
    try:
        content = read_private(path, remedy)
    except DefinitionError as error:
        raise CommandFailure(f"key file {error}") from None
    if len(content.strip()) != 64:
        raise CommandFailure(f"key file {path} should hold 64 hex digits, not {len(content.strip())} bytes; {remedy}")
    if not _TEXT.fullmatch(content):
        raise CommandFailure(f"key file {path} should hold 64 hex digits; it holds something else; {remedy}")
    try:
        return PrivateKey(bytes.fromhex(content.decode()))
    except ValueError as error:
        raise CommandFailure(f"key file {path}: {error}; {remedy}") from None
