"""`RecordingSink`: a sink that records a transport's events, and lets a test wait for more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from oddwire.durations import duration
from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo

__all__ = ["Connected", "Disconnected", "Received", "RecordingSink"]


@dataclass(frozen=True, slots=True)
class Connected:
    """`peer_connected` was called."""

    info: PeerInfo


@dataclass(frozen=True, slots=True)
class Received:
    """`payload_received` was called."""

    peer: NodeId
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Disconnected:
    """`peer_disconnected` was called."""

    peer: NodeId
    reason: str


class RecordingSink:
    """Records every event of peers, in order, in ``events``, and the reasons why the host stops in ``stopped``.

    ``on_payload`` is called with each payload after it was recorded: to pause in the middle, or to raise.
    ``patience`` is how many seconds `until` waits.
    """

    def __init__(self, on_payload: Callable[[NodeId, bytes], None] | None = None, *, patience: float = 30.0) -> None:
        self.events: list[Connected | Received | Disconnected] = []
        self.stopped: list[str] = []
        self.on_payload = on_payload
        self.patience = patience
        self.unsettled: list[tuple[NodeId, Callable[[], object]]] | None = None
        self._changed = asyncio.Event()

    def peer_connected(self, peer: PeerInfo) -> None:
        """Record a `Connected`."""
        self._record(Connected(peer))

    def payload_received(self, peer: NodeId, payload: bytes) -> None:
        """Record a `Received`, then call ``on_payload``."""
        self._record(Received(peer, payload))
        if self.on_payload is not None:
            self.on_payload(peer, payload)

    def peer_disconnected(self, peer: NodeId, reason: str) -> None:
        """Record a `Disconnected`."""
        self._record(Disconnected(peer, reason))

    def settled(self, peer: NodeId, call: Callable[[], object]) -> None:
        """Call at once, or when the test does, if it has set ``unsettled`` to a list: that takes the calls then."""
        if self.unsettled is None:
            call()
        else:
            self.unsettled.append((peer, call))

    def host_stopping(self, reason: str) -> None:
        """Record the reason in ``stopped``."""
        self.stopped.append(reason)
        self._changed.set()

    @property
    def payloads(self) -> list[bytes]:
        """All payloads, of all peers."""
        return [event.payload for event in self.events if isinstance(event, Received)]

    @property
    def connected(self) -> list[PeerInfo]:
        """The `PeerInfo` of every peer that connected, once per connection."""
        return [event.info for event in self.events if isinstance(event, Connected)]

    @property
    def disconnected(self) -> list[NodeId]:
        """Every peer that disconnected, once per connection."""
        return [event.peer for event in self.events if isinstance(event, Disconnected)]

    async def until(self, condition: Callable[[RecordingSink], object]) -> None:
        """Wait until ``condition`` of this sink holds. Raises `TimeoutError`, listing the recorded events."""
        try:
            async with asyncio.timeout(self.patience):
                while not condition(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            last = "; ".join(map(repr, self.events[-5:]))
            raise TimeoutError(
                f"waited {duration(self.patience)} without success; {len(self.events)} events, the last: {last}"
            ) from None

    def _record(self, event: Connected | Received | Disconnected) -> None:
        self.events.append(event)
        self._changed.set()
