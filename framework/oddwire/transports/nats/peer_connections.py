"""Connections of a partition's peers, as their owner knows them; and messages of the stream, until they are handled."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo

__all__ = ["PeerConnection", "StreamMessage"]


class StreamMessage:
    """A message of the stream, which stays there until it is handled.

    ``waits`` counts what it waits for: each of its ``peers``, of whom it has payloads, and who reads it. ``handled``
    are connections, each with the number of the payload up to which it is handled; ``complete`` once that is all.
    """

    __slots__ = ("complete", "handled", "peers", "run", "sequence", "waits")

    def __init__(self, sequence: int, run: int) -> None:
        self.sequence = sequence
        self.run = run
        self.handled: list[tuple[int, int]] = []
        self.peers: tuple[NodeId, ...] = ()
        self.waits = 1
        self.complete = False


class PeerConnection:
    """One connection of a peer, by its number in a ``run`` of the gateway."""

    __slots__ = (
        "full",
        "gone",
        "handled",
        "held",
        "idle",
        "info",
        "next",
        "number",
        "peer",
        "roomy",
        "run",
        "size",
        "stopped",
        "unacknowledged",
        "unreachable",
        "waiting",
    )

    def __init__(self, number: int, info: PeerInfo, next_place: int, run: int = 0) -> None:
        self.number = number
        self.run = run
        self.info = info
        self.peer: NodeId = info.node_id
        self.next = next_place
        """The number that its next payload should have; before the marker, the least that it may have."""
        self.handled = 0
        """The number of the payload up to which it was handled when the peer was last paused."""
        self.stopped = False
        """Whether the gateway was told to pause it."""
        self.gone = ""
        """Why it has ended, empty before."""
        self.unreachable = False
        """Whether the gateway has said that it has no such connection: the end of it is still to come."""
        # What is sent to it
        self.full = False
        """Whether the gateway takes nothing more for now."""
        self.roomy = False
        """Whether it was told to have room since the last batch was sent."""
        self.size = 0
        """Bytes that the gateway has not accepted."""
        self.held: deque[bytes] = deque()
        """Payloads that wait until it is not full."""
        self.waiting: deque[asyncio.Future[None]] = deque()
        """Senders that wait for room, first come first served."""
        self.idle: list[Callable[[], object]] = []
        """Called once nothing waits for the gateway."""
        self.unacknowledged: list[StreamMessage] = []
        """Messages of the peer that were handled, while the answers to them are held."""
