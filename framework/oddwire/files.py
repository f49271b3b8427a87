"""Private files: created with their final permissions, locked while the process lives, synced to disk on commit.

Nothing that another user put in a file's place is opened. A refusal is an `OSError`, mostly a `PermissionError`, whose
``strerror`` names the reason and the remedy.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    import sqlite3

__all__ = [
    "ANY",
    "WRITING",
    "FileLock",
    "make_folder",
    "open_database",
    "open_log",
    "open_private",
    "open_to_read",
    "read_file",
]

ANY: Final = 0o077
"""For ``forbid``: all permissions of group and others."""
WRITING: Final = 0o022
"""For ``forbid``: write permission of group and others."""

# A pipe in a file's place cannot block us, nor a terminal become our controlling terminal
_SAFELY: Final = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PATIENCE: Final = 1.0  # seconds for a process to open the other end of a pipe
_MAGIC: Final = b"SQLite format 3\0"
_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_private(path: Path, flags: int, *, mode: int = 0o600, forbid: int = ANY, follow: bool = True) -> int:
    """Open a regular file of our user, and return its descriptor, which is not inherited.

    ``flags`` are those of `os.open`; a file that O_CREAT makes has ``mode`` from its first moment, whatever the umask.
    A symbolic link is followed if it is our user's and ``follow`` is true, but its target is never created. Refused are
    all but regular files, files of other users than us and root, files with a permission of ``forbid``, and for writing
    files with several names; nothing is changed before these checks, so O_TRUNC should be left to `os.ftruncate`. Never
    blocks. Raises `OSError`.
    """
    if flags & os.O_CREAT:
        flags &= ~os.O_CREAT
        try:
            return os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | _SAFELY, mode)
        except FileExistsError:
            pass
    _check_link(path)
    if not follow:
        flags |= os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags | _SAFELY)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise _refusal(path, "is a symbolic link; remove it") from None
        if error.errno in (errno.ENXIO, errno.EISDIR, errno.ENODEV):
            raise _refusal(path, f"should be a regular file; it is {_kind(path.stat().st_mode)}") from None
        raise
    try:
        _check(path, os.fstat(descriptor), forbid, writes=bool(flags & (os.O_WRONLY | os.O_RDWR)))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents, accessible to the owner alone; an existing folder is checked.

    Refused are a folder that everybody may write to, unless it is sticky (as ``/tmp`` is), and one of another user.
    Raises `OSError`; `FileExistsError` if it is not a folder.
    """
    missing = [path]
    while not os.path.lexists(missing[-1].parent):
        missing.append(missing[-1].parent)
    for folder in reversed(missing):
        try:
            folder.mkdir(0o700)
        except FileExistsError:
            if not folder.is_dir():
                raise
    _check_folder(path)


def open_log(path: Path) -> int:
    """Open a file to append to, created for its owner alone, and return its descriptor, which is non-blocking.

    It may be a device, or a pipe that somebody reads (otherwise the error is ``ENXIO``); the target of another user's
    symbolic link is refused, and so is another user's file. Raises `OSError`.
    """
    flags = os.O_WRONLY | os.O_APPEND
    try:
        return os.open(path, flags | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | _SAFELY, 0o600)
    except FileExistsError:
        _check_link(path)
    try:
        descriptor = os.open(path, flags | _SAFELY)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, f"is {_kind(path.stat().st_mode)} that no process reads", str(path)) from None
        raise
    try:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            _check_owner(path, status)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_to_read(path: str | os.PathLike[str]) -> BinaryIO:
    """Open any file to read, a pipe or a device too, without waiting for ever as `open` does for a pipe's other end.

    A pipe that no process writes to is at its end. Raises `OSError`.
    """
    descriptor = os.open(path, os.O_RDONLY | _SAFELY)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if stat.S_ISFIFO(mode):
            import select  # here, as plugins start without it

            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll(_PATIENCE * 1000)
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: str | os.PathLike[str], most: int) -> bytes:
    """Return what `open_to_read` reads. Raises `OSError`, also for more than ``most`` bytes."""
    with open_to_read(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"has more than {most} bytes", os.fspath(path))
    return data


class FileLock:
    """A lock on the file at ``path``, which holds our process id, until `release`.

    The kernel releases the lock when the process ends, however it ends. Raises `BlockingIOError` while another process
    holds it; ``strerror`` is the file's content, that process's id. Raises `OSError` if the file cannot be made, is a
    link, is writable by others, or holds anything else, which is left alone.
    """

    def __init__(self, path: Path, mode: int = 0o600) -> None:
        self.path = path
        self._handle = open_private(path, os.O_RDWR | os.O_CREAT, mode=mode, forbid=WRITING, follow=False)
        try:
            # Two kinds: lightningd uses the second, which does not tell apart two owners in one process
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._handle, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._handle)
            raise BlockingIOError(errno.EWOULDBLOCK, holder, str(path)) from None
        content = os.pread(self._handle, 32, 0).strip()
        if content and not content.isdigit():
            os.close(self._handle)
            raise _refusal(path, "holds something else than a process id; move it away")
        os.ftruncate(self._handle, 0)
        os.write(self._handle, f"{os.getpid()}\n".encode())

    @property
    def descriptor(self) -> int:
        """The locked file's, for a child that inherits it: then the lock holds until both have ended."""
        return self._handle

    def release(self) -> None:
        """Release the lock. Idempotent."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def open_database(path: Path) -> sqlite3.Connection:
    """Open the SQLite database at ``path``; a new one is created for its owner alone.

    Refused is a database that others may read or write, itself or the files that SQLite keeps beside it, or in a folder
    where everybody may put such files. A transaction is on disk when its commit returns; transactions are begun
    explicitly. Any thread may use the connection, one at a time. Raises `OSError` or `sqlite3.Error`.
    """
    import sqlite3  # here, as many programs use files but no database

    _check_writers(path.parent)
    is_new = not os.path.lexists(path)
    forbid = ANY if is_new or _is_database(path) else WRITING  # a database may be secret; SQLite rejects others
    writable = True
    try:
        handle = open_private(path, os.O_RDWR | os.O_CREAT, forbid=forbid)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EROFS) or is_new:
            raise
        handle = open_private(path, os.O_RDONLY, forbid=forbid)
        writable = False
    os.close(handle)
    if is_new:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the directory entry has to survive a power cut, too
        finally:
            os.close(folder)
    real = path.resolve()
    for suffix in ("-wal", "-shm", "-journal"):
        _check_beside(real.with_name(real.name + suffix))
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        if not writable:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            database.execute(f"PRAGMA user_version = {version}")  # a read-only database fails here, not later
    except BaseException:
        database.close()
        raise
    return database


def _is_database(path: Path) -> bool:
    """Return whether the file is a SQLite database, or empty and so to become one."""
    handle = open_private(path, os.O_RDONLY, forbid=0)
    try:
        return os.read(handle, len(_MAGIC)) in (_MAGIC, b"")
    finally:
        os.close(handle)


def _check_beside(path: Path) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    _check(path, status, ANY, writes=True)


def _check(path: Path, status: os.stat_result, forbid: int, *, writes: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _refusal(path, f"should be a regular file; it is {_kind(status.st_mode)}")
    _check_owner(path, status)
    mode = stat.S_IMODE(status.st_mode)
    if mode & forbid:
        what = "use" if forbid == ANY else "write to"
        raise _refusal(path, f"has mode {mode:04o}: others than its owner may {what} it; run: chmod 600 {path}")
    if writes and status.st_nlink > 1:
        text = f"has {status.st_nlink} names, and a write to one changes all; put a copy in its place"
        raise _refusal(path, text)


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in (0, os.geteuid()):
        text = f"belongs to user {status.st_uid}; if it should be yours, run: chown {os.geteuid()} {path}"
        raise _refusal(path, text)


def _check_link(path: Path) -> None:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        if status.st_uid not in (0, os.geteuid()):
            raise _refusal(path, f"is a symbolic link that user {status.st_uid} has made; remove it")
        if not path.exists():
            text = f"is a symbolic link to {path.readlink()}, and there is nothing; remove it"
            raise FileNotFoundError(errno.ENOENT, text, str(path))


def _check_folder(path: Path) -> None:
    _check_writers(path)
    status = path.stat()
    if os.geteuid() != 0:
        _check_owner(path, status)


def _check_writers(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise _refusal(path, f"has mode {mode:04o}: everybody may put files there; run: chmod go-w {path}")


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "a symbolic link" if stat.S_ISLNK(mode) else "something else")


def _refusal(path: Path, text: str) -> PermissionError:
    return PermissionError(errno.EPERM, text, str(path))
