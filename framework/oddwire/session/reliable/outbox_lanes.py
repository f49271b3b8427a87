"""The outbox's lanes: those in use are in memory, the others on disk only."""

from __future__ import annotations

import sqlite3
from typing import Final

from oddwire.proto.keys import NodeId
from oddwire.session.reliable.lanes import Sender
from oddwire.session.reliable.outbox_quotas import OutboxQuotas
from oddwire.session.reliable.outbox_state import Load, OutboxLane, OutboxPeer, OutboxShare, new_lane
from oddwire.session.reliable.outbox_table import LaneRow, OutboxTable
from oddwire.session.store.ages import Ages
from oddwire.session.wire.frame_types import MAX_NUMBER

__all__ = ["NEW", "OutboxLanes"]

NEW: Final = float("-inf")
"""`OutboxLane.used` of a lane without a row on disk."""


class OutboxLanes:
    """The lanes of all peers. ``quotas`` define how much of a lane is under way at once."""

    def __init__(self, quotas: OutboxQuotas, ages: Ages) -> None:
        self.table = OutboxTable()
        self.peers: dict[NodeId, OutboxPeer] = {}
        """The peers with lanes in memory."""
        self.stored = 0
        """Lanes on disk; the outbox updates it after each commit."""
        self._quotas = quotas
        self._ages = ages
        self.total = Load()
        """The load of all peers."""
        self._ids = 0

    def load(self, reader: sqlite3.Connection) -> None:
        """Read the lanes in which messages wait. Raises `sqlite3.Error`."""
        table, lanes = self.table, dict[int, OutboxLane]()
        table.load(reader)
        self._ids, self.stored = table.last_id(), table.count()
        for row in table.lanes():
            lanes[row.id] = self._use(self.peer(row.node_id), row)
        for id_, size in table.sizes():
            lane = lanes[id_]
            lane.sizes.append(size)
            lane.add(1, size)

    def peer(self, node_id: NodeId) -> OutboxPeer:
        """Return a peer's entry, created if it has none."""
        peer = self.peers.get(node_id)
        if peer is None:
            peer = self.peers[node_id] = OutboxPeer(node_id, self.total)
        return peer

    def lane(self, node_id: NodeId, number: int) -> OutboxLane | None:
        """Return a lane in memory by its number, None if there is none."""
        peer = self.peers.get(node_id)
        return None if peer is None else peer.lanes.get(number)

    def find(self, peer: OutboxPeer, extension: str, gathered: OutboxShare, writing: OutboxShare) -> OutboxLane:
        """Return an extension's lane, loaded from disk or new, and do not delete it with the next commits.

        Raises `sqlite3.Error`.
        """
        found = self.table.newest_lane(peer.node_id, extension)
        if found is None:
            self._ids += 1
            numbers = (self.epoch(), 0, 1, 1)
            found = LaneRow(self._ids, peer.node_id, new_lane(peer.lanes), extension, numbers, None, NEW)
        else:
            gathered.dropped.pop(found.id, None)
            if found.id in writing.dropped:  # it is being deleted: write it again
                found = found._replace(used=NEW)
        return self._use(peer, found)

    def epoch(self) -> int:
        """Return an epoch for a new lane: microseconds since 1970 (protocol, Reliable delivery).

        It may be less than an earlier one if the wall clock was set back: the peer's ack shows that.
        """
        return min(max(int(self._ages.wall() * 1e6), 1), MAX_NUMBER - 1)

    def _use(self, peer: OutboxPeer, row: LaneRow) -> OutboxLane:
        epoch, offset, base, stop = row.numbers
        sender = Sender(
            epoch=epoch,
            offset=offset,
            base=base,
            stop=stop,
            window=int(self._quotas.least("window_messages", row.extension)),
            window_bytes=int(self._quotas.least("window_bytes", row.extension)),
        )
        lane = OutboxLane(row.id, peer, row.lane, row.extension, sender)
        peer.add(lane)
        lane.known = lane.wanted = row.known
        lane.used, lane.stored = row.used, row.used != NEW
        return lane

    def tidy(self, peer: OutboxPeer, gathered: OutboxShare, writing: OutboxShare) -> None:
        """Remove a peer's idle lanes from memory, except for those in the share of a commit."""
        for lane in [*peer.lanes.values()]:
            busy = lane.load.messages or lane.address
            if not busy and lane not in gathered.touched and lane not in writing.touched:
                peer.remove(lane)
        if not peer.lanes and self.peers.get(peer.node_id) is peer:
            del self.peers[peer.node_id]

    def drop_unused(self, share: OutboxShare, writing: OutboxShare, used: float, most: int) -> tuple[int, bool]:
        """Add up to ``most`` lanes not used since ``used`` to those a commit deletes; one in memory counts as used.

        Return how many were added, and whether the share has changed at all.
        """
        count, found = 0, self.table.oldest(used, most)
        for id_, node_id, full in found:
            peer = self.peers.get(node_id)
            lane = None if peer is None else next((one for one in peer.lanes.values() if one.id == id_), None)
            if lane is not None:
                lane.used = self._ages()
                share.touched[lane] = share.whole[lane] = None
            elif not full and id_ not in share.dropped and id_ not in writing.dropped:
                share.dropped[id_] = None
                count += 1
        return count, bool(found)

    def renumber(self, share: OutboxShare) -> None:
        """Make a commit assign new numbers to all lanes, and sequences from 1 on to their messages."""
        for peer in self.peers.values():
            for lane in peer.lanes.values():
                share.touched[lane] = share.whole[lane] = None
                share.lanes[lane] = new_lane(peer.lanes)
                share.renumbered[lane] = (max(self.epoch(), lane.sender.epoch + 1), lane.sender.settled - 1)

    def renumbered(self, share: OutboxShare) -> None:
        """Apply the new numbers of lanes, which are on disk now."""
        self.stored = self.table.count()
        for lane, number in share.lanes.items():
            del lane.peer.lanes[lane.lane]
            lane.lane = number
        for lane in share.lanes:
            lane.peer.lanes[lane.lane] = lane
