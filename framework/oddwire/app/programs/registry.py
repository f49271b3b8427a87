"""The programs behind one node: each says in the node's folder what it is, and finds those it gets in the way of.

A program has a file in the folder `FOLDER`, its `Claim`, which it holds locked as long as it lives: so the claim of one
that was killed is none. Claims are made, read and taken away by one program at a time, so of two that start at the same
moment one is the later. What a file says never changes; who has something else to say makes another one. So new names
in the folder, which are looked for once a second, are all that has to be read.
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
"""The folder of the claims, in the node's own for its network."""

_LOCK: Final = "lock"
_NAME: Final = re.compile(r"[0-9]+-[0-9a-f]{16}")
_UNFINISHED: Final = ".new"
_POLL: Final = 1.0  # seconds between two looks for programs that started later
_RETRY: Final = 60.0  # seconds until the next attempt, where the folder cannot be used
_AGAIN: Final = 0.01  # seconds between two attempts to get the folder's lock: who has it lets go in milliseconds
_PATIENCE: Final = 5.0  # seconds until it is taken for lost: who has it is stopped, say


def owner_of_store(folder: str, store: str, file: str) -> str:
    """Return the plugin file of a running program, other than ``file``, that has a store; empty if there is none."""
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
    """What a look at a claim's file tells: the claim, unless nobody has it or it cannot be read; why it cannot."""

    claim: Claim | None
    ending: bool = False
    dead: bool = False
    trouble: str = ""


def _look(path: Path) -> _SeenClaim:
    """Look at the file of a claim."""
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
    """The place of this program among those of its node.

    ``folder`` is the node's, for its network. ``claim`` is what there is to say of this program but for its stores:
    ``stores`` returns their numbers, as they are just then. ``renew`` gives the store new ones: it is awaited if
    another program has a copy of it, and raises `StoreError`. ``patience`` is how many seconds a program of the same
    file may take to end, ``poll`` how many pass between two looks for those that start later.
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
        self._told: set[tuple[str, str, object]] = set()
        self._seen: set[str] = set()
        self._again: dict[str, float] = {}  # programs of our own file, and when they should have ended
        self._remarked: set[str] = set()
        self._blind = False  # and that was told
        self._task: asyncio.Task[None] | None = None
        self._ended = False
        os.register_at_fork(after_in_child=self._let_go)  # a child that outlives us is not this program

    async def join(self) -> None:
        """Claim what this program is, warn of what others have of it, and look for later ones until `leave`.

        To be called before anything is sent: a store that is a copy of another's has new numbers when it returns.
        Raises `StoreError` if it cannot have them, `ExtensionError` if it is the other's store itself, under two names.
        A folder that cannot be used is told in the log, once.
        """
        try:
            await self._enter()
        except OSError as error:
            self._cannot(error)
        if not self._ended:
            self._task = asyncio.get_running_loop().create_task(self._watch())

    def end(self) -> None:
        """Say that this program is about to end: who starts now need not mind. From any thread, or a signal handler."""
        self._ended = True
        if self._handle >= 0:
            with contextlib.suppress(OSError):
                fcntl.flock(self._handle, fcntl.LOCK_SH | fcntl.LOCK_NB)

    async def leave(self) -> None:
        """Take the claim away, before the store is let go of. Idempotent."""
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
        """Have the folder to ourselves. Raises `OSError`, `TimeoutError` among them."""
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
                    raise TimeoutError(errno.ETIMEDOUT, "has been locked by another program for long", str(path))
                await asyncio.sleep(_AGAIN)
            yield
        finally:
            os.close(self._lock)
            self._lock = -1

    async def _enter(self) -> None:
        """Claim, instead of what was claimed before; once more if our store is a copy of one that is in use."""
        if await self._claim_copied() and self._renew is not None:
            try:
                await self._renew()
            except StoreError as error:
                text = f"the store is a copy of another's, and cannot be given numbers of its own: {error}"
                raise StoreError(text, path=error.path, reason=error.reason) from error
            await self._claim_copied()

    async def _claim_copied(self) -> bool:
        """Claim, without numbers that another has claimed, and say whether there are such."""
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
        self._tell(others, later=False)
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
        """Read the claims of others that are not known, by their names; remove what is left of those that are gone."""
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
                self._remark(f"what {self._place / name} says of a program of this node cannot be read: {seen.trouble}")
            found[name] = seen
        return found

    def _write(self, claim: Claim) -> None:
        """Put a claim there, which is whole and locked from the moment it has its name."""
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

    # What is told -----------------------------------------------------------------------------------

    def _tell(self, others: dict[str, _SeenClaim], *, later: bool) -> None:
        """Warn of what others have in common with us; ``later`` if they have started after us."""
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
        told = {(other.file, shared.kind, thing) for thing in shared.things}
        if not told <= self._told:
            self._told |= told
            logger.warning("%s", printable(shared.text))

    def _tell_of_twins(self) -> None:
        """Warn of programs of our own file that should have ended."""
        now = asyncio.get_running_loop().time()
        for name, deadline in [*self._again.items()]:
            if deadline <= now:
                del self._again[name]
                seen = _look(self._place / name)
                if seen.claim is not None and not seen.ending:
                    text = (
                        f"plugin file {self._claim.file} is run by two processes, {os.getpid()} and "
                        f"{seen.claim.process}: peers may take each for a restart of the other, and end what they do "
                        "with it; end one of them"
                    )
                    self._warn(seen.claim, Shared("process", frozenset([seen.claim.process]), text))

    def _remark(self, text: str, level: int = logging.INFO) -> None:
        if text not in self._remarked:
            self._remarked.add(text)
            logger.log(level, "%s", printable(text))

    def _cannot(self, error: OSError) -> None:
        """Say, once, that others cannot be seen."""
        if not self._blind:
            self._blind = True
            where = error.filename or self._place
            logger.warning(
                "other plugin files of this node cannot be looked for, nor find this one; so nobody is told of an "
                "extension, a message type or a store that two of them have: %s: %s",
                *(printable(str(where)), error.strerror or str(error)),
            )

    # Who comes later --------------------------------------------------------------------------------

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
                logger.exception("the other programs of this node cannot be looked for any more")
                return

    async def _look_around(self) -> None:
        try:
            names = _names(self._place)
        except FileNotFoundError:
            names = set()
        if self._name not in names or self._handle < 0 or self._stores() != self._claim.stores:
            await self._enter()  # the folder was removed, say
            return
        self._tell_of_twins()
        if names != self._seen:
            async with self._alone():
                others = self._others(self._seen)
            self._tell(others, later=True)
