"""The table of connected peers, from notifications on one connection and ``listpeers`` on another. No I/O.

The order between the two is unknown: an answer counts only if no notification about its peer has arrived since it was
asked for. Messages are not in order with these, either: one may arrive before ``connect`` or after ``disconnect``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from oddwire.proto.keys import NodeId
from oddwire.records import FrozenRecord
from oddwire.transports.base import PeerInfo

__all__ = ["Event", "PeerTable", "Question", "read_address"]

Event = tuple[NodeId, PeerInfo | str]
"""A peer connected, or disconnected for a reason."""

_AGAIN: Final = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Seconds before asking again, while lightningd may not have listed a connected peer yet."""
_REMEMBERED: Final = 1000  # disconnected peers


class Question(FrozenRecord):
    """A request to ask ``listpeers`` for ``node_id`` in ``delay`` seconds."""

    node_id: NodeId
    delay: float = 0.0


class _TableEntry:
    __slots__ = ("address", "direction", "has_messages", "info", "notified", "since", "tries")

    def __init__(self, since: int) -> None:
        self.since = since  # the number of the last notification about it
        self.notified = False  # ``connect`` has arrived, and no ``disconnect`` since
        self.has_messages = False  # a message of it is queued
        self.tries = 0
        self.direction: Literal["in", "out"] | None = None
        self.address = ""
        self.info: PeerInfo | None = None  # as reported; None before


class PeerTable:
    """All peers that are connected or have sent something. Methods return the events to report, in order.

    After each call, `questions` may hold something to ask; `number_question` returns a number when a question is asked,
    and its answer is passed to `answered` or `unanswered` with that number.
    """

    def __init__(self) -> None:
        self._peers: dict[NodeId, _TableEntry] = {}
        self.awaited: set[NodeId] = set()
        """Peers whose ``connect`` has arrived and that are not reported yet."""
        self._clock = 0
        self._listing = False
        self._left: dict[NodeId, int] = {}  # peers that disconnected while the first list is under way
        self._departed: dict[NodeId, PeerInfo] = {}
        self._questions: list[Question] = []

    @property
    def questions(self) -> list[Question]:
        """The questions to ask; each is returned once."""
        questions, self._questions = self._questions, []
        return questions

    def __contains__(self, node_id: NodeId) -> bool:
        """Return whether a peer is connected, as far as known."""
        peer = self._peers.get(node_id)
        return peer is not None and (peer.info is not None or peer.notified)

    def info(self, node_id: NodeId) -> PeerInfo | None:
        """Return the reported info of a connected peer, or None."""
        peer = self._peers.get(node_id)
        return None if peer is None else peer.info

    # Notifications, by stdin --------------------------------------------------------------------------

    def connected(self, node_id: NodeId, direction: Literal["in", "out"] | None = None, address: str = "") -> None:
        """Handle a ``connect`` notification; for a peer that is known already, ask ``listpeers`` again."""
        self._clock += 1
        peer = self._peers.get(node_id)
        if peer is None:
            peer = self._peers[node_id] = _TableEntry(self._clock)
        peer.since, peer.notified, peer.tries = self._clock, True, 0
        peer.direction, peer.address = direction, address
        if peer.info is None:
            self.awaited.add(node_id)
        self._questions.append(Question(node_id))

    def disconnected(self, node_id: NodeId, reason: str) -> list[Event]:
        """Handle a ``disconnect`` notification. Without ``connect`` before, nothing is reported."""
        self._clock += 1
        if self._listing:
            self._left[node_id] = self._clock
        self.awaited.discard(node_id)
        peer = self._peers.pop(node_id, None)
        if peer is None:
            return []
        if peer.info is not None:
            self._remember(peer.info)
            return [(node_id, reason)]
        return self._brief(node_id, peer, reason) if peer.has_messages else []

    def message_received(self, node_id: NodeId) -> None:
        """Note a message from a peer that is not reported yet: ask for the peer, unless that is under way."""
        peer = self._peers.get(node_id)
        if peer is None:
            peer = self._peers[node_id] = _TableEntry(self._clock)
            self._questions.append(Question(node_id))
        peer.has_messages = True

    # Answers, by RPC ----------------------------------------------------------------------------------

    def number_question(self) -> int:
        """Return a number for a question that is asked now."""
        return self._clock

    def asking_for_all(self) -> int:
        """Return a number for the question for all peers, asked once at the start."""
        self._listing = True
        return self._clock

    def answered(self, number: int, node_id: NodeId, entry: Mapping[str, Any] | None) -> list[Event]:
        """Handle the entry of ``listpeers`` for one peer, None if it is not listed."""
        peer = self._peers.get(node_id)
        if peer is None or peer.since > number:
            return []  # a later connect has its own question, and a later disconnect is itself the answer
        if entry is not None and entry.get("connected") is True:
            return self._found(node_id, peer, entry)
        if entry is None and not peer.notified and peer.info is None:
            return self._drop(node_id, peer)  # it had disconnected before its message arrived
        return self._ask_again(node_id, peer)

    def unanswered(self, number: int, node_id: NodeId) -> list[Event]:
        """Handle a failed question: after some attempts, the notification's data is used."""
        peer = self._peers.get(node_id)
        if peer is None or peer.since > number or peer.info is not None:
            return []
        if peer.notified and peer.tries >= len(_AGAIN):
            return self._found(node_id, peer, {})
        return self._ask_again(node_id, peer)

    def listed(self, number: int, entries: Iterable[Mapping[str, Any]]) -> list[Event]:
        """Handle the first list of all peers."""
        events: list[Event] = []
        for entry in entries:
            node_id = NodeId(entry["id"])
            if entry.get("connected") is not True or self._left.get(node_id, 0) > number:
                continue
            peer = self._peers.get(node_id)
            if peer is None:
                peer = self._peers[node_id] = _TableEntry(number)
            if peer.since <= number:
                events += self._found(node_id, peer, entry)
        self._listing = False
        self._left.clear()
        return events

    # Inside -------------------------------------------------------------------------------------------

    def _found(self, node_id: NodeId, peer: _TableEntry, entry: Mapping[str, Any]) -> list[Event]:
        self.awaited.discard(node_id)
        before, info = peer.info, self._read(node_id, peer, entry)
        peer.info, peer.has_messages, peer.tries = info, False, 0
        if before is None:
            return [(node_id, info)]
        if (before.features, before.address) == (info.features, info.address):
            return []
        return [(node_id, "connected anew"), (node_id, info)]

    def _ask_again(self, node_id: NodeId, peer: _TableEntry) -> list[Event]:
        if peer.tries >= len(_AGAIN):
            return self._drop(node_id, peer)
        self._questions.append(Question(node_id, _AGAIN[peer.tries]))
        peer.tries += 1
        return []

    def _drop(self, node_id: NodeId, peer: _TableEntry) -> list[Event]:
        if peer.info is not None:
            return []  # a notification will follow
        self.awaited.discard(node_id)
        del self._peers[node_id]
        return self._brief(node_id, peer, "disconnected") if peer.has_messages else []

    def _brief(self, node_id: NodeId, peer: _TableEntry, reason: str) -> list[Event]:
        return [(node_id, self._departed.get(node_id) or self._read(node_id, peer, {})), (node_id, reason)]

    def _read(self, node_id: NodeId, peer: _TableEntry, entry: Mapping[str, Any]) -> PeerInfo:
        addresses, features = entry.get("netaddr"), entry.get("features")
        address = addresses[0] if isinstance(addresses, list) and addresses else peer.address
        return PeerInfo(
            node_id=node_id,
            address=str(address),
            direction=peer.direction or "out",
            features=bytes.fromhex(features) if isinstance(features, str) else b"",
        )

    def _remember(self, info: PeerInfo) -> None:
        self._departed.pop(info.node_id, None)
        self._departed[info.node_id] = info
        if len(self._departed) > _REMEMBERED:
            del self._departed[next(iter(self._departed))]


def read_address(address: object) -> str:
    """Return the address of a ``connect`` notification as ``listpeers`` writes it."""
    if isinstance(address, dict):
        host, port = address.get("address", address.get("socket", "")), address.get("port")
        if address.get("type") == "ipv6":
            host = f"[{host}]"
        return str(host) if port is None else f"{host}:{port}"
    return address if isinstance(address, str) else ""
