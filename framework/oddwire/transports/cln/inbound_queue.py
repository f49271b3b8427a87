"""How much goes, and how much is kept: the pace of what we send to a peer, and what waits for the application. No I/O.

lightningd takes what it is given, however slowly the peer reads, and loses it with the connection; so we send no faster
than a lightningd at the other end takes messages. The other way, it hands on everything at once and cannot be stopped.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from oddwire.exit_exceptions import must_pass
from oddwire.log_limits import get_logger
from oddwire.records import FrozenRecord
from oddwire.transports.base import NodeId, PeerInfo, Sink

__all__ = ["ClnLimits", "Dropped", "Event", "InboundQueue", "Pace", "PeerInbound"]

logger = get_logger("oddwire.transports.cln")

_OVERHEAD: Final = 64  # what a payload costs besides its bytes
_ROUNDING: Final = 1e-3  # of a byte, and more than sums of floating point numbers are off
_TURN: Final = 256  # payloads of one peer handed on before others have their turn

Event = PeerInfo | bytes | str
"""What happens to a peer: it connects, sends a payload, disconnects for a reason."""


class ClnLimits(FrozenRecord, kw_only=True):
    """What a `ClnTransport` does at most, a peer where nothing else is said."""

    rate: float | None = 1_000_000
    """Bytes a second sent to a peer; None for no limit. lightningd (v26.04 and later) takes 1 MB/s from a peer."""
    burst: int = 4_000_000
    """Bytes sent to a peer at once after a pause."""
    depth: int = 64
    """Messages to a peer that lightningd may have before it has taken the first."""
    held: int = 8 * 1024 * 1024
    """Bytes received that may wait for the application, before more are dropped and counted."""
    held_total: int = 64 * 1024 * 1024
    """The same for all peers together."""


class Pace:
    """When the next message may go to a peer. Times are seconds of any steady clock."""

    __slots__ = ("_burst", "_depth", "_open", "_rate", "_since", "_tokens")

    def __init__(self, limits: ClnLimits, now: float) -> None:
        self._rate = math.inf if limits.rate is None else limits.rate
        self._burst = max(limits.burst, 65535)
        self._depth = max(limits.depth, 1)
        self._tokens = float(self._burst)
        self._since = now
        self._open = 0

    def begin(self, size: int) -> bool:
        """Do as `start` does where it does not matter what time it is; else do nothing, and return False."""
        if self._open >= self._depth or self._tokens < size:
            return False
        self._tokens -= size
        self._open += 1
        return True

    def start(self, size: int, now: float) -> bool:
        """Begin to send ``size`` bytes, if they may go now; `done` has to follow."""
        if self._open >= self._depth:
            return False
        if self._rate is not math.inf:
            if self._tokens < size:
                self._tokens = min(self._burst, self._tokens + (now - self._since) * self._rate)
                self._since = now
                if self._tokens < size - _ROUNDING:
                    return False
            self._tokens -= size
        self._open += 1
        return True

    def done(self) -> None:
        """Take note that lightningd has answered."""
        self._open -= 1

    def delay(self, size: int) -> float | None:
        """Say in how many seconds ``size`` bytes that could not go may; None if `done` has to come first."""
        if self._open >= self._depth:
            return None
        return max((size - self._tokens) / self._rate, 0.0)


class Dropped:
    """Messages that were received and dropped, for the application did not take them."""

    def __init__(self) -> None:
        self.total = 0
        self._peers: dict[NodeId, int] = {}
        self._bursts: dict[NodeId, int] = {}

    def __repr__(self) -> str:
        return f"<{self.total} dropped>"

    @property
    def peers(self) -> Mapping[NodeId, int]:
        """How many of whom."""
        return MappingProxyType(self._peers)

    def add(self, peer: NodeId, count: int = 1) -> None:
        """Count; the first of a burst is logged."""
        self.total += count
        self._peers[peer] = self._peers.get(peer, 0) + count
        if peer not in self._bursts:
            logger.warning("messages of %s are dropped: more of them wait than may be held", peer)
        self._bursts[peer] = self._bursts.get(peer, 0) + count

    def end_burst(self, peer: NodeId) -> None:
        """Log how many it were, if any: messages of this peer are taken again, or it is gone."""
        count = self._bursts.pop(peer, 0) if self._bursts else 0
        if count:
            logger.warning("%d message%s of %s had to be dropped", count, "" if count == 1 else "s", peer)


class PeerInbound:
    """One peer's way to the application. While ``clear``, payloads go straight to the sink."""

    __slots__ = ("clear", "draining", "held", "paused", "queue", "staged", "up")

    def __init__(self) -> None:
        self.up = False
        self.paused = False
        self.clear = False
        """Up, not paused, and nothing waits."""
        self.draining = False
        self.queue: deque[Event] = deque()
        self.staged: list[bytes] = []
        self.held = 0


class InboundQueue:
    """Hands what happens to every peer to ``sink``, in order, and keeps it while the application has paused the peer.

    ``lanes`` are the peers, for those who want to spare themselves a call: see `PeerInbound.clear`.
    """

    def __init__(self, sink: Sink, limits: ClnLimits, dropped: Dropped) -> None:
        self.lanes: dict[NodeId, PeerInbound] = {}
        self.held = 0
        """Bytes that wait."""
        self.sink = sink
        self._limits = limits
        self._dropped = dropped

    def stage(self, peer: NodeId, payload: bytes) -> None:
        """Keep a payload of a peer that the sink does not know: it comes after the peer's `PeerInfo`."""
        lane = self._lane(peer)
        if self._has_room(peer, lane, payload):
            lane.staged.append(payload)

    def push(self, peer: NodeId, event: Event) -> bool:
        """Hand on, or keep behind what waits; true if `drain` has to be called."""
        lane = self._lane(peer)
        if type(event) is bytes:
            if lane.clear:
                self._sink_payload(peer, event)
                return False
            if not self._has_room(peer, lane, event):
                return False
        lane.queue.append(event)
        lane.clear = False
        if isinstance(event, PeerInfo) and lane.staged:
            lane.queue += lane.staged
            lane.staged = []
        return self.drain(peer)

    def pause(self, peer: NodeId) -> None:
        """Keep what comes, from the next payload on. Peers that the sink does not know are ignored."""
        lane = self.lanes.get(peer)
        if lane is not None and lane.up:
            lane.paused = True
            lane.clear = False

    def resume(self, peer: NodeId) -> bool:
        """Undo `pause`; true if `drain` has to be called."""
        lane = self.lanes.get(peer)
        if lane is None or not lane.paused:
            return False
        lane.paused = False
        lane.clear = lane.up and not lane.queue
        return bool(lane.queue) and not lane.draining

    def drain(self, peer: NodeId) -> bool:
        """Hand on what waits, some of it; true if it has to be called again, when others have had their turn."""
        lane = self.lanes.get(peer)
        if lane is None or lane.draining:
            return False
        queue = lane.queue
        lane.draining = True
        for _ in range(_TURN):
            # A farewell waits, too: what was sent before comes before it
            if not queue or lane.paused:
                break
            event = queue.popleft()
            if type(event) is bytes:
                self._release(lane, event)
                self._sink_payload(peer, event)
            elif isinstance(event, PeerInfo):
                lane.up = True
                self._call(self.sink.peer_connected, event)
            elif isinstance(event, str):
                lane.up = lane.paused = False
                self._call(self.sink.peer_disconnected, peer, event)
        lane.draining = False
        if queue:
            return not lane.paused
        lane.clear = lane.up and not lane.paused
        if not lane.held:
            self._dropped.end_burst(peer)
        if not lane.up and not lane.staged:
            self.lanes.pop(peer, None)
        return False

    def close(self, reason: str) -> None:
        """Give up what waits, and tell the sink that every peer is gone."""
        for peer, lane in list(self.lanes.items()):
            waiting = len(lane.staged) + sum(type(event) is bytes for event in lane.queue)
            if waiting:
                logger.info("%d messages of %s are given up: %s", waiting, peer, reason)
            self._dropped.end_burst(peer)
            lane.queue.clear()
            lane.staged.clear()
            lane.clear = False
            if lane.up:
                lane.up = False
                self._call(self.sink.peer_disconnected, peer, reason)
        self.lanes.clear()
        self.held = 0

    def _lane(self, peer: NodeId) -> PeerInbound:
        lane = self.lanes.get(peer)
        if lane is None:
            lane = self.lanes[peer] = PeerInbound()
        return lane

    def _has_room(self, peer: NodeId, lane: PeerInbound, payload: bytes) -> bool:
        size = len(payload) + _OVERHEAD
        if lane.held + size > self._limits.held or self.held + size > self._limits.held_total:
            self._dropped.add(peer)
            return False
        lane.held += size
        self.held += size
        return True

    def _release(self, lane: PeerInbound, payload: bytes) -> None:
        size = len(payload) + _OVERHEAD
        lane.held -= size
        self.held -= size

    def _sink_payload(self, peer: NodeId, payload: bytes) -> None:
        try:
            self.sink.payload_received(peer, payload)
        except BaseException as error:
            if must_pass(error):
                raise
            logger.exception("the sink raised over a payload of %s", peer)

    def _call(self, function: object, *arguments: object) -> None:
        try:
            function(*arguments)  # type: ignore[operator]
        except BaseException as error:
            if must_pass(error):
                raise
            logger.exception("the sink raised")
