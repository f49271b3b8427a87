"""One peer of a `Bolt8Transport`: its connection, BOLT 1's rules on it, and the callers waiting for it."""

from __future__ import annotations

import asyncio
import contextlib
import math

from oddwire.errors import ConnectionClosed, LocalProtocolError
from oddwire.log_limits import get_logger
from oddwire.proto.bolt1 import NO_PONG, Bolt1, Init, Notice, Pong
from oddwire.proto.connection import LightningConnection
from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo

__all__ = ["Bolt8Peer"]

logger = get_logger("oddwire.transports.bolt8")


class Bolt8Peer:
    """A connection after its handshake, until it closes. ``ready`` is the future that a dialer awaits."""

    __slots__ = (
        "_pong",
        "_ready",
        "_unwritten",
        "_unwritten_since",
        "address",
        "connection",
        "info",
        "node_id",
        "rules",
        "since",
        "spoke_at",
    )

    def __init__(
        self,
        connection: LightningConnection,
        node_id: NodeId,
        rules: Bolt1,
        since: float,
        ready: asyncio.Future[PeerInfo] | None = None,
    ) -> None:
        self.connection = connection
        self.node_id = node_id
        self.rules = rules
        self.since = since
        self.spoke_at = since
        """When an application's message last went either way, as of the last `tick`."""
        self.address = connection.peer_address
        self.info: PeerInfo | None = None  # set by its init
        self._ready = ready
        self._pong: tuple[int, asyncio.Future[None]] | None = None
        self._unwritten = 0  # unwritten bytes at the last `tick`
        self._unwritten_since = since

    def control(self, payload: bytes) -> Init | None:
        """Handle a payload of BOLT 1; return the peer's init, if it is one. `flush` afterwards."""
        event = self.rules.receive(payload, asyncio.get_running_loop().time())
        if isinstance(event, Init):
            return event
        if isinstance(event, Notice):
            logger.warning("%s sent %s: %s", self.node_id, event.kind, event.text)
        elif isinstance(event, Pong) and self._pong is not None:
            size, waiter = self._pong
            if size == event.size and not waiter.done():
                waiter.set_result(None)
        return None

    def flush(self) -> None:
        """Send the outgoing payloads of the rules, and close if they require it."""
        for payload in self.rules.outgoing():
            with contextlib.suppress(ConnectionClosed):
                self.connection.answer(payload)
        if self.rules.closed is not None:
            self.connection.close(self.rules.closed)

    def tick(self, now: float, write_patience: float) -> None:
        """Check the timeouts: ping, close, or abort if the peer has read nothing for ``write_patience`` seconds."""
        connection = self.connection
        if connection.spoke:
            connection.spoke = False
            self.spoke_at = now
        # A paused peer is not read, so its silence means nothing
        received, connection.received = connection.received or connection.paused, False
        self.rules.tick(now, received=received)
        self.flush()
        unwritten = connection.unwritten
        if not connection.congested or unwritten < self._unwritten:
            self._unwritten_since = now
        elif now >= self._unwritten_since + write_patience:
            connection.abort(f"the peer has read nothing for {write_patience:g} s")
        self._unwritten = unwritten

    async def ping(self, padding: int, num_pong_bytes: int) -> int:
        """Send a ping and wait for its pong; see `Bolt8Transport.ping`."""
        if self._pong is not None:
            raise LocalProtocolError("a ping to this peer is under way already")
        loop = asyncio.get_running_loop()
        self.connection.send_nowait(self.rules.ping(loop.time(), num_pong_bytes, padding))
        if num_pong_bytes >= NO_PONG:
            return 0
        waiter: asyncio.Future[None] = loop.create_future()
        self._pong = num_pong_bytes, waiter
        try:
            await waiter
        finally:
            self._pong = None
            del waiter  # its error's traceback holds this frame
        return 4 + num_pong_bytes

    @property
    def last_spoke(self) -> float:
        """When an application's message last went either way; infinity if since the last `tick`."""
        return math.inf if self.connection.spoke else self.spoke_at

    def is_ready(self, info: PeerInfo) -> None:
        """Set ``ready``: the peer is connected."""
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(info)

    def is_gone(self, reason: str) -> None:
        """Fail ``ready`` and waiting pings: the connection has ended."""
        error = ConnectionClosed(f"{self.node_id}: {reason}")
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # retrieved, as a cancelled dialer does not
        if self._pong is not None and not self._pong[1].done():
            self._pong[1].set_exception(error)
