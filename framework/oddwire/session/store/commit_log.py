"""Where a store's commits are to be before they count: on disk, or in a log elsewhere of which the file is a cache."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import ClassVar, Protocol, TypeVar

from oddwire.errors import StoreError
from oddwire.session.store.database import Database

__all__ = ["CommitLog", "InThread", "RemoteLog"]

T = TypeVar("T")


class InThread(Protocol):
    """Runs work in the store's thread; a cancelled caller waits for its end."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Run ``work``, and return what it returns."""
        raise NotImplementedError


class CommitLog:
    """Where the commits of one store are to be; this class: on disk. Methods are called by the store, one at a time.

    Once ``error`` is set, nothing is stored any more: the store fails with this error what is open, and stays closed.
    """

    is_remote: ClassVar[bool] = False
    """Whether the file is a cache of a log elsewhere, so that what is in it may not count yet."""

    def __init__(self) -> None:
        self.error: StoreError | None = None
        """Why nothing is stored any more, None as long as it is."""
        self.on_error: Callable[[StoreError], object] = lambda _: None
        """Set by the store; to be called when ``error`` is set."""

    async def opened(self, database: Database, in_thread: InThread) -> None:
        """Have what opening the database has written where it counts. Raises `StoreError`, with ``error`` set."""

    async def commit(self, database: Database, in_thread: InThread) -> None:
        """Commit the open transaction, and return when it counts.

        Raises `sqlite3.Error` if it is not committed, and `StoreError` with ``error`` set if it may be.
        """
        await in_thread(lambda: database.writer.execute("COMMIT"))

    async def close(self, database: Database, in_thread: InThread) -> None:
        """Close the database, and record that. Raises `StoreError` if that does not count."""
        await in_thread(database.close)

    async def abandon(self, database: Database, in_thread: InThread) -> None:
        """Close the database without writing to it."""
        await in_thread(database.abandon)

    def give_up(self, error: StoreError) -> None:
        """Let a method that waits for a log raise ``error``; nothing is stored any more."""


class RemoteLog(CommitLog, ABC):
    """A log elsewhere, of which the database's file is a cache. `Database.reader` shows only what the log has."""

    is_remote = True

    @property
    @abstractmethod
    def path(self) -> str:
        """The path of the database's file."""
