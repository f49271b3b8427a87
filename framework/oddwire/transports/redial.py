"""Dialing a lost peer again, with exponential backoff and jitter."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable

from oddwire.errors import TransportError
from oddwire.proto.addresses import NodeUri
from oddwire.proto.keys import NodeId

__all__ = ["Redial", "wait_after"]


class Redial:
    """A peer that is to stay connected: its addresses, and the task that dials them while it is not.

    ``dial`` tries a list of addresses once, raising `TransportError` if none answers; ``connected`` returns whether the
    peer is connected, and failures go to ``logger``. Waits double from ``first`` to ``most`` seconds, each shortened by
    a random part of up to half.
    """

    __slots__ = ("_connected", "_dial", "_first", "_logger", "_most", "_node_id", "_task", "_uris", "_wake")

    def __init__(
        self,
        node_id: NodeId,
        dial: Callable[[Iterable[NodeUri]], Awaitable[None]],
        connected: Callable[[NodeId], bool],
        first: float,
        most: float,
        logger: logging.Logger,
    ) -> None:
        self._dial = dial
        self._connected = connected
        self._node_id = node_id
        self._first = first
        self._most = most
        self._logger = logger
        self._uris: list[NodeUri] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, uri: NodeUri) -> None:
        """Add an address; addresses are tried in the order they were added."""
        if uri not in self._uris:
            self._uris.append(uri)
        self._wake.set()

    def start(self) -> None:
        """Start the task that dials. Idempotent."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"dial {self._node_id}")

    async def aclose(self) -> None:
        """Stop for good; a dial under way is cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def wake(self) -> None:
        """Wake the task: the peer has connected or disconnected."""
        self._wake.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            if self._connected(self._node_id):
                since = loop.time()
                self._wake.clear()
                await self._wake.wait()
                if self._connected(self._node_id):
                    continue  # only an address was added
                # Connections that never last are backed off from like failed dials
                failures = 1 if loop.time() - since >= self._most else failures + 1
                await asyncio.sleep(self.delay(failures))
                continue
            try:
                await self._dial(list(self._uris))
            except TransportError as error:
                failures += 1
                delay = self.delay(failures)
                self._logger.info("%s; trying again in %.1f s", error, delay)
                await asyncio.sleep(delay)
            else:
                if not self._connected(self._node_id):  # the connection ended before we could look
                    failures += 1
                    await asyncio.sleep(self.delay(failures))

    def delay(self, failures: int) -> float:
        """Return the seconds before the next attempt: doubled per failure, capped, and randomized."""
        return wait_after(failures, self._first, self._most)


def wait_after(failures: int, first: float, most: float) -> float:
    """Return how many seconds to wait after so many failures, 1 or more, in a row."""
    longest = min(most, first * 2.0 ** (min(failures, 30) - 1))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
