"""The queue of messages to a peer that reads slower than they are sent: first in, first out, with a limit."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final

from oddwire.errors import NodeRefused, TransportError
from oddwire.jsonrpc.parameters import LIGHTNINGD
from oddwire.proto.keys import NodeId
from oddwire.transports.bolt8.transport import Bolt8Transport

__all__ = ["MAX_QUEUED", "PeerBacklog"]

MAX_QUEUED: Final = 8 * 1024 * 1024
"""Max bytes that wait for one peer; `PeerBacklog.send` refuses more."""

_OVERHEAD: Final = 64  # bytes counted per message in addition to its own


class PeerBacklog:
    """The messages to one connection. While the peer reads, they go straight to the transport, without a task."""

    __slots__ = ("_max_queued", "_node_id", "_queue", "_task", "_transport", "look", "queued")

    def __init__(self, transport: Bolt8Transport, node_id: NodeId, max_queued: int = MAX_QUEUED) -> None:
        self.queued = 0
        """Bytes that wait, plus 64 per message."""
        self.look: Callable[[bytes], object] | None = None
        """Called with each message that was accepted, while somebody wants to know."""
        self._transport = transport
        self._node_id = node_id
        self._max_queued = max_queued
        self._queue: deque[bytes] = deque()
        self._task: asyncio.Task[None] | None = None

    def send(self, payload: bytes) -> None:
        """Send or queue a message. Raises `NodeRefused` if the queue is full, `TransportError` without a connection."""
        if not self._queue and self._transport.send_nowait(self._node_id, payload):
            if self.look is not None:
                self.look(payload)
            return
        size = len(payload) + _OVERHEAD
        if self.queued + size > self._max_queued:
            raise NodeRefused(
                f"Peer {self._node_id} does not read: {self.queued} bytes are queued for it, of at most "
                f"{self._max_queued}; nothing was sent, try again later",
                code=LIGHTNINGD,
            )
        if self.look is not None:
            self.look(payload)
        self._queue.append(payload)
        self.queued += size
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name=f"send to {self._node_id}")

    def close(self) -> None:
        """Drop the waiting messages: the connection has ended."""
        self._queue.clear()
        self.queued = 0
        if self._task is not None:
            self._task.cancel()

    async def _drain(self) -> None:
        queue = self._queue
        try:
            with contextlib.suppress(TransportError):  # `ConnectedPeers.peer_disconnected` handles the end
                while queue:
                    await self._transport.send(self._node_id, queue[0])
                    self.queued -= len(queue.popleft()) + _OVERHEAD
        finally:
            self._task = None
