"""Peers that a caller has connected, and whose connection the host node has still to report."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from oddwire.errors import ConnectionClosed
from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo

__all__ = ["ExpectedPeers"]


class ExpectedPeers:
    """Who waits for which peer, on the loop where it is made."""

    def __init__(self) -> None:
        self._waiting: dict[NodeId, list[asyncio.Future[PeerInfo]]] = {}
        self._loop = asyncio.get_running_loop()

    def __contains__(self, node_id: NodeId) -> bool:
        return node_id in self._waiting

    @contextmanager
    def awaited(self, node_id: NodeId) -> Iterator[asyncio.Future[PeerInfo]]:
        """Context manager: a future for the info of a peer, which `arrived` and `fail` settle inside the block."""
        future: asyncio.Future[PeerInfo] = self._loop.create_future()
        self._waiting.setdefault(node_id, []).append(future)
        try:
            yield future
        finally:
            if not future.cancel() and not future.cancelled():
                future.exception()  # retrieved, if nobody has awaited it
            waiting = self._waiting.get(node_id)
            if waiting is not None:  # cancelled, or too late
                waiting.remove(future)
                if not waiting:
                    del self._waiting[node_id]
            del future  # its error's traceback holds this frame

    def arrived(self, info: PeerInfo) -> None:
        """Pass on the info of a peer that is connected."""
        for future in self._waiting.pop(info.node_id, ()):
            if not future.done():
                future.set_result(info)

    def fail(self, node_id: NodeId, reason: str) -> None:
        """Raise `ConnectionClosed` in who waits for a peer."""
        for future in self._waiting.pop(node_id, ()):
            if not future.done():
                future.set_exception(ConnectionClosed(reason))

    def fail_all(self, reason: str) -> None:
        """Raise `ConnectionClosed` in everyone who waits."""
        for node_id in list(self._waiting):
            self.fail(node_id, reason)
