"""The receipt of a reliable message, by which its sender waits for the delivery."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Final, TypeAlias

from oddwire.errors import LocalProtocolError, OddwireError, RemoteFailure

__all__ = ["WAITING", "Failure", "Receipt"]

Failure: TypeAlias = Callable[[], OddwireError]
"""Returns a new exception that says why a message was not delivered."""
WAITING: Final[ContextVar[Callable[[], AbstractContextManager[None]]]] = ContextVar(
    "oddwire_waiting", default=nullcontext
)
"""Entered while a task waits for a receipt: requests need not wait for the end of an on_connect that does so."""


class Receipt:
    """The outcome of one reliable message."""

    __slots__ = ("__weakref__", "_failure", "_owner", "_settled", "_waiters", "node_id")

    def __init__(self, node_id: object = None, owner: asyncio.Task[object] | None = None) -> None:
        self.node_id = node_id
        """The peer that the message is for."""
        self._owner = owner  # the task whose handler has to end before the message is sent
        self._settled = False
        self._failure: Failure | None = None
        self._waiters: list[asyncio.Future[None]] = []

    async def delivered(self) -> None:
        """Wait until the effects of the peer's handler are on the peer's disk. Cancellation has no effect on delivery.

        Raises `RemoteFailure` if the peer refused the message for good; `QuotaExceeded` (``outbox_seconds``) if it
        expired without an ack, whether the peer has handled it or not; `ConnectionClosed` if the application is closed
        first, while the message stays in the outbox; `LocalProtocolError` in the handler that sent it, since it is sent
        only when that has ended, or if that handler failed.
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
        """Set the outcome: delivered, or failed with the exception that ``failure`` returns; wake all waiting tasks."""
        self._settled, self._failure, self._owner = True, failure, None
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def sent(self) -> None:
        """Record that the handler that sent the message has ended, so that `delivered` may be awaited."""
        self._owner = None
