"""The stream of a partition, read: which connections there are, and which of its payloads come in turn.

A stream message is handed on as soon as it comes. Before the marker of our term, it is what former owners have not
acknowledged: it may have holes where they have, and connections that have ended since; what belongs to their sessions
is dropped. Behind the marker each connection's numbers are without holes. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.proto.session_type import SESSION_TYPE_BYTES
from oddwire.transports.base import PeerInfo, Sink
from oddwire.transports.nats.deliveries import Deliveries, DeliveryOwner, Inbox
from oddwire.transports.nats.packing import CONNECTED, DISCONNECTED, MARKER, PAYLOAD, ROOM, Batch
from oddwire.transports.nats.peer_connections import PeerConnection, StreamMessage

__all__ = ["Inbound", "Owner"]

logger = get_logger("oddwire.transports.nats")


class Owner(DeliveryOwner):
    """What an `Inbound` tells its owner; by default nothing happens."""

    def connection_over(self, connection: PeerConnection) -> None:
        """Tell that a connection has ended, maybe before the sink is told."""

    def connection_lost(self, number: int, reason: str) -> None:
        """Tell of a connection of which something is missing: the gateway should end it."""

    def has_room(self, connection: PeerConnection) -> None:
        """Tell that a connection that was full takes payloads again."""


class Inbound:
    """The peers of one partition, in one ``run`` of the gateway, for the owner of one term.

    ``live`` are the connections that the gateway has told of, by number, each with the number of its next payload: they
    are what there is at the marker, in the stream's message ``marker``, 0 if that is not known yet. ``handled`` is what
    the former owner has handled of messages that it left in the stream: numbers of payloads, by run and connection.
    `take` is called with each message, in order.
    """

    def __init__(
        self,
        sink: Sink,
        owner: Owner,
        *,
        term: int,
        run: int,
        marker: int,
        live: Mapping[int, tuple[PeerInfo, int]],
        handled: Mapping[tuple[int, int], int] = MappingProxyType({}),
    ) -> None:
        self.deliveries = Deliveries(sink, owner)
        """What is on its way to the sink."""
        self._owner = owner
        self._term = term
        self._run = run
        self._marker = marker
        self._live = dict(live)
        self._handled = dict(handled)
        self._past = False
        self._reading = 0  # the run of what comes now
        self._newest = 0  # the highest number of a connection, in this run
        self._ended: set[int] = set()  # connections that ended before the marker
        self._connections: dict[int, PeerConnection] = {}

    @property
    def is_past(self) -> bool:
        """Whether the marker has come."""
        return self._past

    def on_arrival(self, number: int, call: Callable[[], object]) -> None:
        """Make a call once the sink knows a connection, or it has ended; at once if it did."""
        connection = self._connections.get(number)
        over = self._past and number <= self._newest and connection is None
        if over or (connection is not None and self.deliveries.told(connection.peer) is connection):
            call()
        else:
            self.deliveries.await_arrival(number, call)

    def take(self, message: StreamMessage, batch: Batch) -> None:
        """Hand on the entries of a message, of this run of the gateway or of a former one."""
        deliveries = self.deliveries
        if self._is_over():
            return
        if batch.run != self._reading:
            if batch.run < self._reading:  # of a gateway that had been replaced, and did not know yet
                deliveries.delivered(message, ())
                return
            self._change_run(batch.run)
        if not self._past and batch.run == self._run and 0 < self._marker < message.sequence:
            self._pass_marker()
        markers = 0
        if not self._past and batch.run == self._run and self._marker in (0, message.sequence):
            markers = sum(entry[0] == MARKER and entry[1] == self._term for entry in batch.entries)
        touched: dict[Inbox, None] = {}
        connections = self._connections
        for entry in batch.entries:
            kind = entry[0]
            if kind == PAYLOAD:
                connection = connections.get(entry[1]) or self._unknown(entry[1], batch.peers[entry[1]])
                if connection is not None and self._is_next(connection, entry[2], entry[3]):
                    touched[deliveries.received(connection, entry[2], entry[3])] = None
            elif kind == MARKER:
                if markers and entry[1] == self._term:
                    markers -= 1
                    if not markers:  # the last one is ours, if we had to ask more than once
                        self._pass_marker()
            else:
                self._event(entry, batch.peers[entry[1]])
            if self._is_over():  # the sink, or who it has told, wants no more
                return
        deliveries.delivered(message, touched)

    def relieve(self) -> bool:
        """Give up the peer of which most is held, if anything is."""
        size = self.deliveries.held
        connection = self.deliveries.drop_most()
        if connection is None:
            return False
        reason = f"{size - self.deliveries.held} bytes of it were not handled, and kept others waiting"
        if not connection.gone and connection.run == self._run:
            self._lose(connection, reason)
            return True
        logger.error("what has come of %s is dropped: %s", connection.peer, reason)
        if not connection.gone:
            self._end(connection, reason)
        return True

    def _is_over(self) -> bool:
        return self.deliveries.is_silent

    def _change_run(self, run: int) -> None:
        """End what is left of a former run: its connections ended with it, and their numbers are given anew."""
        for connection in [*self._connections.values()]:
            self._end(connection, "the node's gateway was started anew")
        self._reading, self._newest = run, 0
        self._ended.clear()

    def _is_next(self, connection: PeerConnection, place: int, payload: bytes) -> bool:
        """Return whether a payload is to be handed on; the connection is lost if others are missing before it."""
        if place < connection.next:
            return False  # seen before
        if not self._past:
            connection.next = place + 1
            if place <= self._handled.get((self._reading, connection.number), 0):
                return False
            return payload[:2] != SESSION_TYPE_BYTES
        if place > connection.next:
            self._lose(connection, f"payload {connection.next} is missing: {place} came next")
            return False
        connection.next = place + 1
        return True

    def _event(self, entry: list[Any], peer: NodeId) -> None:
        kind, number = entry[0], entry[1]
        connection = self._connections.get(number)
        if kind == CONNECTED:
            if connection is None and number not in self._ended and not (self._past and number <= self._newest):
                info = PeerInfo(node_id=peer, address=entry[2], direction=entry[3], features=entry[4])
                self._open(PeerConnection(number, info, 1 if self._past else 0, self._reading))
        elif connection is None:
            if kind == DISCONNECTED and not self._past:
                self._ended.add(number)
        elif kind == DISCONNECTED:
            self._end(connection, entry[2] or "the connection has ended")
        elif kind == ROOM:
            self._owner.has_room(connection)

    def _unknown(self, number: int, peer: NodeId) -> PeerConnection | None:
        """Return the connection of a payload that came without its beginning, None if that is over."""
        if self._past:
            if number > self._newest:
                self._newest = number
                self._owner.connection_lost(number, "its beginning is missing")
            return None
        if number in self._ended:
            return None
        live = self._live.get(number) if self._reading == self._run else None
        info = PeerInfo(node_id=peer) if live is None else live[0]
        connection = PeerConnection(number, info, 0, self._reading)
        self._open(connection)
        return connection

    def _pass_marker(self) -> None:
        """Begin with what is for us: the connections are those that the gateway has told of, with their numbers."""
        self._past = True
        for connection in [*self._connections.values()]:
            if connection.number not in self._live:
                self._end(connection, "the connection has ended")
        for number, (info, following) in sorted(self._live.items(), key=lambda one: one[0]):
            found = self._connections.get(number)
            if found is None and number not in self._ended:
                found = PeerConnection(number, info, following, self._run)
                self._open(found)
            if found is not None:
                found.next = following
        self._newest = max((self._newest, *self._ended, *self._live))
        self._live.clear()
        self._handled.clear()
        self._ended.clear()

    def _open(self, connection: PeerConnection) -> None:
        last = self.deliveries.last(connection.peer)
        if last is not None and not last.gone:
            self._end(last, "the peer has connected anew")
        self._connections[connection.number] = connection
        self._newest = max(self._newest, connection.number)
        self.deliveries.connected(connection)

    def _end(self, connection: PeerConnection, reason: str) -> None:
        self._connections.pop(connection.number, None)
        if not self._past:
            self._ended.add(connection.number)
        connection.gone = reason
        self._owner.connection_over(connection)
        self.deliveries.disconnected(connection)

    def _lose(self, connection: PeerConnection, reason: str) -> None:
        logger.error("the connection %d of %s is given up: %s", connection.number, connection.peer, reason)
        self._end(connection, reason)
        self._owner.connection_lost(connection.number, reason)
