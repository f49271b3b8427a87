"""What an author holds of a reliable message that is on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Final, TypeAlias

from oddwire.errors import LocalProtocolError, OddwireError, RemoteFailure

__all__ = ["WAITING", "Failure", "Receipt"]

Failure: TypeAlias = Callable[[], OddwireError]
"""Makes the exception that tells what has gone wrong."""
WAITING: Final[ContextVar[Callable[[], AbstractContextManager[None]]]] = ContextVar(
    "oddwire_waiting", default=nullcontext
)
"""Entered while somebody waits for a receipt: an on_connect, whose end others wait for, has to be known to do so."""


class Receipt:
    """What becomes of one reliable message."""

    __slots__ = ("__weakref__", "_failure", "_owner", "_settled", "_waiters", "node_id")

    def __init__(self, node_id: object = None, owner: asyncio.Task[object] | None = None) -> None:
        self.node_id = node_id
        """Whom the message is for."""
        self._owner = owner  # whose handler has to end before the message goes out
        self._settled = False
        self._failure: Failure | None = None
        self._waiters: list[asyncio.Future[None]] = []

    async def delivered(self) -> None:
        """Wait until what the peer's handler did is on the peer's disk. Cancelling it changes nothing.

        Raises `RemoteFailure` if the peer refused the message for good; `QuotaExceeded`, of ``outbox_seconds``, if it
        was given up, as no word came for too long, whether the peer has handled it or not; `ConnectionClosed` if the
        application is closed first, when the message stays in the outbox.
        """
        if not self._settled:
            if self._owner is not None and self._owner is asyncio.current_task():
                raise LocalProtocolError(
                    "a message sent in a handler goes out when the handler ends: do not wait for it there"
                )
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                with WAITING.get()():
                    await waiter
            finally:
                self._waiters.remove(waiter)
        if self._failure is not None:
            failure = self._failure()
            if isinstance(failure, RemoteFailure) and self.node_id is not None:
                failure.name_peer(self.node_id)
            raise failure

    def settle(self, failure: Failure | None) -> None:
        """Say what has become of it: delivered, or failed with what ``failure`` makes."""
        self._settled, self._failure, self._owner = True, failure, None
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def sent(self) -> None:
        """Note that the handler which sent it has ended."""
        self._owner = None
