"""What has come of a partition's peers, on its way to the sink: in order for each peer, and held while it is paused."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from oddwire.exit_exceptions import must_pass
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.transports.base import Sink
from oddwire.transports.nats.peer_connections import PeerConnection, StreamMessage

__all__ = ["Deliveries", "DeliveryOwner", "Inbox"]

logger = get_logger("oddwire.transports.nats")

_OVERHEAD: Final = 64  # bytes counted per held payload besides its length
_TURN: Final = 256  # payloads of one peer delivered before others have their turn
_STOP: Final = 1 << 16  # held bytes of a peer above which the gateway is told to pause it
_GO: Final = 1 << 15  # and below which it is told to resume it
_CROWDED: Final = 64 << 20  # held bytes of all peers above which no more should come, unless it is said otherwise

_Item = PeerConnection | tuple[int, bytes] | str | StreamMessage
"""Connected, a payload with its number, disconnected for a reason, what came before is delivered."""


class DeliveryOwner:
    """What `Deliveries` tell their owner; by default nothing happens."""

    def flow(self, connection: PeerConnection) -> None:
        """Tell that ``connection.stopped`` has changed."""

    def crowded(self, crowded: bool) -> None:
        """Tell that so much is held for paused peers that no more should come for now, or that it may again."""

    def handled(self, message: StreamMessage) -> None:
        """Tell that all payloads of a message are handled."""

    def call_soon(self, call: Callable[[], object]) -> None:
        """Make a call after others had their turn."""
        raise NotImplementedError


class Inbox:
    """One peer: what waits for the sink, the last of its connections, and the one that the sink knows."""

    __slots__ = ("asked", "draining", "given", "held", "last", "node_id", "paused", "queue", "scheduled", "told")

    def __init__(self, node_id: NodeId) -> None:
        self.node_id = node_id
        self.last: PeerConnection | None = None
        self.told: PeerConnection | None = None
        self.given: tuple[int, int] = 0, 0  # the connection and the number of the last payload that the sink has got
        self.asked: tuple[int, int] = 0, 0  # what it had got when it was last paused
        self.queue: deque[_Item] = deque()
        self.paused = False
        self.draining = False
        self.scheduled = False
        self.held = 0


class Deliveries:
    """Hands events of peers on to ``sink``, and asks it when the payloads of a stream message are handled. No I/O."""

    def __init__(self, sink: Sink, owner: DeliveryOwner) -> None:
        self.held = 0
        """Bytes that wait for peers to be resumed."""
        self.most_held = _CROWDED
        """Of these, how many there may be: above, no more should come until half of it is left."""
        self._sink = sink
        self._owner = owner
        self._inboxes: dict[NodeId, Inbox] = {}
        self._arrivals: dict[int, list[Callable[[], object]]] = {}
        self._crowded = False
        self._silent = False

    # For the transport ------------------------------------------------------------------------------

    def told(self, peer: NodeId) -> PeerConnection | None:
        """Return the connection of a peer that the sink knows, if there is one."""
        inbox = self._inboxes.get(peer)
        return None if inbox is None else inbox.told

    @property
    def connections(self) -> list[PeerConnection]:
        """Those that the sink knows."""
        return [inbox.told for inbox in self._inboxes.values() if inbox.told is not None]

    @property
    def held_back(self) -> list[PeerConnection]:
        """Those of which something waits."""
        return [inbox.told for inbox in self._inboxes.values() if inbox.told is not None and inbox.queue]

    @property
    def is_crowded(self) -> bool:
        """Whether so much is held that no more should come."""
        return self._crowded

    @property
    def is_silent(self) -> bool:
        """Whether nothing more is handed on."""
        return self._silent

    def await_arrival(self, number: int, call: Callable[[], object]) -> None:
        """Make a call once the sink knows a connection that is still to come, or it has ended before."""
        self._arrivals.setdefault(number, []).append(call)

    def pause(self, peer: NodeId) -> None:
        """Hold a peer's payloads from now on; ask when what it has got is handled, which may be a part of a message."""
        inbox = self._inboxes.get(peer)
        if inbox is None or inbox.told is None:
            return
        inbox.paused = True
        if inbox.asked != inbox.given:
            inbox.asked = inbox.given
            self._call(self._sink.settled, peer, partial(self._note, inbox.told, inbox.given))

    def resume(self, peer: NodeId) -> None:
        """Undo `pause`; what is held comes first."""
        inbox = self._inboxes.get(peer)
        if inbox is not None and inbox.paused:
            inbox.paused = False
            if inbox.queue:
                self._drain(inbox)

    def silence(self) -> None:
        """Hand on nothing more; `close` is still to be called."""
        self._silent = True

    def close(self, reason: str) -> None:
        """Hand on nothing more, and tell the sink that its peers have disconnected."""
        self._silent = True
        inboxes, self._inboxes = self._inboxes, {}
        for inbox in inboxes.values():
            inbox.queue.clear()
            if inbox.told is not None:
                inbox.told = None
                self._call(self._sink.peer_disconnected, inbox.node_id, reason)
        for number in [*self._arrivals]:
            self._arrived(number)
        self.held = 0

    # From the stream --------------------------------------------------------------------------------

    def last(self, peer: NodeId) -> PeerConnection | None:
        """Return the last connection of a peer that has come, whether the sink knows it or not."""
        inbox = self._inboxes.get(peer)
        return None if inbox is None else inbox.last

    def connected(self, connection: PeerConnection) -> None:
        """Hand on that a peer has connected."""
        inbox = self._inboxes.get(connection.peer)
        if inbox is None:
            inbox = self._inboxes[connection.peer] = Inbox(connection.peer)
        inbox.last = connection
        inbox.queue.append(connection)
        self._drain(inbox)

    def received(self, connection: PeerConnection, number: int, payload: bytes) -> Inbox:
        """Hand on a payload of a connection that is there; return where it is now."""
        inbox = self._inboxes[connection.peer]
        if inbox.queue or inbox.paused:
            inbox.queue.append((number, payload))
            self._hold(inbox, len(payload) + _OVERHEAD)
        else:
            inbox.given = connection.number, number
            self._deliver(inbox.node_id, payload)
        return inbox

    def disconnected(self, connection: PeerConnection) -> None:
        """Hand on that a connection which was there has ended."""
        inbox = self._inboxes[connection.peer]
        if inbox.queue and inbox.queue[-1] is connection:
            # A connection without a payload is not told: a paused peer may connect and disconnect for ever
            inbox.queue.pop()
            self._arrived(connection.number)
        else:
            inbox.queue.append(connection.gone)
        self._drain(inbox)

    def drop_most(self) -> PeerConnection | None:
        """Drop what is held of the peer of which most is; return its last connection, None if nothing is held.

        What was to come between stays in order, and is handed on though the peer is paused. Of stream messages, what is
        dropped counts as handled.
        """
        inbox = max(self._inboxes.values(), key=lambda inbox: inbox.held, default=None)
        if inbox is None or not inbox.held or inbox.last is None:
            return None
        queue, kept = inbox.queue, deque[_Item]()
        place = inbox.given
        number = 0 if inbox.told is None else inbox.told.number
        messages: list[tuple[StreamMessage, tuple[int, int]]] = []
        for item in queue:
            if type(item) is tuple:
                place = number, item[0]
            elif isinstance(item, StreamMessage):
                messages.append((item, place))
            else:
                number = item.number if isinstance(item, PeerConnection) else number
                kept.append(item)
        inbox.queue, inbox.paused = kept, False
        self._hold(inbox, -inbox.held)
        for message, given in messages:
            self._let_go(message, given)
        self._drain(inbox)
        return inbox.last

    def delivered(self, message: StreamMessage, inboxes: Iterable[Inbox]) -> None:
        """Ask when what came of a message is handled: it is in these inboxes, or was."""
        touched = [*inboxes]
        message.peers = (*(inbox.node_id for inbox in touched),)
        message.waits += len(touched)
        for inbox in touched:
            if inbox.queue:
                inbox.queue.append(message)
            else:
                self._settle(inbox, message)
        message.waits -= 1
        self._look(message)

    # To the sink ------------------------------------------------------------------------------------

    def _hold(self, inbox: Inbox, size: int) -> None:
        inbox.held += size
        self.held += size
        if self.held > self.most_held if not self._crowded else self.held < self.most_held // 2:
            self._crowded = not self._crowded
            self._owner.crowded(self._crowded)
        connection = inbox.last
        if connection is None or connection.gone:
            return
        if inbox.held > _STOP if not connection.stopped else inbox.held < _GO:
            connection.stopped = not connection.stopped
            self._owner.flow(connection)

    def _drain(self, inbox: Inbox) -> None:
        """Hand on what is held; the rest of much comes later."""
        if inbox.scheduled or inbox.draining:
            return
        queue, inbox.draining = inbox.queue, True
        try:
            for _ in range(_TURN):
                if not queue or self._silent or (inbox.paused and type(queue[0]) is not StreamMessage):
                    break
                item = queue.popleft()
                if type(item) is tuple:
                    number, payload = item
                    self._hold(inbox, -len(payload) - _OVERHEAD)
                    if inbox.told is not None:
                        inbox.given = inbox.told.number, number
                    self._deliver(inbox.node_id, payload)
                elif isinstance(item, PeerConnection):
                    inbox.told = item
                    self._call(self._sink.peer_connected, item.info)
                    self._arrived(item.number)
                elif isinstance(item, StreamMessage):
                    self._settle(inbox, item)
                elif isinstance(item, str):
                    inbox.told, inbox.paused = None, False
                    self._call(self._sink.peer_disconnected, inbox.node_id, item)
        finally:
            inbox.draining = False
        if queue and not inbox.paused and not self._silent:
            inbox.scheduled = True
            self._owner.call_soon(partial(self._go_on, inbox))
        elif not queue and inbox.told is None and self._inboxes.get(inbox.node_id) is inbox:
            del self._inboxes[inbox.node_id]

    def _go_on(self, inbox: Inbox) -> None:
        inbox.scheduled = False
        self._drain(inbox)

    def _arrived(self, number: int) -> None:
        for call in self._arrivals.pop(number, ()):
            call()

    def _deliver(self, peer: NodeId, payload: bytes) -> None:
        try:
            self._sink.payload_received(peer, payload)
        except BaseException as error:
            if must_pass(error):
                raise
            logger.exception("the sink raised over a payload of %s", peer)

    def _settle(self, inbox: Inbox, message: StreamMessage) -> None:
        self._call(self._sink.settled, inbox.node_id, partial(self._let_go, message, inbox.given))

    def _let_go(self, message: StreamMessage, given: tuple[int, int]) -> None:
        message.handled.append(given)
        message.waits -= 1
        self._look(message)

    @staticmethod
    def _note(connection: PeerConnection, given: tuple[int, int]) -> None:
        if given[0] == connection.number:
            connection.handled = max(connection.handled, given[1])

    def _look(self, message: StreamMessage) -> None:
        if not message.waits and not self._silent:
            message.complete = True
            self._owner.handled(message)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            function(*arguments)
        except BaseException as error:
            if must_pass(error):
                raise
            logger.exception("the sink raised")
