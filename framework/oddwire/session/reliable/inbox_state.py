"""What the inbox knows of each peer and lane."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from oddwire.proto.keys import NodeId
from oddwire.session.reliable.inbox_records import Key
from oddwire.session.reliable.lanes import Receiver
from oddwire.session.wire.frame_types import Refusal

__all__ = ["NEVER", "InboxPeer", "InboxShare", "Lane", "Waiting"]

NEVER: Final = float("-inf")
"""When a lane was used of which nothing is on disk, or whose row is to be written wholly."""


class Waiting(NamedTuple):
    """A message that waits for its handler."""

    epoch: int
    sequence: int
    payload: bytes


class Lane:
    """One lane from one peer: what waits for its handler."""

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
        self.kept = kept  # on disk, as something was handled, not all refused: else a stranger costs no disk
        self.written = kept
        self.seen = NEVER  # when it was written that it was used
        self.refused = 0  # refusals on disk
        self.source: object = None  # from whom the last message came
        self.waiting: deque[Waiting] = deque()
        self.busy = False
        self.skipped = False  # something was not taken, for want of room: ask for it again

    @property
    def is_idle(self) -> bool:
        """Whether all that was taken is done, and acknowledged."""
        return not self.busy and self.receiver.taken == self.receiver.last

    @property
    def key(self) -> Key:
        """Its place in the database."""
        return bytes(self.peer.node_id), self.number.to_bytes(8)


class InboxPeer:
    """One peer: its lanes, and how many bytes wait in them."""

    __slots__ = ("gone", "held", "lanes", "node_id")

    def __init__(self, node_id: NodeId) -> None:
        self.node_id = node_id
        self.gone = False
        self.held = 0
        self.lanes: dict[int, Lane] = {}


class InboxShare:
    """What one commit writes."""

    __slots__ = ("forgotten", "kept", "lanes", "refusals")

    def __init__(self) -> None:
        self.forgotten: dict[Key, int] = {}  # lanes that were not used for long, and how many refusals go with them
        self.kept: dict[Lane, tuple[bool, int]] = {}  # those that were written: whether wholly, and their refusals
        self.lanes: dict[Lane, tuple[int, int, int]] = {}  # epoch, last, tries
        self.refusals: dict[Lane, list[Refusal]] = {}
