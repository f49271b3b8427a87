"""The registry of programs behind one node: each writes a claim into the node's folder, and detects conflicts.

A program's `Claim` is a file in the folder `FOLDER`, which the program keeps locked as long as it runs, so the claim of
one that was killed is not valid. Claims are written, read and removed by one program at a time, so of two that start at
the same moment one is the later. A claim's file never changes: a program with a new claim writes another file. So only
new names in the folder have to be read, for which it is polled once a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from oddwire.app.programs.claims import LARGEST, Claim, Shared, in_common, is_copy
from oddwire.errors import ExtensionError, OddwireError, StoreError
from oddwire.files import WRITING, make_folder, open_private
from oddwire.log_limits import get_logger
from oddwire.printable import printable
from oddwire.records import replace

__all__ = ["FOLDER", "Programs", "owner_of_store"]

logger = get_logger("oddwire.app")

FOLDER: Final = "oddwire.programs"
"""The folder of the claims, in the node's folder for its network."""

_LOCK: Final = "lock"
_NAME: Final = re.compile(r"[0-9]+-[0-9a-f]{16}")
_UNFINISHED: Final = ".new"
_POLL: Final = 1.0  # seconds between two polls for programs that started later
_RETRY: Final = 60.0  # seconds until the next attempt if the folder cannot be used
_AGAIN: Final = 0.01  # seconds between two attempts to get the folder's lock, which is held for milliseconds
_PATIENCE: Final = 5.0  # seconds until the attempts end: its holder may be a stopped process


def owner_of_store(folder: str, store: str, file: str) -> str:
    """Return the plugin file of a running program, other than ``file``, that uses a store; empty if there is none."""
    place = Path(folder) / FOLDER
    with contextlib.suppress(OSError):
        for name in _names(place):
            seen = _look(place / name)
            if seen.claim is not None and seen.claim.store == store and seen.claim.file != file:
                return seen.claim.file
    return ""


def _names(place: Path) -> set[str]:
    return {name for name in os.listdir(place) if _NAME.fullmatch(name)}  # noqa: PTH208 - once a second


class _SeenClaim(NamedTuple):
    """A claim read from its file; None if its program is gone or it cannot be read, with the reason in ``trouble``."""

    claim: Claim | None
    ending: bool = False
    dead: bool = False
    trouble: str = ""


def _look(path: Path) -> _SeenClaim:
    """Read a claim's file, and check by its lock whether the program runs, is ending, or is dead."""
    try:
        handle = open_private(path, os.O_RDWR, forbid=WRITING, follow=False)
    except FileNotFoundError:
        return _SeenClaim(None)
    except OSError as error:
        return _SeenClaim(None, trouble=error.strerror or str(error))
    try:
        if _locks(handle, fcntl.LOCK_EX):
            return _SeenClaim(None, dead=True)
        ending = _locks(handle, fcntl.LOCK_SH)
        try:
            return _SeenClaim(Claim.decode(os.pread(handle, LARGEST + 1, 0)), ending)
        except ValueError as error:
            return _SeenClaim(None, ending, trouble=str(error))
    except OSError as error:
        return _SeenClaim(None, trouble=error.strerror or str(error))
    finally:
        os.close(handle)


def _locks(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Programs:
    """The entry of this program in the registry of its node's programs.

    ``folder`` is the node's, for its network. ``claim`` is this program's without the store's numbers: ``stores``
    returns the current ones. ``renew`` assigns the store new numbers: it is awaited if another program uses a copy of
    the store, and raises `StoreError`. ``patience`` is how many seconds a program of the same file may take to end,
    ``poll`` how many pass between two polls for programs that start later.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        claim: Claim,
        *,
        stores: Callable[[], tuple[int, ...]] = tuple,
        renew: Callable[[], Awaitable[None]] | None = None,
        patience: float,
        poll: float = _POLL,
    ) -> None:
        self._place = Path(folder) / FOLDER
        self._claim = claim
        self._stores = stores
        self._renew = renew
        self._patience = patience
        self._poll = poll
        self._name = ""
        self._handle = -1
        self._lock = -1
        self._reported: set[tuple[str, str, object]] = set()
        self._seen: set[str] = set()
        self._again: dict[str, float] = {}  # claims of our own plugin file, and when their programs should have ended
        self._remarked: set[str] = set()
        self._blind = False  # the folder cannot be used, and a warning was logged
        self._task: asyncio.Task[None] | None = None
        self._ended = False
        os.register_at_fork(after_in_child=self._let_go)  # a child that outlives us is not this program

    async def join(self) -> None:
        """Write this program's claim, warn of conflicts with other programs, and poll for later ones until `leave`.

        To be called before anything is sent: a store that is a copy of another's has new numbers when this returns.
        Raises `StoreError` if it cannot get them, `ExtensionError` if both are the same store under two names. If the
        folder cannot be used, one warning is logged.
        """
        try:
            await self._enter()
        except OSError as error:
            self._cannot(error)
        if not self._ended:
            self._task = asyncio.get_running_loop().create_task(self._watch())

    def end(self) -> None:
        """Mark this program as ending: programs that start now ignore it. For any thread, or a signal handler."""
        self._ended = True
        if self._handle >= 0:
            with contextlib.suppress(OSError):
                fcntl.flock(self._handle, fcntl.LOCK_SH | fcntl.LOCK_NB)

    async def leave(self) -> None:
        """Remove the claim, before the store is closed. Idempotent."""
        self._ended = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._drop()

    def _drop(self) -> None:
        handle, self._handle = self._handle, -1
        if handle >= 0:
            with contextlib.suppress(OSError):
                (self._place / self._name).unlink()
            os.close(handle)

    def _let_go(self) -> None:
        for handle in (self._handle, self._lock):
            if handle >= 0:
                with contextlib.suppress(OSError):
                    os.close(handle)
        self._handle = self._lock = -1

    # The folder -------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Context manager: hold the folder's lock. Raises `OSError`, including `TimeoutError`."""
        if self._place.is_symlink():
            raise OSError(errno.ELOOP, "is a symbolic link; remove it", str(self._place))
        if not self._place.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "is not there any more", str(self._place.parent))
        make_folder(self._place)
        path = self._place / _LOCK
        self._lock = open_private(path, os.O_RDWR | os.O_CREAT, forbid=WRITING, follow=False)
        try:
            loop = asyncio.get_running_loop()
            deadline = loop.time() + _PATIENCE
            while not _locks(self._lock, fcntl.LOCK_EX):
                if loop.time() > deadline:
                    raise TimeoutError(errno.ETIMEDOUT, "has been locked by another program for too long", str(path))
                await asyncio.sleep(_AGAIN)
            yield
        finally:
            os.close(self._lock)
            self._lock = -1

    async def _enter(self) -> None:
        """Replace this program's claim; if its store is a copy of one in use, renew the store and claim once more."""
        if await self._claim_copied() and self._renew is not None:
            try:
                await self._renew()
            except StoreError as error:
                text = f"the store is a copy of another's, and cannot be given numbers of its own: {error}"
                raise StoreError(text, path=error.path, reason=error.reason) from error
            await self._claim_copied()

    async def _claim_copied(self) -> bool:
        """Write the claim, without a copied store's numbers. Return whether the store is a copy of another's."""
        async with self._alone():
            others = self._others(set())
            claim = self._claim_now()
            copied = self._renew is not None and self._is_copied(claim, others)
            if copied:
                claim = replace(claim, stores=(), renewed=(*claim.renewed, claim.stores[0]))
            try:
                self._write(claim)
            except OSError as error:
                self._cannot(error)
        self._claim = claim
        self._report(others, later=False)
        return copied

    def _claim_now(self) -> Claim:
        try:
            status = Path(self._claim.store).stat()
            inode = f"{status.st_dev}:{status.st_ino}"
        except OSError:
            inode = ""
        return replace(self._claim, stores=self._stores(), inode=inode)

    def _is_copied(self, claim: Claim, others: dict[str, _SeenClaim]) -> bool:
        for seen in others.values():
            if seen.claim is not None and is_copy(claim, seen.claim):
                if claim.inode and claim.inode == seen.claim.inode:
                    raise ExtensionError(
                        f"the store {claim.store} is that of plugin file {printable(seen.claim.file)} under another "
                        f"name, {printable(seen.claim.store)}: two programs cannot share one; make it a file of its own"
                    )
                return True
        return False

    def _others(self, known: set[str]) -> dict[str, _SeenClaim]:
        """Return the claims of others that are not in ``known``, by file name; remove the files of dead programs."""
        names = _names(self._place)
        self._seen = names
        for unfinished in self._place.glob(f"*{_UNFINISHED}"):
            unfinished.unlink(missing_ok=True)
        found = {}
        for name in sorted(names - known - {self._name}):
            seen = _look(self._place / name)
            if seen.dead:
                with contextlib.suppress(OSError):
                    (self._place / name).unlink()
            elif seen.trouble and not seen.ending:
                self._remark(f"{self._place / name}, about a program of this node, cannot be read: {seen.trouble}")
            found[name] = seen
        return found

    def _write(self, claim: Claim) -> None:
        """Write a claim; it is complete and locked when its file gets its name."""
        name = f"{os.getpid()}-{os.urandom(8).hex()}"
        path = self._place / f"{name}{_UNFINISHED}"
        handle = open_private(path, os.O_RDWR | os.O_CREAT, follow=False)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            content = claim.encode()
            while content:
                content = content[os.write(handle, content) :]
            path.rename(self._place / name)
        except BaseException:
            os.close(handle)
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        self._drop()
        self._name, self._handle = name, handle
        self._seen.add(name)
        if self._ended:
            self.end()

    # Warnings ---------------------------------------------------------------------------------------

    def _report(self, others: dict[str, _SeenClaim], *, later: bool) -> None:
        """Warn of conflicts with other programs; ``later`` if they started after this one."""
        now = asyncio.get_running_loop().time()
        for name, seen in others.items():
            if seen.claim is None or seen.ending or self._ended:
                continue
            if seen.claim.file == self._claim.file:
                self._again.setdefault(name, now + self._patience)
            else:
                for shared in in_common(*((self._claim, seen.claim) if later else (seen.claim, self._claim))):
                    self._warn(seen.claim, shared)

    def _warn(self, other: Claim, shared: Shared) -> None:
        found = {(other.file, shared.kind, thing) for thing in shared.things}
        if not found <= self._reported:
            self._reported |= found
            logger.warning("%s", printable(shared.text))

    def _report_twins(self) -> None:
        """Warn of programs of our own plugin file that should have ended."""
        now = asyncio.get_running_loop().time()
        for name, deadline in [*self._again.items()]:
            if deadline <= now:
                del self._again[name]
                seen = _look(self._place / name)
                if seen.claim is not None and not seen.ending:
                    text = (
                        f"plugin file {self._claim.file} is run by two processes, {os.getpid()} and "
                        f"{seen.claim.process}: peers may treat each as a restart of the other, and end their "
                        "sessions with it; end one of them"
                    )
                    self._warn(seen.claim, Shared("process", frozenset([seen.claim.process]), text))

    def _remark(self, text: str, level: int = logging.INFO) -> None:
        if text not in self._remarked:
            self._remarked.add(text)
            logger.log(level, "%s", printable(text))

    def _cannot(self, error: OSError) -> None:
        """Log a warning, once, that the folder cannot be used."""
        if not self._blind:
            self._blind = True
            where = error.filename or self._place
            logger.warning(
                "other plugin files of this node cannot be found, nor find this one, so conflicts over an extension, a "
                "message type or a store are not reported: %s: %s",
                *(printable(str(where)), error.strerror or str(error)),
            )

    # Programs that start later ----------------------------------------------------------------------

    async def _watch(self) -> None:
        pause = self._poll if self._handle >= 0 else _RETRY
        while not self._ended:
            await asyncio.sleep(pause)
            pause = self._poll
            try:
                await self._look_around()
            except OSError as error:
                self._cannot(error)
                pause = _RETRY
            except OddwireError as error:
                self._remark(str(error), logging.ERROR)
                pause = _RETRY
            except Exception:
                logger.exception("the other programs of this node cannot be found any more")
                return

    async def _look_around(self) -> None:
        try:
            names = _names(self._place)
        except FileNotFoundError:
            names = set()
        if self._name not in names or self._handle < 0 or self._stores() != self._claim.stores:
            await self._enter()  # for example, the folder was removed
            return
        self._report_twins()
        if names != self._seen:
            async with self._alone():
                others = self._others(self._seen)
            self._report(others, later=True)
