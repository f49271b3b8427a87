"""Who waits for what: the requests we have sent to a peer, and those of a peer that we handle.

Nothing here runs or waits. Entries and handles are whatever the caller wants to find again under a request's id.
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
    """Who handles a peer's request, as the session sees it."""

    def cancel(self) -> None:
        """End the handler: its caller has given up, or the connection is gone."""

    def wake(self) -> None:
        """Go on after a wait for credit: the caller takes more parts of its stream."""


E = TypeVar("E")
P = TypeVar("P")
H = TypeVar("H", bound=RequestHandle)

# The side that asks --------------------------------------------------------------------------------------------------


class SentStream(Generic[E, P]):
    """A stream we asked for: the parts that wait to be used, and how many more may come."""

    __slots__ = ("_granted", "_parts", "_received", "_used", "credit", "deadline", "entry", "id")

    def __init__(self, number: int, entry: E, credit: int, deadline: float) -> None:
        self.id = number
        self.entry = entry
        self.credit = credit
        """Parts that may be on their way or wait here; the request carries it."""
        self.deadline = deadline
        """When `SentRequests.expire` gives the stream up; change it with `SentRequests.wait`."""
        self._parts: deque[P] = deque()
        self._received = 0
        self._used = 0
        self._granted = credit

    def __len__(self) -> int:
        """Return the number of parts that wait."""
        return len(self._parts)

    def push(self, part: P) -> bool:
        """Take a part that came; False if it was sent without credit, when the stream has to be failed."""
        if self._received == self._granted:
            return False
        self._received += 1
        self._parts.append(part)
        return True

    def pop(self) -> P:
        """Return the next part that waits. Raises `IndexError` if there is none."""
        part = self._parts.popleft()
        self._used += 1
        return part

    def grant(self) -> int | None:
        """Return how many parts may be sent in all, once it is worth a frame to tell the peer; else None.

        That is after every half of the credit that was used.
        """
        granted = self._used + self.credit
        if (granted - self._granted) * 2 < self.credit:
            return None
        self._granted = granted
        return granted


class SentRequests(Generic[E, P]):
    """The requests we have sent to one peer, under ids that only go up; made anew with each connection.

    A request costs an entry in a dict, and no timer: ask `deadline` when to call `expire`, after each `open` or so.
    ``first_id`` should be random, below 2**63. ``counters`` count those that are one too many.
    """

    __slots__ = ("_counters", "_first", "_limit", "_next", "_open", "_streams", "deadline", "late", "unasked")

    def __init__(self, first_id: int, limit: int, counters: Counters | None = None) -> None:
        self._counters = counters or Counters()
        self._first = self._next = first_id
        self._limit = limit
        self._open: dict[int, tuple[E, float]] = {}
        self._streams: dict[int, SentStream[E, P]] = {}
        self.deadline = math.inf
        """When `expire` may have something to do: never too late, sometimes too early."""
        self.late = 0
        """Answers to requests that had ended: given up, timed out, or answered before."""
        self.unasked = 0
        """Answers to what we never asked."""

    def __len__(self) -> int:
        """Return the number of requests and streams that are open."""
        return len(self._open) + len(self._streams)

    def open(self, entry: E, deadline: float = math.inf) -> int:
        """Add a request for one reply; give its id. Raises `QuotaExceeded` (``open_requests``)."""
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
        """Add a request for a stream of parts, ``credit`` of which may come unused. Raises as `open`."""
        if len(self._open) + len(self._streams) >= self._limit:
            raise self._full()
        number = self._next
        self._next = number + 1
        stream: SentStream[E, P] = SentStream(number, entry, credit, deadline)
        self._streams[number] = stream
        self.deadline = min(self.deadline, deadline)
        return stream

    def take(self, number: int) -> E | None:
        """End the request that a reply has come for; None, counted, if there is none. A stream's does not count."""
        found = self._open.pop(number, None)
        if found is not None:
            return found[0]
        self._count(number)
        return None

    def stream(self, number: int) -> SentStream[E, P] | None:
        """Find the stream that a part or the end has come for; None, counted, if there is none."""
        found = self._streams.get(number)
        if found is None:
            self._count(number)
        return found

    def find(self, number: int) -> SentStream[E, P] | None:
        """Find a stream; not counted if there is none."""
        return self._streams.get(number)

    def close(self, number: int) -> E | None:
        """End a request or stream that failed, ended or is given up; None, not counted, if it had ended before."""
        stream = self._streams.pop(number, None)
        if stream is not None:
            return stream.entry
        found = self._open.pop(number, None)
        return None if found is None else found[0]

    def fail(self, number: int) -> E | None:
        """End the request or stream that a failure has come for; None, counted, if there is none."""
        entry = self.close(number)
        if entry is None:
            self._count(number)
        return entry

    def wait(self, stream: SentStream[E, P], deadline: float = math.inf) -> None:
        """Set until when the next part of a stream should have come; `math.inf` while there are parts to use."""
        stream.deadline = deadline
        if deadline < self.deadline:
            self.deadline = deadline

    def expire(self, now: float) -> list[tuple[int, E]]:
        """End what is past its deadline; give ids and entries.

        Looks at all that is open, but seldom: a request that ended in time costs nothing here, so with one timeout for
        all this happens once in that time.
        """
        times = [(number, entry, deadline) for number, (entry, deadline) in self._open.items()]
        times += [(number, stream.entry, stream.deadline) for number, stream in self._streams.items()]
        self.deadline = min((deadline for _, _, deadline in times if deadline > now), default=math.inf)
        expired = [(number, entry) for number, entry, deadline in times if deadline <= now]
        for number, _ in expired:
            self.close(number)
        return expired

    def clear(self) -> list[E]:
        """End everything; give the entries, to be failed. Ids go on."""
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


# The side that answers -----------------------------------------------------------------------------------------------


class HandledRequest(Generic[H]):
    """A peer's request being handled. ``handle`` is the caller's: what is to be cancelled, or woken by credit."""

    __slots__ = ("allowed", "answered", "deadline", "handle", "id", "on_answer", "sent", "streams")

    def __init__(self, number: int, credit: int, deadline: float) -> None:
        self.answered = False  # the last that its caller waits for is on its way
        self.id = number
        self.deadline = deadline
        """When `HandledRequests.expire` gives it up, as its caller will have; change it with `HandledRequests.wait`."""
        self.streams = credit > 0
        """Whether the peer wants a stream of parts, or else one reply."""
        self.allowed = credit
        """Parts that may be sent in all; only ever more."""
        self.sent = 0
        """Parts that were sent; the caller counts them."""
        self.handle: H | None = None
        self.on_answer: Callable[[], object] | None = None
        """Called once, as its answer is being sent: see `HandledRequests.answer`."""


class HandledRequests(Generic[H]):
    """The requests of one peer that are being handled; made anew with each connection.

    Ids are the peer's business: one that comes again after its request has ended is a new request.
    """

    __slots__ = ("_answered", "_limit", "_open", "deadline", "late", "repeated")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._answered = 0
        self._open: dict[int, HandledRequest[H]] = {}
        self.deadline = math.inf
        """When `expire` may have something to do: never too late, sometimes too early."""
        self.repeated = 0
        """Requests under an id that was open."""
        self.late = 0
        """Credit and cancellations for requests that were not open."""

    def __len__(self) -> int:
        """Return the number of requests that are open."""
        return len(self._open)

    def open(self, number: int, credit: int = 0, deadline: float = math.inf) -> HandledRequest[H] | Code | None:
        """Add a request, for a stream if it brings credit. `Code.QUOTA`, to refuse it with, if too many are open.

        None, counted, if the id is open already: this one is to be ignored, as a failure would end the first.
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
        """Say whether a request is still to be answered: it is not once it was cancelled, or its connection ended."""
        return self._open.get(handling.id) is handling

    def answer(self, handling: HandledRequest[H]) -> None:
        """Note that the answer is being sent: its caller may have it, and ask for more, before that has returned."""
        if not handling.answered and self._open.get(handling.id) is handling:
            handling.answered = True
            self._answered += 1
            if handling.on_answer is not None:
                handling.on_answer()

    def is_open(self, number: int) -> bool:
        """Say whether a request with this id is being handled."""
        return number in self._open

    def close(self, handling: HandledRequest[H]) -> bool:
        """End a request that was handled; False if it had ended before, cancelled, and nothing is to be answered."""
        if self._open.get(handling.id) is not handling:
            return False
        del self._open[handling.id]
        self._answered -= handling.answered
        return True

    def cancel(self, number: int) -> HandledRequest[H] | None:
        """End a request that the peer gave up; None, counted, if it is not open: it may just have been answered."""
        found = self._open.pop(number, None)
        if found is None:
            self.late += 1
        else:
            self._answered -= found.answered
        return found

    def grant(self, number: int, value: int) -> HandledRequest[H] | None:
        """Let ``value`` parts in all be sent of a stream; None if that changes nothing.

        Counted if there is no such stream. Less than before is not taken back.
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
        """Set until when the caller of a request waits: for the next part, if it is a stream's."""
        handling.deadline = deadline
        if deadline < self.deadline:
            self.deadline = deadline

    def expire(self, now: float) -> list[HandledRequest[H]]:
        """End what its caller does not wait for any more, and give it to be cancelled; see `SentRequests.expire`."""
        expired = [handling for handling in self._open.values() if handling.deadline <= now]
        for handling in expired:
            del self._open[handling.id]
            self._answered -= handling.answered
        self.deadline = min((handling.deadline for handling in self._open.values()), default=math.inf)
        return expired

    def clear(self) -> list[HandledRequest[H]]:
        """End everything; give what is to be cancelled."""
        self._answered = 0
        found = list(self._open.values())
        self._open.clear()
        self.deadline = math.inf
        return found
