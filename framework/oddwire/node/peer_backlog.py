"""What waits for a peer that does not read as fast as it is sent to: first in, first out, and not without end."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Final

from oddwire.errors import NodeRefused, TransportError
from oddwire.jsonrpc.parameters import LIGHTNINGD
from oddwire.proto.keys import NodeId
from oddwire.transports.bolt8.transport import Bolt8Transport

__all__ = ["MAX_QUEUED", "PeerBacklog"]

MAX_QUEUED: Final = 8 * 1024 * 1024
"""Bytes that wait for one peer before `PeerBacklog.send` refuses more."""

_OVERHEAD: Final = 64  # what a message costs besides its bytes


class PeerBacklog:
    """The messages to one connection. While its peer reads, they go straight to ``transport``; no task is made."""

    __slots__ = ("_max_queued", "_node_id", "_queue", "_task", "_transport", "queued")

    def __init__(self, transport: Bolt8Transport, node_id: NodeId, max_queued: int = MAX_QUEUED) -> None:
        self.queued = 0
        """Bytes that wait, an overhead of 64 a message included."""
        self._transport = transport
        self._node_id = node_id
        self._max_queued = max_queued
        self._queue: deque[bytes] = deque()
        self._task: asyncio.Task[None] | None = None

    def send(self, payload: bytes) -> None:
        """Accept a message. Raises `NodeRefused` if too much waits already, `TransportError` without a connection."""
        if not self._queue and self._transport.send_nowait(self._node_id, payload):
            return
        size = len(payload) + _OVERHEAD
        if self.queued + size > self._max_queued:
            raise NodeRefused(
                f"Peer {self._node_id} does not read: {self.queued} bytes are queued for it, of at most "
                f"{self._max_queued}; nothing was sent, try again later",
                code=LIGHTNINGD,
            )
        self._queue.append(payload)
        self.queued += size
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name=f"send to {self._node_id}")

    def close(self) -> None:
        """Drop what waits: the connection has ended."""
        self._queue.clear()
        self.queued = 0
        if self._task is not None:
            self._task.cancel()

    async def _drain(self) -> None:
        queue = self._queue
        try:
            with contextlib.suppress(TransportError):  # the connection's end is told in another way
                while queue:
                    await self._transport.send(self._node_id, queue[0])
                    self.queued -= len(queue.popleft()) + _OVERHEAD
        finally:
            self._task = None
