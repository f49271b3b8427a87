"""Counts of messages by type, direction and outcome. Created once they are wanted: until then they cost nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, Literal

from oddwire import clocks
from oddwire.app.insight.handler_times import HandlerTimes
from oddwire.errors import ConnectionClosed, PeerNotConnected, Refuse, RemoteFailure, ReplyTimeout
from oddwire.proto.keys import NodeId

__all__ = ["Counts", "Direction", "Ticket", "Traffic", "end_dropped", "fate_of", "sent_fate", "ticket_in"]

Direction = Literal["received", "sent"]

_STRANGE: Final = 64  # unknown types that are counted by number; peers choose them, and there are 65 536


class Traffic:
    """The messages of one type in one direction: how many have come to each outcome, and their payload bytes.

    ``type_id`` is None for all types that were unknown and one too many.
    """

    __slots__ = ("bytes", "messages", "outcomes", "type_id")

    def __init__(self, type_id: int | None) -> None:
        self.type_id = type_id
        self.messages = 0
        """All messages, also those whose outcome is open."""
        self.bytes = 0
        self.outcomes: dict[str, list[int]] = {}

    def add(self, outcome: str, size: int) -> None:
        """Count a message whose outcome is known."""
        self.messages += 1
        self.bytes += size
        found = self.outcomes.get(outcome)
        if found is None:
            found = self.outcomes[outcome] = [0, 0]
        found[0] += 1
        found[1] += size

    def end(self, outcome: str, size: int) -> None:
        """Count the outcome of a message that was counted before."""
        found = self.outcomes.get(outcome)
        if found is None:
            found = self.outcomes[outcome] = [0, 0]
        found[0] += 1
        found[1] += size

    def rows(self) -> Iterator[tuple[str, int, int]]:
        """Yield each outcome with its messages and bytes; ``pending`` are those whose outcome is open."""
        messages, size = self.messages, self.bytes
        for outcome, (count, count_bytes) in self.outcomes.items():
            messages -= count
            size -= count_bytes
            yield outcome, count, count_bytes
        if messages:
            yield "pending", messages, size


class Ticket:
    """One message whose outcome is open. ``outcome`` is what it ends with unless `end` is told another."""

    __slots__ = ("_traffic", "outcome", "size", "times")

    def __init__(self, traffic: Traffic, size: int, times: Callable[[str], HandlerTimes]) -> None:
        self._traffic: Traffic | None = traffic
        traffic.messages += 1
        traffic.bytes += size
        self.size = size
        self.times = times
        """Returns the times of an extension's handler for this type."""
        self.outcome = "cancelled"

    def end(self, outcome: str = "") -> None:
        """Count the outcome, once."""
        traffic, self._traffic = self._traffic, None
        if traffic is not None:
            traffic.end(outcome or self.outcome, self.size)


class Counts:
    """The counts of one application, from ``since``, a Unix time, on. ``is_known`` says which types have an owner."""

    def __init__(self, is_known: Callable[[int], bool]) -> None:
        self.since = clocks.wall()
        self._is_known = is_known
        self._traffic: dict[Direction, dict[int | None, Traffic]] = {"received": {}, "sent": {}}
        self._strange: set[int] = set()
        self._times: dict[tuple[str, int | None], HandlerTimes] = {}
        self._times_of: dict[int | None, Callable[[str], HandlerTimes]] = {}
        self.peers: dict[NodeId, list[int]] = {}
        """Messages received and sent, of each connected peer."""

    def traffic(self, direction: Direction, type_id: int) -> Traffic:
        """Return the counts of a type; those of further unknown types are one."""
        table = self._traffic[direction]
        return table.get(type_id) or self._new(table, type_id)

    def _new(self, table: dict[int | None, Traffic], type_id: int) -> Traffic:
        key: int | None = type_id
        if not self._is_known(type_id) and type_id not in self._strange:
            if len(self._strange) >= _STRANGE:
                key = None
            else:
                self._strange.add(type_id)
        found = table.get(key)
        if found is None:
            found = table[key] = Traffic(key)
        return found

    def add(self, direction: Direction, node_id: NodeId, payload: bytes, outcome: str) -> None:
        """Count a message whose outcome is known."""
        peer = self.peers.get(node_id)
        if peer is not None:
            peer[direction == "sent"] += 1
        self.traffic(direction, int.from_bytes(payload[:2], "big")).add(outcome, len(payload))

    def ticket(self, direction: Direction, node_id: NodeId, payload: bytes) -> Ticket:
        """Count a message whose outcome is open, and return its ticket."""
        peer = self.peers.get(node_id)
        if peer is not None:
            peer[direction == "sent"] += 1
        traffic = self.traffic(direction, int.from_bytes(payload[:2], "big"))
        times = self._times_of.get(traffic.type_id)
        if times is None:
            times = self._times_of[traffic.type_id] = partial(self._find_times, traffic.type_id)
        return Ticket(traffic, len(payload), times)

    def nobodys(self, type_id: int) -> str:
        """Return the outcome of a message that nobody handles."""
        return "unhandled" if self._is_known(type_id) else "unknown"

    def times(self, extension: str, type_id: int) -> HandlerTimes:
        """Return the times of an extension's handler of a type."""
        return self._find_times(self.traffic("received", type_id).type_id, extension)

    def _find_times(self, type_id: int | None, extension: str) -> HandlerTimes:
        key = extension, type_id
        found = self._times.get(key)
        if found is None:
            found = self._times[key] = HandlerTimes()
        return found

    def rows(self) -> Iterator[tuple[Direction, int | None, str, int, int]]:
        """Yield direction, type, outcome, messages and bytes."""
        for direction, table in self._traffic.items():
            for traffic in table.values():
                for outcome, messages, size in traffic.rows():
                    yield direction, traffic.type_id, outcome, messages, size

    def timed(self) -> Iterator[tuple[str, int | None, HandlerTimes]]:
        """Yield the extension and the type of each handler that ran, and its times."""
        for (extension, type_id), times in self._times.items():
            yield extension, type_id, times


def fate_of(error: BaseException, *, connected: bool = True) -> str:
    """Return the outcome of a handler that raised; a peer that has gone is no failure of code that sends to it."""
    if isinstance(error, Refuse):
        return "refused"
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return "cancelled"
    if not connected and isinstance(error, (PeerNotConnected, ConnectionClosed)):
        return "cancelled"
    return "failed"


def sent_fate(error: BaseException) -> str:
    """Return the outcome of a message of ours whose sending, or whose request, raised."""
    if isinstance(error, ReplyTimeout):
        return "timed_out" if error.sent else "unsent"
    if isinstance(error, RemoteFailure):
        return "failed"
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return "cancelled"
    return "unsent"


def ticket_in(run: object) -> Ticket | None:
    """Return the ticket of a queued message: it is an argument of one of the functions around its handler."""
    while isinstance(run, partial):
        inner: Any = None
        for argument in run.args:
            if isinstance(argument, Ticket):
                return argument
            if isinstance(argument, partial):
                inner = argument
        run = inner
    return None


def end_dropped(run: object) -> None:
    """Count a queued message that will not be handled as dropped, if messages are counted."""
    ticket = ticket_in(run)
    if ticket is not None:
        ticket.end("dropped")
