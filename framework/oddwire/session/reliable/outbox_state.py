"""What the outbox knows of each peer and lane."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Container
from typing import NamedTuple
from weakref import WeakValueDictionary

from oddwire.proto.keys import NodeId
from oddwire.session.reliable.lanes import Sender
from oddwire.session.reliable.receipt import Failure, Receipt
from oddwire.session.reliable.receivers import Known, Search

__all__ = ["Load", "Loss", "OutboxLane", "OutboxPeer", "OutboxRow", "OutboxShare", "new_lane"]


def new_lane(taken: Container[int]) -> int:
    """Return a random number for a lane, none of those ``taken``."""
    while (lane := int.from_bytes(os.urandom(8), "big")) in taken:
        pass
    return lane


class Load:
    """How much is on its way and not settled."""

    __slots__ = ("bytes", "messages")

    def __init__(self) -> None:
        self.messages = 0
        self.bytes = 0


class OutboxLane:
    """One lane to one peer: an extension's messages. ``extension`` is empty while that is not known."""

    __slots__ = (
        "address",
        "extension",
        "id",
        "known",
        "lane",
        "linked",
        "load",
        "next",
        "peer",
        "receipts",
        "search",
        "sender",
        "sizes",
        "stored",
        "used",
        "wanted",
    )

    def __init__(self, id: int, peer: OutboxPeer, lane: int, extension: str, sender: Sender) -> None:  # noqa: A002
        self.id = id
        self.peer = peer
        self.lane = lane
        self.extension = extension
        self.sender = sender
        self.next = sender.stop
        self.sizes: deque[int] = deque()  # of the payloads that are not settled
        self.receipts: WeakValueDictionary[int, Receipt] = WeakValueDictionary()  # by number, while somebody has one
        self.load = Load()
        self.address = 0
        """The route of the session that the messages go in, 0 for none."""
        self.linked = False
        """Whether they do: before, it is on disk to whom they go."""
        self.known: Known | None = None
        """To whom they went last, as it is on disk."""
        self.wanted: Known | None = None
        """The same, as it will be on disk."""
        self.used = 0.0
        """When a message was sent or settled last, about."""
        self.stored = False
        """Whether there is a row of it on disk."""
        self.search = Search()

    def add(self, messages: int, size: int) -> None:
        """Count so much more, for the lane and for the peer."""
        for load in (self.load, self.peer.load, self.peer.total):
            load.messages += messages
            load.bytes += size


class OutboxPeer:
    """What is on its way to one peer, all lanes together."""

    __slots__ = ("current", "lanes", "load", "node_id", "total")

    def __init__(self, node_id: NodeId, total: Load | None = None) -> None:
        self.node_id = node_id
        self.total = total or Load()  # of all peers
        self.load = Load()
        self.lanes: dict[int, OutboxLane] = {}
        """Those of its lanes that are in use, by number."""
        self.current: dict[str, OutboxLane] = {}
        """The newest of an extension's, which its next message goes in: after a move there may be several."""

    def add(self, lane: OutboxLane) -> None:
        """Have a lane in use."""
        self.lanes[lane.lane] = self.current[lane.extension] = lane

    def remove(self, lane: OutboxLane) -> None:
        """Have a lane in use no more."""
        del self.lanes[lane.lane]
        if self.current.get(lane.extension) is lane:
            del self.current[lane.extension]
            for other in self.lanes.values():
                if other.extension == lane.extension:
                    self.current[lane.extension] = other

    def load_of(self, extension: str) -> Load:
        """Return how much of an extension's is not settled."""
        load = Load()
        for lane in self.lanes.values():
            if lane.extension == extension:
                load.messages += lane.load.messages
                load.bytes += lane.load.bytes
        return load


class OutboxRow(NamedTuple):
    """One message: its number, when it was made by the clock of `Ages`, and whose receipt hears of it."""

    lane: OutboxLane
    number: int
    made: float
    payload: bytes
    receipt: Receipt


class Loss(NamedTuple):
    """A message that will not be delivered: why, by ``code`` and what its receipt raises, and how old it is in seconds.

    ``extension`` is empty where it is not known. ``payload`` is empty, and ``age`` None, if the database does not give
    them any more.
    """

    node_id: NodeId
    extension: str
    payload: bytes
    code: int
    failure: Failure
    age: float | None


class OutboxShare:
    """What one commit writes."""

    __slots__ = (
        "failed",
        "forgotten",
        "known",
        "lanes",
        "renewed",
        "renumbered",
        "rows",
        "settled",
        "touched",
        "whole",
    )

    def __init__(self) -> None:
        self.rows: list[OutboxRow] = []
        self.failed: list[tuple[Receipt, Failure]] = []
        self.touched: dict[OutboxLane, None] = {}
        self.whole: dict[OutboxLane, None] = {}
        """Those of the touched of which more has changed than their numbers."""
        self.known: dict[OutboxLane, Known | None] = {}
        self.settled: dict[OutboxLane, int] = {}
        self.renumbered: dict[OutboxLane, tuple[int, int]] = {}
        self.renewed = False
        """Whether all lanes get other numbers; ``lanes`` has those."""
        self.lanes: dict[OutboxLane, int] = {}
        self.forgotten: dict[int, None] = {}
        """Lanes by their ids that have not been used for long."""
