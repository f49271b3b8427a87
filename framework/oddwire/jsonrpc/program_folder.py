"""Where running programs have their sockets, so that other processes of the same user find them.

A program without a data directory has its socket in a folder of its user's, by its process id; one with a data
directory has it there, and a link to it in that folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Final

from oddwire.jsonrpc.socket_path import socket_address

__all__ = [
    "DATA_DIR_SOCKET",
    "SUFFIX",
    "check_folder",
    "is_alive",
    "own_folder",
    "process_of",
    "program_folder",
    "remove_stale",
    "stopped_process",
]

DATA_DIR_SOCKET: Final = "oddwire-rpc"
"""The name of the socket in a data directory."""
SUFFIX: Final = ".rpc"
"""The end of the names of sockets, and of links to them."""

_RUNTIME: Final = "XDG_RUNTIME_DIR"


def program_folder() -> Path:
    """Return the folder of this user's programs: the same for all that have the same environment."""
    runtime = os.environ.get(_RUNTIME, "")
    if runtime.startswith("/") and Path(runtime).is_dir():
        return Path(runtime) / "oddwire"
    return Path("/tmp") / f"oddwire-{os.geteuid()}"  # noqa: S108 - its owner is checked


def own_folder() -> Path:
    """Make this user's folder if need be, and return it. Raises `OSError`, whose text has the remedy.

    It has to be a folder of our user's that nobody else may use: somebody could put a socket of his own there.
    """
    folder = program_folder()
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o700)
    check_folder(folder)
    return folder


def check_folder(folder: Path) -> None:
    """Raise `OSError` unless a folder is ours alone; its text has the remedy."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise _refusal(folder, "should be a folder; remove it")
    if status.st_uid != os.geteuid():
        remedy = f"have its owner or root remove it, or set {_RUNTIME} to a folder of yours"
        raise _refusal(folder, f"belongs to user {status.st_uid}; {remedy}")
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise _refusal(folder, f"has mode {mode:04o}: others may use it; run: chmod 700 {folder}")


def _refusal(folder: Path, text: str) -> PermissionError:
    return PermissionError(errno.EPERM, text, str(folder))


def process_of(path: Path) -> int | None:
    """Return the process id in a socket's name, None if there is none."""
    text = path.name.removesuffix(SUFFIX)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def is_alive(path: Path) -> bool:
    """Return whether a process listens at a socket, or at the one that a link leads to. Never blocks."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            with socket_address(path) as address:
                asking.connect(address)
        except BlockingIOError:
            return True  # with a full backlog
        except OSError:
            return False
    return True


def stopped_process(path: Path) -> int | None:
    """Return the id of the process that listens at a socket, if it is stopped, as by Ctrl-Z, and answers nothing.

    None if it runs, if nobody listens, or where the kernel does not tell who does, as on macOS. Never blocks.
    """
    credentials = getattr(socket, "SO_PEERCRED", None)
    if credentials is None:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            with socket_address(path) as address:
                asking.connect(address)
            process, _, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, credentials, 12))
            state = Path(f"/proc/{process}/stat").read_bytes().rpartition(b") ")[2][:1]  # its name may have brackets
        except OSError:
            return None
    return int(process) if state == b"T" else None  # not t, which a debugger has it in


def remove_stale(path: Path) -> bool:
    """Remove a socket, or a link, whose process is gone and which nobody answers. Return whether it was that."""
    process = process_of(path)
    if process is None or is_alive(path):
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:  # where processes are numbered as they are here: nobody answers either
        path.unlink(missing_ok=True)
        return True
    except PermissionError:
        return False
    return False
