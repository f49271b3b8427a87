"""What is known in memory of a message that is sent again; its payload is on disk."""

from __future__ import annotations

from math import inf
from typing import Final, NamedTuple

from oddwire.proto.keys import NodeId
from oddwire.session.reliable.outbox_state import Load
from oddwire.transports.base import PeerInfo

__all__ = ["OVERHEAD", "Entry", "Ident", "KeptPeer"]

OVERHEAD: Final = 512
"""What is in memory of a kept message, in bytes, beside what the outbox counts for each."""


class Ident(NamedTuple):
    """What is unique to a kept message: its extension, its peer, and its key as `encode_key` returns it."""

    extension: str
    node_id: NodeId
    key: bytes


class Entry:
    """One kept message. Times of the database are those of `Ages`, times of sending those of the event loop."""

    __slots__ = (
        "answering",
        "connection",
        "due",
        "every",
        "force",
        "ident",
        "last",
        "life",
        "live",
        "logged",
        "made",
        "matched",
        "on_connect",
        "payload",
        "place",
        "queued",
        "sent",
        "stored",
        "type_id",
        "weight",
    )

    def __init__(
        self,
        ident: Ident,
        type_id: int,
        size: int,
        *,
        made: float = 0.0,
        every: float | None = None,
        life: float | None = None,
        on_connect: bool = True,
        force: bool = False,
        matched: bytes | None = None,
        payload: bytes | None = None,
    ) -> None:
        self.ident = ident
        self.type_id = type_id
        self.weight = size + len(ident.key) + OVERHEAD
        """What it counts against limits, in bytes."""
        self.made = made
        self.every = every
        self.life = life
        """The age at which it expires; None for that of the limit."""
        self.on_connect = on_connect
        self.force = force
        self.matched = matched
        """The value of its ``match`` field, as a key, that an answer repeats; None if no answer settles it."""
        self.payload = payload
        """Its bytes until they are on disk."""
        self.stored = False
        """Whether it is on disk."""
        self.live = False
        """Whether it is kept: not settled, replaced or expired."""
        self.sent = 0
        """How often this process has sent it."""
        self.last = -inf
        """When it was sent last."""
        self.due = inf
        """When to send it; infinity while its peer has to connect first."""
        self.queued = False
        """Whether it waits for its peer's other messages to be sent."""
        self.connection: PeerInfo | None = None
        """The connection to which it was, or will be, sent since that began."""
        self.answering = 0
        """The number of handlers that handle an answer to it."""
        self.logged = False
        """Whether it was logged why it is not sent."""
        self.place = 0
        """The number of its current entry in the resender's heap."""


class KeptPeer:
    """The kept messages to one peer, by identity, in the order of their first sending; and their load."""

    __slots__ = ("_loads", "entries", "load", "node_id", "total")

    def __init__(self, node_id: NodeId, total: Load) -> None:
        self.node_id = node_id
        self.total = total  # of all peers, with the outbox's
        self.load = Load()
        self.entries: dict[Ident, Entry] = {}
        self._loads: dict[str, Load] = {}

    def add(self, extension: str, messages: int, size: int) -> None:
        """Add to the loads of an extension, the peer, and all peers."""
        own = self._loads.setdefault(extension, Load())
        for load in (own, self.load, self.total):
            load.messages += messages
            load.bytes += size
        if not own.messages:
            del self._loads[extension]

    @property
    def extensions(self) -> tuple[str, ...]:
        """The extensions with a load."""
        return (*self._loads,)

    def load_of(self, extension: str) -> Load:
        """Return the load of an extension."""
        return self._loads.get(extension) or Load()
