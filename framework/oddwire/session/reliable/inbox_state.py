"""The inbox's state in memory for each peer and lane, and the share of a commit."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from oddwire.proto.keys import NodeId
from oddwire.session.reliable.inbox_records import Key
from oddwire.session.reliable.lanes import Receiver
from oddwire.session.wire.frame_types import Refusal

__all__ = ["NEVER", "InboxPeer", "InboxShare", "Lane", "Waiting"]

NEVER: Final = float("-inf")
"""`Lane.seen` of a lane that is not on disk, or whose whole row is to be written."""


class Waiting(NamedTuple):
    """A message that waits for its handler."""

    epoch: int
    sequence: int
    payload: bytes


class Lane:
    """One lane from one peer, with its messages that wait for their handlers."""

    __slots__ = (
        "busy",
        "kept",
        "number",
        "peer",
        "receiver",
        "refused",
        "seen",
        "skipped",
        "source",
        "waiting",
        "written",
    )

    def __init__(self, peer: InboxPeer, number: int, receiver: Receiver, kept: bool) -> None:
        self.peer = peer
        self.number = number
        self.receiver = receiver
        self.kept = kept  # to be on disk. Not while everything was refused, so that strangers cost no disk
        self.written = kept  # on disk
        self.seen = NEVER  # the time of last use on disk
        self.refused = 0  # refusals on disk
        self.source: object = None  # the session of the last message, to which acks go
        self.waiting: deque[Waiting] = deque()
        self.busy = False  # a task handles its messages
        self.skipped = False  # a message was not taken for want of room: the next ack asks for it again

    @property
    def is_idle(self) -> bool:
        """Whether no handler is running, and all messages taken are handled or refused on disk."""
        return not self.busy and self.receiver.taken == self.receiver.last

    @property
    def key(self) -> Key:
        """Its primary key in the database."""
        return bytes(self.peer.node_id), self.number.to_bytes(8)


class InboxPeer:
    """One peer: its lanes in memory, and ``held``, the bytes of the messages that wait or are handled."""

    __slots__ = ("gone", "held", "lanes", "node_id")

    def __init__(self, node_id: NodeId) -> None:
        self.node_id = node_id
        self.gone = False
        self.held = 0
        self.lanes: dict[int, Lane] = {}


class InboxShare:
    """The inbox's share of one commit."""

    __slots__ = ("dropped", "kept", "lanes", "refusals")

    def __init__(self) -> None:
        self.dropped: dict[Key, int] = {}  # lanes to delete, with their numbers of refusals
        self.kept: dict[Lane, tuple[bool, int]] = {}  # lanes written: whether the whole row, and number of refusals
        self.lanes: dict[Lane, tuple[int, int, int]] = {}  # epoch, last, tries
        self.refusals: dict[Lane, list[Refusal]] = {}
