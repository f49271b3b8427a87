"""The outbox's state in memory for each peer and lane, and the share of a commit."""

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
    """Return a random u64 as the number of a new lane, none of those ``taken``."""
    while (lane := int.from_bytes(os.urandom(8), "big")) in taken:
        pass
    return lane


class Load:
    """The number and payload bytes of messages that are not settled."""

    __slots__ = ("bytes", "messages")

    def __init__(self) -> None:
        self.messages = 0
        self.bytes = 0


class OutboxLane:
    """One lane: an extension's messages to one peer. ``extension`` is empty while it is not known whose lane it is."""

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
        self.sizes: deque[int] = deque()  # of the payloads that are not settled, in bytes
        self.receipts: WeakValueDictionary[int, Receipt] = WeakValueDictionary()  # by number
        self.load = Load()
        self.address = 0
        """The route of the session for the lane's messages, 0 for none."""
        self.linked = False
        """Whether messages are sent there: not before it is on disk to which program."""
        self.known: Known | None = None
        """The program that the lane was sent to last, as on disk."""
        self.wanted: Known | None = None
        """The program that will be on disk."""
        self.used = 0.0
        """About when a message was last accepted or settled, by the clock of `Ages`."""
        self.stored = False
        """Whether the lane has a row on disk."""
        self.search = Search()

    def add(self, messages: int, size: int) -> None:
        """Add to the loads of the lane, its peer, and all peers."""
        for load in (self.load, self.peer.load, self.peer.total):
            load.messages += messages
            load.bytes += size


class OutboxPeer:
    """One peer: its lanes in memory, and the load of all of them."""

    __slots__ = ("current", "lanes", "load", "node_id", "total")

    def __init__(self, node_id: NodeId, total: Load | None = None) -> None:
        self.node_id = node_id
        self.total = total or Load()  # of all peers
        self.load = Load()
        self.lanes: dict[int, OutboxLane] = {}
        """The peer's lanes in memory, by number."""
        self.current: dict[str, OutboxLane] = {}
        """The newest lane of each extension, for its next message: after a move an extension may have several."""

    def add(self, lane: OutboxLane) -> None:
        """Add a lane, as the newest of its extension."""
        self.lanes[lane.lane] = self.current[lane.extension] = lane

    def remove(self, lane: OutboxLane) -> None:
        """Remove a lane from memory."""
        del self.lanes[lane.lane]
        if self.current.get(lane.extension) is lane:
            del self.current[lane.extension]
            for other in self.lanes.values():
                if other.extension == lane.extension:
                    self.current[lane.extension] = other

    def load_of(self, extension: str) -> Load:
        """Return the load of all lanes of an extension."""
        load = Load()
        for lane in self.lanes.values():
            if lane.extension == extension:
                load.messages += lane.load.messages
                load.bytes += lane.load.bytes
        return load


class OutboxRow(NamedTuple):
    """One message to write: its lane and number, when it was accepted by the clock of `Ages`, and its receipt."""

    lane: OutboxLane
    number: int
    made: float
    payload: bytes
    receipt: Receipt


class Loss(NamedTuple):
    """A message that will not be delivered.

    ``code`` and ``failure``, which returns what the receipt raises, say why; ``age`` is in seconds. ``extension`` is
    empty if it is not known. ``payload`` is empty and ``age`` None if they cannot be read from the database any more.
    """

    node_id: NodeId
    extension: str
    payload: bytes
    code: int
    failure: Failure
    age: float | None


class OutboxShare:
    """The outbox's share of one commit."""

    __slots__ = (
        "dropped",
        "failed",
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
        """The touched lanes whose whole rows are written, not only their numbers."""
        self.known: dict[OutboxLane, Known | None] = {}
        self.settled: dict[OutboxLane, int] = {}
        self.renumbered: dict[OutboxLane, tuple[int, int]] = {}
        self.renewed = False
        """Whether all lanes get new numbers, which are in ``lanes``."""
        self.lanes: dict[OutboxLane, int] = {}
        self.dropped: dict[int, None] = {}
        """The ids of lanes to delete."""
