"""What the outbox knows of each peer and lane."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple
from weakref import WeakValueDictionary

from oddwire.proto.keys import NodeId
from oddwire.session.ages import Mark
from oddwire.session.receipt import Failure, Receipt
from oddwire.session.reliable import Sender

__all__ = ["Load", "Loss", "Peer", "Route", "Row", "Share"]


class Load:
    """How much is on its way and not settled."""

    __slots__ = ("bytes", "messages")

    def __init__(self) -> None:
        self.messages = 0
        self.bytes = 0


class Route:
    """One lane to one peer."""

    __slots__ = ("id", "lane", "load", "next", "peer", "receipts", "sender", "sizes")

    def __init__(self, id: int, peer: Peer, lane: int, sender: Sender) -> None:  # noqa: A002
        self.id = id
        self.peer = peer
        self.lane = lane
        self.sender = sender
        self.next = sender.stop
        self.sizes: deque[int] = deque()  # of the payloads that are not settled
        self.receipts: WeakValueDictionary[int, Receipt] = WeakValueDictionary()  # by number, while somebody has one
        self.load = Load()

    def add(self, messages: int, size: int) -> None:
        """Count so much more, for the lane and for the peer."""
        for load in (self.load, self.peer.load, self.peer.total):
            load.messages += messages
            load.bytes += size


class Peer:
    """What is on its way to one peer, all lanes together."""

    __slots__ = ("linked", "load", "node_id", "routes", "total")

    def __init__(self, node_id: NodeId, total: Load | None = None) -> None:
        self.node_id = node_id
        self.total = total or Load()  # of all peers
        self.linked = False
        self.load = Load()
        self.routes: dict[int, Route] = {}


class Row(NamedTuple):
    """One message: its number, when it was made by the clock of `Ages`, and whose receipt hears of it."""

    route: Route
    number: int
    made: float
    payload: bytes
    receipt: Receipt


class Loss(NamedTuple):
    """A message that will not be delivered: why, by ``code`` and what its receipt raises, and how old it is in seconds.

    ``payload`` is empty, and ``age`` None, if the database does not give them any more.
    """

    node_id: NodeId
    lane: int
    payload: bytes
    code: int
    failure: Failure
    age: float | None


class Share:
    """What one commit writes."""

    __slots__ = ("failed", "mark", "renumbered", "rows", "settled", "touched")

    def __init__(self) -> None:
        self.mark: Mark | None = None
        self.rows: list[Row] = []
        self.failed: list[tuple[Receipt, Failure]] = []
        self.touched: dict[Route, None] = {}
        self.settled: dict[Route, int] = {}
        self.renumbered: dict[Route, tuple[int, int]] = {}
