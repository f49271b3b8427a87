"""Nodes joined in memory, on one loop: for tests, and for applications that live in one process.

Behaves as `bolt8` does: whole payloads in order, accepted before they are delivered, bounded queues, the same errors.
Payloads are not encrypted. A network can be set to be slow, and to lose connections.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import Final

from oddwire.errors import ConnectionClosed, TransportError
from oddwire.exit_exceptions import must_pass
from oddwire.log_limits import get_logger
from oddwire.proto.features import feature_bytes
from oddwire.proto.keys import NodeId, PrivateKey
from oddwire.transports.base import (
    MAX_PAYLOAD,
    MIN_PAYLOAD,
    Manifest,
    PeerInfo,
    Sink,
    Transport,
    not_connected,
    wrong_length,
)

__all__ = ["MemoryNetwork", "MemoryTransport"]

logger = get_logger("oddwire.transports.memory")

_BATCH: Final = 256  # payloads delivered to one sink before other peers have their turn


class MemoryNetwork:
    """A network of memory transports.

    ``delay`` is how many seconds every payload, and the end of every connection, is under way; ``queue_size`` is the
    max bytes queued for a peer that does not read before `Transport.send` waits. ``delay`` may be changed at any time,
    for payloads sent from then on.
    """

    def __init__(self, *, delay: float = 0.0, queue_size: int = 256 * 1024) -> None:
        self.delay = delay
        self.queue_size = queue_size
        self.nodes: dict[NodeId, MemoryTransport] = {}
        """The open transports by node id."""
        self._numbers = itertools.count(1)

    def transport(self, key: PrivateKey | None = None) -> MemoryTransport:
        """Return a new transport of this network; ``key`` determines its node id, by default from a running number."""
        return MemoryTransport(key, network=self)

    def drop(self, one: NodeId, other: NodeId, reason: str = "connection lost") -> None:
        """Lose the connection between two nodes, and all payloads under way. Does nothing if there is none."""
        node = self.nodes.get(one)
        if node is not None:
            node.drop(other, reason)

    def next_key(self) -> PrivateKey:
        """Return the next running number as a private key: so node ids in tests are the same in every run."""
        return PrivateKey(next(self._numbers).to_bytes(32, "big"))


class MemoryTransport(Transport):
    """One node of a `MemoryNetwork`: of ``network``, or alone on one of its own.

    ``node_id`` is made from ``key``; peers see the features of the manifest. ``warnings`` are the last ones that
    peers sent, each with its sender. Others on the network dial ``node_id@memory`` while it is open.
    """

    def __init__(self, key: PrivateKey | None = None, *, network: MemoryNetwork | None = None) -> None:
        if network is not None and not isinstance(network, MemoryNetwork):
            raise TypeError(f"network should be a MemoryNetwork, not {type(network).__name__}")
        self.network = network if network is not None else MemoryNetwork()
        # Always known, and set once
        self.node_id: NodeId = NodeId((key or self.network.next_key()).public_key())  # pyright: ignore[reportIncompatibleVariableOverride]
        self.uris = []
        self.warnings: deque[tuple[NodeId, str]] = deque(maxlen=100)
        self._ends: dict[NodeId, _End] = {}
        self._sink: Sink | None = None
        self._features = b""
        self._closed = False

    # Transport ----------------------------------------------------------------------------------------

    async def open(self, manifest: Manifest, sink: Sink) -> None:
        """Join the network. Raises `TransportError` if this node is on it already, or was closed."""
        if self._sink is not None or self._closed:
            raise TransportError("this transport was opened before; make a new one")
        if self.node_id in self.network.nodes:
            raise TransportError(f"node {self.node_id} is on this network already")
        self._sink = sink
        self._features = feature_bytes(manifest.features)
        self.network.nodes[self.node_id] = self
        self.uris = [f"{self.node_id}@memory"]

    async def send(self, peer: NodeId, payload: bytes) -> None:  # noqa: D102 - as the base says
        if not MemoryTransport.send_nowait(self, peer, payload):  # ours, even if a subclass overrides it
            await self._ends[peer].other.take_in_turn(payload)

    def send_nowait(self, peer: NodeId, payload: bytes) -> bool:  # noqa: D102 - as the base says
        end = self._ends.get(peer)
        if end is None:
            raise not_connected(peer)
        if not MIN_PAYLOAD <= len(payload) <= MAX_PAYLOAD:
            raise wrong_length(len(payload))
        if end.other.congested:
            return False
        end.other.take(payload)
        return True

    def pause(self, peer: NodeId) -> None:  # noqa: D102 - as the base says
        end = self._ends.get(peer)
        if end is not None:
            end.paused = True

    def resume(self, peer: NodeId) -> None:  # noqa: D102 - as the base says
        end = self._ends.get(peer)
        if end is not None:
            end.paused = False
            end.schedule()

    async def disconnect(self, peer: NodeId, reason: str = "") -> None:
        """End the connection; the peer still reads what was sent before."""
        end = self._ends.get(peer)
        if end is not None:
            end.hang_up(reason or "disconnected by us")

    def warn(self, peer: NodeId, text: str) -> None:
        """Add to the peer's ``warnings``."""
        if peer in self._ends:
            node = self.network.nodes.get(peer)
            if node is not None:
                node.warnings.append((self.node_id, text))

    async def aclose(self) -> None:
        """Leave the network; peers still read what was sent before. Idempotent."""
        self._closed = True
        self.uris = []
        if self.network.nodes.get(self.node_id) is self:
            del self.network.nodes[self.node_id]
        for end in list(self._ends.values()):
            end.hang_up("closed by us")

    def abort(self, reason: str = "connection lost") -> None:
        """Leave the network at once, as the end of the process would; what is under way is lost."""
        self._closed = True
        self.uris = []
        if self.network.nodes.get(self.node_id) is self:
            del self.network.nodes[self.node_id]
        for peer in list(self._ends):
            self.drop(peer, reason)

    # Beyond Transport ---------------------------------------------------------------------------------

    @property
    def peers(self) -> list[PeerInfo]:
        """Every connected peer."""
        return [end.info for end in self._ends.values()]

    async def connect(self, uri: str) -> PeerInfo:
        """Connect to a node of the network by URI or node id; return its info, at once if it is connected already.

        Raises `ValueError` for a bad URI, `TransportError` if no such node is open. Cancelling aborts the attempt.
        """
        node_id = NodeId(uri.partition("@")[0])
        if node_id == self.node_id:
            raise ValueError(f"{uri}: that is this node itself")
        await asyncio.sleep(self.network.delay)
        if self._sink is None or self._closed:
            raise TransportError("open the transport before you connect")
        if node_id not in self._ends:
            other = self.network.nodes.get(node_id)
            if other is None:
                raise TransportError(f"no node {node_id} is on this network")
            self._join(other)
        end = self._ends.get(node_id)
        if end is None:
            raise ConnectionClosed("closed as soon as it was open")
        return end.info

    def drop(self, peer: NodeId, reason: str) -> None:
        """Lose the connection to ``peer``; see `MemoryNetwork.drop`."""
        end = self._ends.get(peer)
        if end is not None:
            end.close(reason)
            end.other.close(reason)

    def _join(self, other: MemoryTransport) -> None:
        stale = other._ends.get(self.node_id)
        if stale is not None:  # the node has not read the end of the last connection yet
            stale.close("the peer connected anew")
        assert self._sink is not None and other._sink is not None  # noqa: S101, PT018 - narrows for type checkers
        them = PeerInfo(node_id=other.node_id, address="memory", features=other._features)
        us = PeerInfo(node_id=self.node_id, address="memory", direction="in", features=self._features)
        ours = self._ends[other.node_id] = _End(self.network, self._sink, self._ends, them)
        theirs = other._ends[self.node_id] = _End(self.network, other._sink, other._ends, us)
        ours.other, theirs.other = theirs, ours
        for end in (theirs, ours):
            if not end.closed:
                _call_sink(end.sink.peer_connected, end.info)


class _End:
    """One side of a connection: the queue of payloads sent to it and not delivered to ``sink`` yet.

    ``ends`` are the ends of the same node, by peer; this one removes itself. None in the queue ends the connection.
    """

    __slots__ = (
        "_arrived",
        "_ends",
        "_loop",
        "_network",
        "_queue",
        "_scheduled",
        "_size",
        "_waiting",
        "closed",
        "info",
        "other",
        "paused",
        "sink",
    )

    def __init__(self, network: MemoryNetwork, sink: Sink, ends: dict[NodeId, _End], info: PeerInfo) -> None:
        self._network = network
        self._ends = ends
        self.sink = sink
        self.info = info  # the peer at the other side
        self.other: _End = _NOBODY  # the other side, until both are closed: the two refer to each other
        self.paused = False
        self.closed: bool = False
        self._loop = asyncio.get_running_loop()
        self._queue: deque[bytes | None] = deque()
        self._arrived = 0  # payloads of the queue that have arrived; the rest is under way, on a network with a delay
        self._size = 0  # bytes in the queue
        self._scheduled = False
        self._waiting: deque[asyncio.Future[None]] = deque()  # waiting senders, first come first served

    @property
    def congested(self) -> bool:
        """Whether a sender has to wait: for room, or behind another sender."""
        return self._size >= self._network.queue_size or bool(self._waiting)

    async def take_in_turn(self, payload: bytes) -> None:
        """Wait for room, first come first served, and `take`. Raises `ConnectionClosed`."""
        turn = self._loop.create_future()
        self._waiting.append(turn)
        try:
            await turn
            if self.other.closed:
                raise ConnectionClosed
            self.take(payload)
        finally:
            self._waiting.remove(turn)
            del turn  # its error's traceback holds this frame
            self._grant()  # cancelled: the turn was not used

    def take(self, payload: bytes | None) -> None:
        """Queue a payload, or None for the end of the connection; dropped if this side has closed already."""
        if self.closed:
            return
        self._queue.append(payload)
        self._size += len(payload or b"")
        delay = self._network.delay
        if delay > 0:
            self._loop.call_later(delay, self._arrive)
        else:
            self._arrive()

    def schedule(self) -> None:
        """Schedule delivery of arrived payloads for the next event-loop iteration."""
        if self._arrived and not (self._scheduled or self.paused or self.closed):
            self._scheduled = True
            self._loop.call_soon(self._deliver)

    def hang_up(self, reason: str) -> None:
        """Close this side at once, and the other side after the payloads sent to it."""
        self.close(reason)
        self.other.fail(reason)
        self.other.take(None)

    def close(self, reason: str) -> None:
        """Close only this side; its queued payloads are lost."""
        if self.closed:
            return
        self.closed = True
        self._queue.clear()
        self._arrived = self._size = 0
        del self._ends[self.info.node_id]
        self.fail(reason)
        other = self.other
        if other.closed:
            self.other = other.other = _NOBODY
        _call_sink(self.sink.peer_disconnected, self.info.node_id, reason)

    def fail(self, reason: str) -> None:
        """Fail the senders that wait for this side."""
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(ConnectionClosed(reason))

    def _arrive(self) -> None:
        if not self.closed:
            self._arrived += 1
            self.schedule()

    def _deliver(self) -> None:
        self._scheduled = False
        node_id, received = self.info.node_id, self.sink.payload_received
        for _ in range(_BATCH):
            if self.paused or not self._arrived:
                break
            self._arrived -= 1
            payload = self._queue.popleft()
            if payload is None:
                self.close("closed by the peer")
                return
            self._size -= len(payload)
            _call_sink(received, node_id, payload)
        self._grant()
        self.schedule()

    def _grant(self) -> None:
        if self._waiting and not self._waiting[0].done() and self._size < self._network.queue_size:
            self._waiting[0].set_result(None)


_NOBODY: Final = _End.__new__(_End)  # the other side of an end that has none: closed, without a queue
_NOBODY.closed = True
_NOBODY._waiting = deque()  # noqa: SLF001
_NOBODY.other = _NOBODY


def _call_sink(method: Callable[..., None], *arguments: object) -> None:
    try:
        method(*arguments)
    except BaseException as error:  # sinks must not raise; one that does should not lose the messages of others
        if must_pass(error):
            raise
        logger.exception("the sink raised in %s", method.__name__)
