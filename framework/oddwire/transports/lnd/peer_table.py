"""The table of LND's connected peers, from peer events, messages and lists of peers. No I/O.

Events and messages are in order among themselves, and in no order with one another or with lists. LND tells ONLINE once
for each connection whose handshake succeeded, and OFFLINE once for each connection that ended, of a failed handshake
too; an OFFLINE may come after the ONLINE of the next connection. A list shows what was at some moment between question
and answer: of a peer it counts only if no event has come since the question.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal, Protocol

from oddwire.proto.features import feature_bytes
from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo

__all__ = ["Event", "ListedPeer", "PeerTable"]

Event = tuple[NodeId, PeerInfo | str]
"""A peer connected, or disconnected for a reason."""

_ANEW: Final = "connected anew"
_GONE: Final = "disconnected"
_AGAIN: Final = (0.02, 0.05, 0.1, 0.2, 0.4, 1.0)
"""Seconds before asking again for a peer that is still in its handshake; the last is repeated."""
_LOOKS: Final = 3  # for an expected peer after an OFFLINE, which may be of the connection before
_REMEMBERED: Final = 1000  # disconnected peers


class ListedPeer(Protocol):
    """An entry of ``ListPeers``. Without ``features``, the peer is in its handshake; bytes are since it connected."""

    @property
    def node_id(self) -> NodeId:
        """The peer."""
        raise NotImplementedError

    @property
    def address(self) -> str:
        """The remote end of the socket."""
        raise NotImplementedError

    @property
    def inbound(self) -> bool:
        """Whether the peer dialed LND."""
        raise NotImplementedError

    @property
    def features(self) -> frozenset[int]:
        """The bits of its init."""
        raise NotImplementedError

    @property
    def bytes_sent(self) -> int:
        """Bytes to the peer."""
        raise NotImplementedError

    @property
    def bytes_recv(self) -> int:
        """Bytes of the peer."""
        raise NotImplementedError


class _Entry:
    __slots__ = (
        "ended",
        "expected",
        "first",
        "has_messages",
        "info",
        "online",
        "owed",
        "received",
        "sent",
        "since",
        "tries",
    )

    def __init__(self) -> None:
        self.since = 0  # the number of the last event of it
        self.info: PeerInfo | None = None  # as reported; None before
        self.sent = self.received = 0  # bytes, as listed last
        self.online = False  # an ONLINE came, whose connection is not reported yet
        self.owed = 0  # ONLINEs to come, of connections that a list showed before
        self.first = False  # in the first list: its ONLINE came before we subscribed, or is to come
        self.has_messages = False  # some are staged
        self.expected = False  # a caller waits for it
        self.ended = False  # an OFFLINE came since then
        self.tries = 0

    @property
    def is_needed(self) -> bool:
        return bool(self.info or self.owed or self.online or self.has_messages or self.expected)

    def end(self) -> None:
        """Note that the reported connection ended."""
        self.info, self.first = None, False


class PeerTable:
    """All peers that are connected or have sent something. Methods return the events to report, in order.

    After each call, ``delay`` is the time in seconds after which to ask for a list, None if there is no need;
    `number_question` returns the number to pass to `listed` with its answer. One question is asked at a time.
    """

    def __init__(self) -> None:
        self._entries: dict[NodeId, _Entry] = {}
        self._clock = 0
        self._asking = False
        self._is_first = True
        self._failures = 0
        self._departed: dict[NodeId, PeerInfo] = {}
        self._disappointed: list[NodeId] = []
        self.delay: float | None = 0.0

    def __len__(self) -> int:
        """Return the number of peers of which something is known or awaited."""
        return len(self._entries)

    def info(self, node_id: NodeId) -> PeerInfo | None:
        """Return the reported info of a connected peer, or None."""
        entry = self._entries.get(node_id)
        return None if entry is None else entry.info

    @property
    def disappointed(self) -> list[NodeId]:
        """Expected peers whose connection ended before it was ready; each is returned once."""
        disappointed, self._disappointed = self._disappointed, []
        return disappointed

    # Streams ------------------------------------------------------------------------------------------

    def online(self, node_id: NodeId) -> list[Event]:
        """Handle PEER_ONLINE: of the connection known, if its ONLINE is to come, otherwise of a new one."""
        entry = self._entries.get(node_id)
        if entry is not None and entry.owed:
            entry.owed -= 1
            return []
        entry = self._touch(node_id)
        self.delay = 0.0
        events: list[Event] = []
        if entry.info is not None and not entry.first:
            self._remember(entry.info)
            entry.end()
            events.append((node_id, _ANEW))
        entry.first = False  # if reported, and of a new connection nevertheless, the list may show that
        entry.online, entry.tries = True, 0
        return events

    def offline(self, node_id: NodeId) -> None:
        """Handle PEER_OFFLINE: only a list tells whether the peer is gone."""
        if node_id not in self._entries and not self._asking:
            return
        entry = self._touch(node_id)
        entry.ended = True
        entry.first = False  # its ONLINE would have come before
        self.delay = 0.0

    def message_received(self, node_id: NodeId) -> None:
        """Note that a message of a peer that is not reported is staged."""
        entry = self._entries.get(node_id)
        if entry is None or not entry.has_messages:
            entry = self._touch(node_id)
            entry.has_messages = True
            self.delay = 0.0

    def expect(self, node_id: NodeId) -> None:
        """Ask for a peer until it is reported, or `disappointed` has it, or `forget` is called."""
        entry = self._touch(node_id)
        entry.expected, entry.ended, entry.tries = True, False, 0
        self.delay = 0.0

    def forget(self, node_id: NodeId) -> None:
        """Undo `expect`."""
        entry = self._entries.get(node_id)
        if entry is not None:
            entry.expected = False

    def doubt(self) -> None:
        """Have a list asked for, as a peer may be gone that no event has told of yet."""
        self.delay = 0.0

    # Lists --------------------------------------------------------------------------------------------

    def number_question(self) -> int:
        """Return the number of a question that is asked now."""
        self._asking, self.delay = True, None
        return self._clock

    def unanswered(self) -> None:
        """Note that the question failed: it is asked again."""
        self._asking = False
        self._ask_in(_AGAIN[min(self._failures, len(_AGAIN) - 1)])
        self._failures += 1

    def listed(self, number: int, peers: Iterable[ListedPeer]) -> list[Event]:
        """Handle the answer to a question: all peers of the node."""
        self._asking, self._failures = False, 0
        events: list[Event] = []
        shown: set[NodeId] = set()
        for peer in peers:
            entry = self._entries.get(peer.node_id)
            shown.add(peer.node_id)
            if entry is None:
                if not peer.features:
                    continue
                entry = self._entries[peer.node_id] = _Entry()
            if entry.since <= number:
                events += self._found(entry, peer)
            else:
                entry.first = entry.first or (self._is_first and bool(peer.features))
        self._is_first = False
        for node_id, entry in list(self._entries.items()):
            if entry.since > number:
                continue
            if node_id not in shown:
                events += self._missed(node_id, entry)
            if not entry.is_needed:
                del self._entries[node_id]
        return events

    def lost(self, reason: str) -> list[Event]:
        """Handle the loss of the node: every peer is gone. The table is of no use any more."""
        events: list[Event] = []
        for node_id, entry in self._entries.items():
            if entry.info is not None:
                events.append((node_id, reason))
            elif entry.has_messages:
                events += self._brief(node_id, reason)
            if entry.expected:
                self._disappointed.append(node_id)
        self._entries.clear()
        self.delay = None
        return events

    # Inside -------------------------------------------------------------------------------------------

    def _touch(self, node_id: NodeId) -> _Entry:
        self._clock += 1
        entry = self._entries.get(node_id)
        if entry is None:
            entry = self._entries[node_id] = _Entry()
        entry.since = self._clock
        return entry

    def _ask_in(self, delay: float) -> None:
        self.delay = delay if self.delay is None else min(delay, self.delay)

    def _ask_again(self, entry: _Entry) -> None:
        self._ask_in(_AGAIN[min(entry.tries, len(_AGAIN) - 1)])
        entry.tries += 1

    def _found(self, entry: _Entry, peer: ListedPeer) -> Iterator[Event]:
        before = entry.info
        if not peer.features:  # in its handshake; what was reported is another connection
            if before is not None:
                self._remember(before)
                entry.end()
                yield peer.node_id, _GONE
            if entry.online or entry.has_messages or entry.expected:
                self._ask_again(entry)
            return
        direction: Literal["in", "out"] = "in" if peer.inbound else "out"
        if before is not None:
            is_same = (peer.address, direction) == (before.address, before.direction)
            is_same = is_same and peer.bytes_sent >= entry.sent and peer.bytes_recv >= entry.received
            if not is_same:
                entry.end()
                yield peer.node_id, _ANEW
        entry.sent, entry.received = peer.bytes_sent, peer.bytes_recv
        if entry.info is None:
            if not entry.online:
                entry.first = entry.first or self._is_first
                entry.owed += not entry.first
            entry.info = info = PeerInfo(
                node_id=peer.node_id,
                address=peer.address,
                direction=direction,
                features=feature_bytes(peer.features),
            )
            entry.has_messages = entry.expected = False
            entry.tries = 0
            yield peer.node_id, info
        entry.online = False

    def _missed(self, node_id: NodeId, entry: _Entry) -> list[Event]:
        events: list[Event] = []
        if entry.info is not None:
            self._remember(entry.info)
            entry.end()
            events.append((node_id, _GONE))
        elif entry.has_messages:
            events = self._brief(node_id, _GONE)
        entry.online = entry.has_messages = False
        if entry.expected and entry.ended and entry.tries >= _LOOKS:
            entry.expected = False
            self._disappointed.append(node_id)
        elif entry.expected:
            self._ask_again(entry)
        return events

    def _brief(self, node_id: NodeId, reason: str) -> list[Event]:
        """Report a connection that ended before its message came."""
        return [(node_id, self._departed.get(node_id) or PeerInfo(node_id=node_id)), (node_id, reason)]

    def _remember(self, info: PeerInfo) -> None:
        self._departed.pop(info.node_id, None)
        self._departed[info.node_id] = info
        if len(self._departed) > _REMEMBERED:
            del self._departed[next(iter(self._departed))]
