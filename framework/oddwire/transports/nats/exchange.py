"""What goes on between an owner of a partition and the broker, from when the gateway has told what there is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from oddwire.log_limits import get_logger
from oddwire.printable import printable
from oddwire.proto.keys import NodeId
from oddwire.transports.base import Sink
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.consumer import Consumer
from oddwire.transports.nats.controls import Owned
from oddwire.transports.nats.errands import Errands
from oddwire.transports.nats.errors import BrokerFailure
from oddwire.transports.nats.inbound import Inbound, Owner
from oddwire.transports.nats.outbound import Outbound
from oddwire.transports.nats.packing import MARKER, Batch, MalformedBatch, WrongVersion
from oddwire.transports.nats.patience import patiently
from oddwire.transports.nats.peer_connections import PeerConnection, StreamMessage
from oddwire.transports.nats.subjects import in_stream, in_subject, out_subject

__all__ = ["Exchange"]

logger = get_logger("oddwire.transports.nats")

_LAST: Final = 2.0  # seconds that the gateway has at the end to accept what was sent
_GATHER: Final = 0.05  # seconds in which messages gather of which the gateway is told at once that they are handled
_CROWDED: Final = 60.0  # seconds in which no more is read as too much is held, until what holds most is given up
_MOST_TOLD: Final = 5000  # connections of which it is told that at most; it takes twice as many


class Exchange(Owner):
    """Reads the stream of a partition and hands it on, sends to the gateway, and acknowledges.

    ``ended(reason, stale)`` is called when this cannot go on; ``stale`` is True if the partition has a later owner.
    """

    def __init__(
        self,
        connection: BrokerConnection,
        errands: Errands,
        node: NodeId,
        partition: int,
        term: int,
        *,
        owned: Owned,
        sink: Sink,
        ended: Callable[[str, bool], object],
    ) -> None:
        self._connection = connection
        self._errands = errands
        self._node = node
        self._term = term
        self._run = owned.run
        self._ended = ended
        self._left: dict[int, StreamMessage] = {}  # messages of the stream that are not acknowledged
        self._inherited = dict(owned.handled)  # of messages up to the marker
        self._before = owned.marker  # up to here, all is of this run and term or of former ones; 0 if it is not known
        self._marker = 0  # the sequence of the message with it, once it has come
        self._told: dict[tuple[int, int], int] = {}  # what the gateway is told to be handled, by run and connection
        self._behind: dict[int, StreamMessage] = {}  # those that are acknowledged once the gateway knows it
        self._telling = False
        self.patience = _CROWDED
        """Seconds until a peer is given up of which so much waits that nothing more can be read."""
        self._relief: asyncio.TimerHandle | None = None
        self._inbound = Inbound(
            sink,
            self,
            term=term,
            run=owned.run,
            marker=owned.marker,
            live=owned.live,
            handled=owned.handled,
        )
        self.deliveries = self._inbound.deliveries
        """What is on its way to the sink."""
        self.on_arrival = self._inbound.on_arrival
        self.outbound = Outbound(
            partition,
            term,
            owned.run,
            ask=self._ask_to_send,
            failed=self.refused,
            acknowledge=self._acknowledge,
        )
        """What is on its way to the gateway."""
        self._consumer = Consumer(
            connection,
            in_stream(node),
            in_subject(node, partition),
            prefix=f"t{partition}",
            term=term,
            received=self._received,
            ended=lambda stale, reason: ended(reason, stale),
        )

    async def open(self) -> None:
        """Begin. Raises `BrokerFailure` and `StaleOwner`."""
        self._errands.spawn(self._send())
        await self._consumer.open()

    def refused(self, status: str, text: str) -> None:
        """End, because the gateway takes nothing of this owner any more."""
        said = printable(text or status)
        self._ended(f"the gateway of {self._node} takes nothing of this owner: {said}", status == "stale")

    # Sending ----------------------------------------------------------------------------------------

    async def _send(self) -> None:
        try:
            await self.outbound.run()
        except (BrokerFailure, MalformedBatch) as error:
            self._ended(f"nothing can be sent to {self._node}: {error}", False)

    async def _ask_to_send(self, raw: bytes) -> bytes:
        """Send a request to the gateway until it is answered. Raises `BrokerRefused`."""
        subject = out_subject(self._node)
        return await patiently(
            lambda: self._connection.request(subject, raw),
            lambda reason: logger.debug("what is sent to %s waits: %s", self._node, reason),
        )

    # The stream -------------------------------------------------------------------------------------

    def _received(self, sequence: int, data: bytes) -> None:
        try:
            batch = Batch.unpack(data)
        except WrongVersion as error:
            self._ended(f"the stream of {self._node} cannot be read: {error}", False)
            return
        except MalformedBatch as error:
            # Nobody will read it. If it had payloads, they are missed in the numbers of their connections
            logger.error("message %d of the stream of %s is skipped: %s", sequence, self._node, error)
            self._consumer.acknowledge(sequence)
            return
        is_later = sequence > self._before
        if batch.run > self._run and not is_later:
            # Nobody would ever read it: runs were counted anew where the bucket of leases was lost
            text = f"it is of run {batch.run}, which came before run {self._run}"
            logger.error("message %d of the stream of %s is skipped: %s", sequence, self._node, text)
            self._consumer.acknowledge(sequence)
            return
        if batch.run > self._run:
            self._ended(f"the gateway of {self._node} was started anew", False)
            return
        if is_later and any(entry[0] == MARKER and entry[1] > self._term for entry in batch.entries):
            self._ended("the partition has a later owner", True)
            return
        message = self._left[sequence] = StreamMessage(sequence, batch.run)
        self._inbound.take(message, batch)
        if not self._marker and self._inbound.is_past:
            self._marker = sequence

    def _acknowledge(self, message: StreamMessage) -> None:
        """Acknowledge a message; but first have the gateway know what is handled of older ones of the same peers.

        They come again to the next owner. Without that, what is older would be handled again after what is newer.
        """
        if not self._is_behind(message):
            self._let_go(message)
            return
        self._behind[message.sequence] = message
        if not self._telling:
            self._telling = True
            self._errands.spawn(self._tell_handled())

    def _let_go(self, message: StreamMessage) -> None:
        self._left.pop(message.sequence, None)
        self._behind.pop(message.sequence, None)
        self._consumer.acknowledge(message.sequence)

    def _is_behind(self, message: StreamMessage) -> bool:
        peers = set(message.peers)
        for sequence, other in self._left.items():
            if sequence >= message.sequence:
                return False
            if not peers.isdisjoint(other.peers):
                return True
        return False

    async def _tell_handled(self) -> None:
        try:
            while self._behind:
                await asyncio.sleep(_GATHER)
                messages = [*self._behind.values()]
                self._note(messages)
                await self._errands.tell("handled", handled=_listed(self._known()))
                for message in messages:
                    self._let_go(message)
        finally:
            self._telling = False

    def _known(self) -> dict[tuple[int, int], int]:
        """Return what the gateway is to know, without what is of use for nobody any more."""
        if self._marker and next(iter(self._left), self._marker + 1) > self._marker:
            self._inherited.clear()
        return {**self._inherited, **self._told}

    def _note(self, messages: Sequence[StreamMessage]) -> None:
        """Note as handled what is in messages to be acknowledged, and of older ones what nobody waits to be answered.

        What else is handled of older ones may have answers that the gateway has not accepted.
        """
        told, last = self._told, messages[-1].sequence
        for message in messages:
            for conn, number in message.handled:
                told[message.run, conn] = max(number, told.get((message.run, conn), 0))
        here = {connection.number for connection in self.deliveries.connections}
        for message in self._left.values():
            if message.sequence > last:
                break
            for conn, number in message.handled:
                if message.run != self._run or conn not in here:
                    told[message.run, conn] = max(number, told.get((message.run, conn), 0))
        if len(told) > _MOST_TOLD:
            left = {(message.run, conn) for message in self._left.values() for conn, _ in message.handled}
            self._told = {place: number for place, number in told.items() if place in left}

    # As the `Owner` of what comes -------------------------------------------------------------------

    def handled(self, message: StreamMessage) -> None:
        """Acknowledge a message whose payloads are handled, once the gateway has what was sent meanwhile."""
        connections = [self.deliveries.told(peer) for peer in message.peers]
        self.outbound.handled(message, [one for one in connections if one is not None])

    def connection_over(self, connection: PeerConnection) -> None:
        """Fail who waits for a connection that has ended."""
        self.outbound.over(connection, connection.gone)

    def connection_lost(self, number: int, reason: str) -> None:
        """Have the gateway end a connection of which something is missing."""
        self._errands.spawn(self._errands.tell("disconnect", conn=number, reason=reason))

    def has_room(self, connection: PeerConnection) -> None:
        """Send what waits for a peer that takes payloads again."""
        self.outbound.has_room(connection)

    def flow(self, connection: PeerConnection) -> None:
        """Have the gateway pause or resume a peer."""
        self._errands.flow(connection)

    def crowded(self, crowded: bool) -> None:
        """Ask for no more messages, or for more again. If it lasts, those who are in the way are given up."""
        self._consumer.hold(crowded)
        if self._relief is not None:
            self._relief.cancel()
        self._relief = asyncio.get_running_loop().call_later(self.patience, self._relieve) if crowded else None

    def _relieve(self) -> None:
        while self.deliveries.is_crowded and not self.deliveries.is_silent and self._inbound.relieve():
            pass

    def call_soon(self, call: Callable[[], object]) -> None:
        """Make a call after others had their turn."""
        asyncio.get_running_loop().call_soon(call)

    # The end ----------------------------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """Hand on, send and acknowledge nothing more, at once; `aclose` is still to be called."""
        self._consumer.stop()
        if self._relief is not None:
            self._relief.cancel()
        self.deliveries.silence()
        self.outbound.close(reason)
        for connection in self.deliveries.connections:
            self.outbound.over(connection, reason)

    async def give_up(self) -> bool:
        """Hand on nothing more, have the gateway accept what was sent, acknowledge, and delete the consumer.

        Return whether all of that was done: not if it takes long.
        """
        self.deliveries.silence()
        try:
            async with asyncio.timeout(_LAST):
                await self.outbound.drain()
        except TimeoutError:
            logger.warning("the gateway of %s does not take what was sent at the end", self._node)
            return False
        for message in [*self._behind.values()]:  # the gateway is told with the release
            self._let_go(message)
        return await self._consumer.give_up()

    def handled_in_part(self) -> list[tuple[int, int, int]]:
        """Return what is handled of messages that are left: for each connection, its run, and up to which payload."""
        found = self._known()
        answering = {one.number for one in self.deliveries.connections if one.held}  # their answers are lost
        for message in self._left.values():
            for conn, number in message.handled:
                if conn not in answering:
                    found[message.run, conn] = max(number, found.get((message.run, conn), 0))
        for connection in self.deliveries.held_back:  # maybe in the middle of a message
            if connection.handled and not connection.held:
                place = connection.run, connection.number
                found[place] = max(connection.handled, found.get(place, 0))
        return _listed(found)

    async def aclose(self, reason: str) -> None:
        """End, and tell the sink that its peers have disconnected."""
        self.stop(reason)
        await self._consumer.aclose()
        self.deliveries.close(reason)


def _listed(handled: Mapping[tuple[int, int], int]) -> list[tuple[int, int, int]]:
    return [(run, conn, number) for (run, conn), number in handled.items()]
