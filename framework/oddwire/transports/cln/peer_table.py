"""Who is connected, from notifications on one way and answers of ``listpeers`` on another. No I/O.

The two ways know nothing of each other's order: an answer counts only if no notification about its peer has come since
it was asked for. Messages have an order of their own, too: one may come before ``connect`` or after ``disconnect``.
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
"""Seconds before asking again, while lightningd may still be about to say that a peer is connected."""
_REMEMBERED: Final = 1000  # peers that are gone


class Question(FrozenRecord):
    """That ``listpeers`` should be asked for ``node_id`` in ``delay`` seconds."""

    node_id: NodeId
    delay: float = 0.0


class _TableEntry:
    __slots__ = ("address", "direction", "heard", "info", "notified", "since", "tries")

    def __init__(self, since: int) -> None:
        self.since = since  # when the last notification of it came
        self.notified = False  # connect has come, for what we know of it
        self.heard = False  # a message of it waits
        self.tries = 0
        self.direction: Literal["in", "out"] | None = None
        self.address = ""
        self.info: PeerInfo | None = None  # what was told of it; None until then


class PeerTable:
    """Every peer that is connected, or of which something came. Methods give what is to be told, in order.

    After each, `questions` may hold something to ask; `number_question` numbers a question when it is asked, and the
    answer goes to `answered` or `unanswered` with that number.
    """

    def __init__(self) -> None:
        self._peers: dict[NodeId, _TableEntry] = {}
        self.awaited: set[NodeId] = set()
        """Whose ``connect`` has come, and who are not told of yet."""
        self._clock = 0
        self._listing = False
        self._left: dict[NodeId, int] = {}  # who disconnected while the first list is under way
        self._departed: dict[NodeId, PeerInfo] = {}
        self._questions: list[Question] = []

    @property
    def questions(self) -> list[Question]:
        """What is to be asked; each is given once."""
        questions, self._questions = self._questions, []
        return questions

    def __contains__(self, node_id: NodeId) -> bool:
        """Say whether a peer is connected, for all we know."""
        peer = self._peers.get(node_id)
        return peer is not None and (peer.info is not None or peer.notified)

    def info(self, node_id: NodeId) -> PeerInfo | None:
        """Return what was told of a connected peer."""
        peer = self._peers.get(node_id)
        return None if peer is None else peer.info

    # What comes by stdin ------------------------------------------------------------------------------

    def connected(self, node_id: NodeId, direction: Literal["in", "out"] | None = None, address: str = "") -> None:
        """Take the ``connect`` notification; for a peer that is known already it means: look again."""
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
        """Take the ``disconnect`` notification. One without ``connect`` is nothing to tell of."""
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
        return self._brief(node_id, peer, reason) if peer.heard else []

    def heard(self, node_id: NodeId) -> None:
        """Take note that a message came of a peer that was not told of: it is asked for, unless it is already."""
        peer = self._peers.get(node_id)
        if peer is None:
            peer = self._peers[node_id] = _TableEntry(self._clock)
            self._questions.append(Question(node_id))
        peer.heard = True

    # What comes by RPC --------------------------------------------------------------------------------

    def number_question(self) -> int:
        """Assign a number to a question that is being asked now."""
        return self._clock

    def asking_for_all(self) -> int:
        """Assign a number to the question for all peers, asked once at the start."""
        self._listing = True
        return self._clock

    def answered(self, number: int, node_id: NodeId, entry: Mapping[str, Any] | None) -> list[Event]:
        """Take what ``listpeers`` has of one peer; None if it is not in the list."""
        peer = self._peers.get(node_id)
        if peer is None or peer.since > number:
            return []  # a connect that came since has its own question, a disconnect is an answer itself
        if entry is not None and entry.get("connected") is True:
            return self._found(node_id, peer, entry)
        if entry is None and not peer.notified and peer.info is None:
            return self._give_up(node_id, peer)  # it was gone before its message came
        return self._ask_again(node_id, peer)

    def unanswered(self, number: int, node_id: NodeId) -> list[Event]:
        """Take note that a question failed: after some attempts, what the notification told has to do."""
        peer = self._peers.get(node_id)
        if peer is None or peer.since > number or peer.info is not None:
            return []
        if peer.notified and peer.tries >= len(_AGAIN):
            return self._found(node_id, peer, {})
        return self._ask_again(node_id, peer)

    def listed(self, number: int, entries: Iterable[Mapping[str, Any]]) -> list[Event]:
        """Take the first list of all peers."""
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
        peer.info, peer.heard, peer.tries = info, False, 0
        if before is None:
            return [(node_id, info)]
        if (before.features, before.address) == (info.features, info.address):
            return []
        return [(node_id, "connected anew"), (node_id, info)]

    def _ask_again(self, node_id: NodeId, peer: _TableEntry) -> list[Event]:
        if peer.tries >= len(_AGAIN):
            return self._give_up(node_id, peer)
        self._questions.append(Question(node_id, _AGAIN[peer.tries]))
        peer.tries += 1
        return []

    def _give_up(self, node_id: NodeId, peer: _TableEntry) -> list[Event]:
        if peer.info is not None:
            return []  # lightningd will tell
        self.awaited.discard(node_id)
        del self._peers[node_id]
        return self._brief(node_id, peer, "disconnected") if peer.heard else []

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
    """Write the address of a ``connect`` notification as ``listpeers`` does."""
    if isinstance(address, dict):
        host, port = address.get("address", address.get("socket", "")), address.get("port")
        if address.get("type") == "ipv6":
            host = f"[{host}]"
        return str(host) if port is None else f"{host}:{port}"
    return address if isinstance(address, str) else ""
