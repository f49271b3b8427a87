"""One peer of a `Bolt8Transport`: its connection, BOLT 1's rules on it, and who waits for it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from oddwire.errors import ConnectionClosed, LocalProtocolError
from oddwire.logs import get_logger
from oddwire.proto.bolt1 import NO_PONG, Bolt1, Init, Notice, Pong
from oddwire.proto.connection import LightningConnection
from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo

__all__ = ["Bolt8Limits", "Bolt8Peer"]

logger = get_logger("oddwire.transports.bolt8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bolt8Limits:
    """What a `Bolt8Transport` allows and how long it waits; times in seconds."""

    max_peers: int = 4096
    max_handshakes: int = 128
    handshake_timeout: float = 10.0
    """For who dials us; and for our own dials, look-up and TCP included, if ``connect_timeout`` says nothing."""
    connect_timeout: float | None = None
    """For our own dials, and then for the peer's init. By default ``handshake_timeout`` and ``init_timeout``; by proxy
    120 s at least, as Tor takes long."""
    init_timeout: float = 30.0
    ping_after: float = 60.0
    ping_patience: float = 30.0
    twin_patience: float = 1.0
    """How long to see which of two connections, dialed crosswise, the peer closes."""
    redial_first: float = 1.0
    redial_most: float = 60.0


class Bolt8Peer:
    """A connection past BOLT 8, from before its init until it closes. ``ready`` is who dialed it and waits."""

    __slots__ = ("_pong", "_ready", "address", "connection", "info", "node_id", "rules", "since")

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
        self.address = connection.peer_address
        self.info: PeerInfo | None = None  # once it has sent its init
        self._ready = ready
        self._pong: tuple[int, asyncio.Future[None]] | None = None

    def control(self, payload: bytes) -> Init | None:
        """Take a payload that is BOLT 1's business; give the peer's init, if it is that. `flush` afterwards."""
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
        """Send what the rules have to say, and close if they say so."""
        for payload in self.rules.outgoing():
            with contextlib.suppress(ConnectionClosed):
                self.connection.answer(payload)
        if self.rules.closed is not None:
            self.connection.close(self.rules.closed)

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
            del waiter  # whose error's traceback holds this frame
        return 4 + num_pong_bytes

    def is_ready(self, info: PeerInfo) -> None:
        """Tell who dialed that the peer is connected."""
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(info)

    def is_gone(self, reason: str) -> None:
        """Tell whoever waits for the peer that its connection has ended."""
        error = ConnectionClosed(f"{self.node_id}: {reason}")
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # a dialer that gave up does not look
        if self._pong is not None and not self._pong[1].done():
            self._pong[1].set_exception(error)
