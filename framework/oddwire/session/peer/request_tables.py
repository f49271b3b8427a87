"""Tables of open requests: those we have sent to a program of a peer, and those of the program that we handle. No I/O.

Entries and handles are objects of the caller, looked up by a request's id.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from oddwire.errors import QuotaExceeded
from oddwire.session.limits import Counters
from oddwire.session.wire.frame_types import Code

__all__ = ["HandledRequest", "HandledRequests", "RequestHandle", "SentRequests", "SentStream"]


class RequestHandle(Protocol):
    """The handler of a peer's request, as the session uses it."""

    def cancel(self) -> None:
        """Cancel the handler: its caller has sent a cancel, its wait is over, or the session has ended."""

    def wake(self) -> None:
        """Wake a handler that waits for credit: its caller has raised it."""


E = TypeVar("E")
P = TypeVar("P")
H = TypeVar("H", bound=RequestHandle)

# The caller's side ---------------------------------------------------------------------------------------------------


class SentStream(Generic[E, P]):
    """A stream that we requested: its parts that wait to be read, and its credit."""

    __slots__ = ("_granted", "_parts", "_received", "_used", "credit", "deadline", "entry", "id")

    def __init__(self, number: int, entry: E, credit: int, deadline: float) -> None:
        self.id = number
        self.entry = entry
        self.credit = credit
        """Max number of parts under way or waiting here; the request carries it."""
        self.deadline = deadline
        """When `SentRequests.expire` ends the stream; change it with `SentRequests.wait`."""
        self._parts: deque[P] = deque()
        self._received = 0
        self._used = 0
        self._granted = credit

    def __len__(self) -> int:
        """Return the number of waiting parts."""
        return len(self._parts)

    def push(self, part: P) -> bool:
        """Add a part that was received. Return False if it was sent without credit: the stream has to fail then."""
        if self._received == self._granted:
            return False
        self._received += 1
        self._parts.append(part)
        return True

    def pop(self) -> P:
        """Remove and return the next waiting part. Raises `IndexError` if there is none."""
        part = self._parts.popleft()
        self._used += 1
        return part

    def grant(self) -> int | None:
        """Return the total number of parts to allow in an ack, or None while no ack is needed.

        An ack is needed each time half of the credit has been used.
        """
        granted = self._used + self.credit
        if (granted - self._granted) * 2 < self.credit:
            return None
        self._granted = granted
        return granted


class SentRequests(Generic[E, P]):
    """The requests that we have sent in one session, under ascending ids; a new table is created for each session.

    A request costs an entry in a dict, and no timer: schedule a call of `expire` at `deadline` after each `open`.
    ``first_id`` should be random, below 2**63. ``counters`` count the requests above ``limit``.
    """

    __slots__ = ("_counters", "_first", "_limit", "_next", "_open", "_streams", "deadline", "late", "unasked")

    def __init__(self, first_id: int, limit: int, counters: Counters | None = None) -> None:
        self._counters = counters or Counters()
        self._first = self._next = first_id
        self._limit = limit
        self._open: dict[int, tuple[E, float]] = {}
        self._streams: dict[int, SentStream[E, P]] = {}
        self.deadline = math.inf
        """When to call `expire`: never later than the first deadline, sometimes earlier."""
        self.late = 0
        """Answers to requests that had ended before: cancelled, timed out, or answered."""
        self.unasked = 0
        """Answers with an id that we have not used."""

    def __len__(self) -> int:
        """Return the number of requests and streams that are open."""
        return len(self._open) + len(self._streams)

    def open(self, entry: E, deadline: float = math.inf) -> int:
        """Add a request for one reply, and return its id. Raises `QuotaExceeded` (``open_requests``)."""
        waiting = self._open
        if len(waiting) + len(self._streams) >= self._limit:
            raise self._full()
        number = self._next
        self._next = number + 1
        waiting[number] = entry, deadline
        if deadline < self.deadline:
            self.deadline = deadline
        return number

    def open_stream(self, entry: E, credit: int, deadline: float = math.inf) -> SentStream[E, P]:
        """Add a request for a stream, of which up to ``credit`` parts may come ahead. Raises as `open` does."""
        if len(self._open) + len(self._streams) >= self._limit:
            raise self._full()
        number = self._next
        self._next = number + 1
        stream: SentStream[E, P] = SentStream(number, entry, credit, deadline)
        self._streams[number] = stream
        self.deadline = min(self.deadline, deadline)
        return stream

    def take(self, number: int) -> E | None:
        """End the request for one reply that a reply has come for, and return its entry; None, counted, if none."""
        found = self._open.pop(number, None)
        if found is not None:
            return found[0]
        self._count(number)
        return None

    def stream(self, number: int) -> SentStream[E, P] | None:
        """Return the stream that a part or the end has come for; None, counted, if there is none."""
        found = self._streams.get(number)
        if found is None:
            self._count(number)
        return found

    def find(self, number: int) -> SentStream[E, P] | None:
        """Return an open stream; None, not counted, if there is none."""
        return self._streams.get(number)

    def close(self, number: int) -> E | None:
        """End a request or stream, and return its entry; None, not counted, if it had ended before."""
        stream = self._streams.pop(number, None)
        if stream is not None:
            return stream.entry
        found = self._open.pop(number, None)
        return None if found is None else found[0]

    def fail(self, number: int) -> E | None:
        """End the request or stream that a failure has come for, and return its entry; None, counted, if none."""
        entry = self.close(number)
        if entry is None:
            self._count(number)
        return entry

    def wait(self, stream: SentStream[E, P], deadline: float = math.inf) -> None:
        """Set the deadline for the next part of a stream; `math.inf` while parts wait to be read."""
        stream.deadline = deadline
        if deadline < self.deadline:
            self.deadline = deadline

    def expire(self, now: float) -> list[tuple[int, E]]:
        """End the requests and streams past their deadlines, and return their ids and entries.

        It scans everything that is open, but rarely: a request that ended in time causes no call, so with one timeout
        for all requests it is called once per timeout.
        """
        times = [(number, entry, deadline) for number, (entry, deadline) in self._open.items()]
        times += [(number, stream.entry, stream.deadline) for number, stream in self._streams.items()]
        self.deadline = min((deadline for _, _, deadline in times if deadline > now), default=math.inf)
        expired = [(number, entry) for number, entry, deadline in times if deadline <= now]
        for number, _ in expired:
            self.close(number)
        return expired

    def clear(self) -> list[E]:
        """End all requests and streams, and return their entries, to be failed. Ids are not reused."""
        entries = [entry for entry, _ in self._open.values()]
        entries += [stream.entry for stream in self._streams.values()]
        self._open.clear()
        self._streams.clear()
        self.deadline = math.inf
        return entries

    def _count(self, number: int) -> None:
        if self._first <= number < self._next:
            self.late += 1
        else:
            self.unasked += 1

    def _full(self) -> QuotaExceeded:
        self._counters.exceeded["open_requests"] += 1
        return QuotaExceeded(f"{self._limit} requests to this peer wait for replies already", limit="open_requests")


# The handler's side --------------------------------------------------------------------------------------------------


class HandledRequest(Generic[H]):
    """An open request of a peer. ``handle`` is set by the host: it is cancelled, or woken when credit comes."""

    __slots__ = ("allowed", "answered", "deadline", "handle", "id", "on_answer", "sent", "streams")

    def __init__(self, number: int, credit: int, deadline: float) -> None:
        self.answered = False  # its reply, or the end of its stream, is being sent
        self.id = number
        self.deadline = deadline
        """When `HandledRequests.expire` ends the request; change it with `HandledRequests.wait`."""
        self.streams = credit > 0
        """Whether the peer wants a stream, else one reply."""
        self.allowed = credit
        """Total number of parts that may be sent; it never falls."""
        self.sent = 0
        """Number of parts that were sent; the host counts them."""
        self.handle: H | None = None
        self.on_answer: Callable[[], object] | None = None
        """Called once, when its answer is being sent: see `HandledRequests.answer`."""


class HandledRequests(Generic[H]):
    """The requests of one program of a peer that are open; a new table is created for each session.

    The caller chooses the ids: an id that comes again after its request has ended is a new request.
    """

    __slots__ = ("_answered", "_limit", "_open", "deadline", "late", "repeated")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._answered = 0
        self._open: dict[int, HandledRequest[H]] = {}
        self.deadline = math.inf
        """When to call `expire`: never later than the first deadline, sometimes earlier."""
        self.repeated = 0
        """Requests ignored because their id was open."""
        self.late = 0
        """Acks and cancels for requests that were not open."""

    def __len__(self) -> int:
        """Return the number of requests that are open."""
        return len(self._open)

    def open(self, number: int, credit: int = 0, deadline: float = math.inf) -> HandledRequest[H] | Code | None:
        """Add a request, for a stream if it has credit. Return `Code.QUOTA`, for a failure, if too many are open.

        Return None, counted, if the id is open already: the request is to be ignored, as a failure would end the first
        one.
        """
        waiting = self._open
        if number in waiting:
            self.repeated += 1
            return None
        count = len(waiting)
        if count - self._answered >= self._limit or count >= 2 * self._limit:
            return Code.QUOTA
        handling: HandledRequest[H] = HandledRequest(number, credit, deadline)
        waiting[number] = handling
        if deadline < self.deadline:
            self.deadline = deadline
        return handling

    def has(self, handling: HandledRequest[H]) -> bool:
        """Return whether a request is open: not closed, cancelled or expired, and its session has not ended."""
        return self._open.get(handling.id) is handling

    def answer(self, handling: HandledRequest[H]) -> None:
        """Record that the answer is being sent: the caller may have it, and send more, before the send returns.

        An answered request does not count against the limit any more.
        """
        if not handling.answered and self._open.get(handling.id) is handling:
            handling.answered = True
            self._answered += 1
            if handling.on_answer is not None:
                handling.on_answer()

    def is_open(self, number: int) -> bool:
        """Return whether a request with this id is open."""
        return number in self._open

    def close(self, handling: HandledRequest[H]) -> bool:
        """End a request that was handled. Return False if it had ended before, so that no answer is to be sent."""
        if self._open.get(handling.id) is not handling:
            return False
        del self._open[handling.id]
        self._answered -= handling.answered
        return True

    def cancel(self, number: int) -> HandledRequest[H] | None:
        """End a request that the peer cancelled, and return it.

        None, counted, if it is not open: it may just have been answered.
        """
        found = self._open.pop(number, None)
        if found is None:
            self.late += 1
        else:
            self._answered -= found.answered
        return found

    def grant(self, number: int, value: int) -> HandledRequest[H] | None:
        """Raise the credit of a stream to ``value`` parts in total, and return its request.

        None if there is no such stream, which is counted, or ``value`` is not above its credit.
        """
        found = self._open.get(number)
        if found is None or not found.streams:
            self.late += 1
            return None
        if value <= found.allowed:
            return None
        found.allowed = value
        return found

    def wait(self, handling: HandledRequest[H], deadline: float = math.inf) -> None:
        """Set the deadline of a request; of a stream, the deadline for its next part."""
        handling.deadline = deadline
        if deadline < self.deadline:
            self.deadline = deadline

    def expire(self, now: float) -> list[HandledRequest[H]]:
        """End the requests past their deadlines, and return them, to be cancelled; see `SentRequests.expire`."""
        expired = [handling for handling in self._open.values() if handling.deadline <= now]
        for handling in expired:
            del self._open[handling.id]
            self._answered -= handling.answered
        self.deadline = min((handling.deadline for handling in self._open.values()), default=math.inf)
        return expired

    def clear(self) -> list[HandledRequest[H]]:
        """End all requests, and return them, to be cancelled."""
        self._answered = 0
        found = list(self._open.values())
        self._open.clear()
        self.deadline = math.inf
        return found
