"""The kept messages of all peers: a part of the store, which says when one may be sent, and that it is gone."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from oddwire.app.resending.entries import Entry, Ident, KeptPeer
from oddwire.app.resending.table import KeptTable
from oddwire.errors import StoreError
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Allowance, Counters, Limits
from oddwire.session.reliable.outbox_quotas import OutboxQuotas
from oddwire.session.reliable.outbox_state import Load
from oddwire.session.store.database import MEMORY, Database
from oddwire.session.store.unit import Store

__all__ = ["KeptMessages"]

logger = get_logger("oddwire.app")

_RETRY: Final = 5.0  # seconds until a failed commit is tried again if nothing else is committed
_MARKED: Final = 3600.0  # seconds between marks of the clocks if nothing else is committed


class KeptMessages:
    """The kept messages; a part of the store, added to it here, which takes part in its commits once there is one.

    ``limits`` are those of the outbox, and so are ``allowances``, by extension; ``total`` is the load of all peers, the
    outbox's included. ``added`` is called with each message once it is on disk, ``removed`` with each that is not kept
    any more: settled, replaced or expired.
    """

    def __init__(
        self,
        store: Store,
        *,
        limits: Limits,
        total: Load,
        allowances: Mapping[str, Allowance] = MappingProxyType({}),
    ) -> None:
        self.entries: dict[Ident, Entry] = {}
        """What is kept, or will be with the next commit."""
        self.peers: dict[NodeId, KeptPeer] = {}
        """The peers for whom something is kept."""
        self.added: Callable[[Entry], object] = lambda _: None
        self.removed: Callable[[Entry], object] = lambda _: None
        self._store = store
        self._ages = store.ages
        self._total = total
        self._quotas = OutboxQuotas(limits, allowances, "messages that are sent again", "settled")
        self._table = KeptTable()
        self._planned: Counter[Ident] = Counter()  # in units of work that have not ended
        self._gathered: dict[Ident, Entry | None] = {}
        self._writing: dict[Ident, Entry | None] = {}
        self._before: dict[Ident, Entry | None] = {}  # what is on disk of those with changes that are not
        self._dropped: set[Ident] = set()  # of what is on disk, those that are to be deleted even if a commit fails
        self._closed = False
        self._joined = False  # the commits, for which there was something to write
        store.add_idle(self)

    @property
    def counters(self) -> Counters:
        """How often ``limits`` took effect, and how many messages have expired."""
        return self._quotas.counters

    # What is kept -----------------------------------------------------------------------------------

    async def keep(self, entry: Entry) -> None:
        """Keep a message, in place of one with the same identity. Returns once it is on disk.

        In a unit of work the message is part of the unit, and the call does not wait. Raises `QuotaExceeded`, and
        `StoreError` if it cannot be written. If it is cancelled, the message may or may not be kept.
        """
        await self._store.ready()
        peer = self._peer(entry.ident.node_id)
        self._admit(peer, entry)
        unit = self._store.current()
        if unit is not None:
            self._planned[entry.ident] += 1
            unit.at_end(partial(self._planned_ends, entry, True), partial(self._planned_ends, entry, False))
            return
        self._gather(entry)
        await self._store.touch().durable()

    def _admit(self, peer: KeptPeer, entry: Entry) -> None:
        """Reserve room for a message, counted without the one that it replaces. Raises `QuotaExceeded`."""
        extension, old = entry.ident.extension, self.entries.get(entry.ident)
        if old is not None:
            peer.add(extension, -1, -old.weight)
        try:
            self._quotas.admit(peer, extension, entry.weight)
            peer.add(extension, 1, entry.weight)
        finally:
            if old is not None:
                peer.add(extension, 1, old.weight)
            self._tidy(peer)

    def _gather(self, entry: Entry) -> None:
        self._unreserve(entry)
        entry.made = self._ages()
        self._change(entry.ident, entry)

    def _planned_ends(self, entry: Entry, success: bool) -> None:
        self._planned[entry.ident] -= 1
        if not self._planned[entry.ident]:
            del self._planned[entry.ident]
        if success:
            self._gather(entry)
        else:
            self._unreserve(entry)
            self._tidy(self._peer(entry.ident.node_id))

    def _unreserve(self, entry: Entry) -> None:
        self._peer(entry.ident.node_id).add(entry.ident.extension, -1, -entry.weight)

    def owners(self, node_id: NodeId, key: bytes) -> list[str]:
        """Return the extensions that keep something under a key, or will at the end of a unit of work."""
        peer = self.peers.get(node_id)
        idents = [] if peer is None else [Ident(name, node_id, key) for name in peer.extensions]
        return sorted(ident.extension for ident in idents if ident in self.entries or ident in self._planned)

    async def settle(self, ident: Ident) -> None:
        """Keep a message no longer. Returns once that is on disk, or at once in a unit of work, which it is part of.

        Raises `StoreError`; the message is still kept then.
        """
        await self._store.ready()
        unit = self._store.current()
        if unit is not None:
            unit.at_end(partial(self._remove, ident))
            return
        self._remove(ident)
        await self._store.touch().durable()

    def _remove(self, ident: Ident) -> None:
        if ident in self.entries:
            self._change(ident, None)

    def drop(self, entry: Entry) -> None:
        """Keep a message no longer, unless another has replaced it: with the next commit, or the unit of work.

        If the commit fails it is tried again, and until then the message is not sent.
        """
        unit = self._store.current()
        if unit is not None:
            unit.at_end(partial(self._drop, entry))
        else:
            self._drop(entry)

    def _drop(self, entry: Entry) -> None:
        if self.entries.get(entry.ident) is entry:
            self._change(entry.ident, None)
            self._dropped.add(entry.ident)
            self._store.touch()

    def payload_of(self, entry: Entry) -> bytes | None:
        """Return a message's bytes; None if they cannot be read, which is logged."""
        return self._table.payload(entry.ident) if entry.payload is None else entry.payload

    def now(self) -> float:
        """Return the time by which ages are counted, in seconds."""
        return self._ages()

    def age_of(self, entry: Entry) -> float:
        """Return how old a message is, in seconds."""
        return max(0.0, self._ages() - entry.made)

    def left_of(self, entry: Entry) -> float:
        """Return the seconds until a message expires; 0 or less if it has."""
        most = self._quotas.least("outbox_seconds", entry.ident.extension)
        return entry.made + (most if entry.life is None else min(entry.life, most)) - self._ages()

    def mark(self) -> None:
        """Write a mark of the clock by which ages are counted, if none was written for an hour."""
        if self.entries and self._ages.is_due(_MARKED):
            self._store.touch_later()

    def close(self) -> None:
        """Write a mark of the clock for the next process. A log record says what is lost with a store in memory."""
        count, self._closed = 0 if self._closed else len(self.entries), True
        if count and self._store.path == MEMORY:
            many = f"{count} messages that are" if count > 1 else "a message that is"
            text = "lost with this process; a store on disk (--data-dir) would keep what waits for the next start"
            logger.warning("%s sent again and not settled yet: %s", many, text)
        elif count and self._store.is_open:
            self._store.touch_later()

    def _change(self, ident: Ident, entry: Entry | None) -> None:
        """Keep an entry, or none, from now on, and write that with the next commit."""
        self._before.setdefault(ident, self.entries.get(ident))
        self._gathered[ident] = entry
        if not self._joined:
            self._joined = True
            self._store.join(self)
        self._set(ident, entry)

    def _set(self, ident: Ident, entry: Entry | None) -> None:
        peer, old = self._peer(ident.node_id), self.entries.pop(ident, None)
        if old is not None:
            old.live = False
            peer.add(ident.extension, -1, -old.weight)
            del peer.entries[ident]
            self.removed(old)
        if entry is not None:
            entry.live = True
            peer.add(ident.extension, 1, entry.weight)
            self.entries[ident] = peer.entries[ident] = entry
        self._tidy(peer)

    def _peer(self, node_id: NodeId) -> KeptPeer:
        peer = self.peers.get(node_id)
        if peer is None:
            peer = self.peers[node_id] = KeptPeer(node_id, self._total)
        return peer

    def _tidy(self, peer: KeptPeer) -> None:
        if not peer.load.messages and self.peers.get(peer.node_id) is peer:
            del self.peers[peer.node_id]

    # As `oddwire.session.store.part.Part` -----------------------------------------------------------

    def load(self, database: Database) -> None:
        """Load what earlier processes have kept."""
        for ident in [*self.entries]:  # of an attempt to open the store that failed
            self._set(ident, None)
        for entry in [*self._table.load(database.reader)]:
            self._set(entry.ident, entry)
            self.added(entry)  # the store may not have been there when the application started

    def begin(self) -> None:
        """Make the gathered changes the share of the commit."""
        self._writing, self._gathered = self._gathered, {}

    def write(self, writer: sqlite3.Connection) -> None:
        """Write the share of the commit."""
        if self._writing:
            self._table.write(writer, self._writing)

    def end(self, error: StoreError | None) -> None:
        """Tell of messages that are on disk now; after an error, put back what is there."""
        share, self._writing = self._writing, {}
        for ident, entry in share.items():
            if error is not None:
                self._take_back(ident)
                continue
            if ident in self._gathered:
                self._before[ident] = entry
            else:
                del self._before[ident]
                self._dropped.discard(ident)
            if entry is not None:
                entry.stored = True
                if entry.live:
                    self.added(entry)
                entry.payload = None

    def _take_back(self, ident: Ident) -> None:
        if ident in self._gathered:
            return  # what was gathered later fails, too, and is taken back with it
        if ident in self._dropped:
            self._set(ident, None)
            self._gathered[ident] = None
            self._store.touch_later(_RETRY)
            return
        before = self._before.pop(ident)
        self._set(ident, before)
        if before is not None:
            self.added(before)
