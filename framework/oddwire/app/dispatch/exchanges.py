"""Our requests to one peer without ids: which message of the peer's answers which of them.

A request with a *match* is answered by a message that its field or function accepts. One without is answered by the
next message of its class, so it has the class to itself: others wait until it is answered, even if nobody waits for
that answer any more, because what came next would be taken for theirs.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from enum import Enum
from typing import Any, Final

from oddwire import clocks
from oddwire.app.dispatch.questions import Question, match_failure, without_own_frame
from oddwire.durations import duration
from oddwire.errors import ConnectionClosed, OutOfStep, QuotaExceeded, ReplyTimeout
from oddwire.proto.keys import NodeId
from oddwire.schema import Message
from oddwire.session.limits import Counters

__all__ = ["Exchange", "Exchanges", "Fate", "State"]

_FORCE: Final = "force=True does not wait for it"
_NOTABLE: Final = 0.1  # of a request's time; what waited for the hello for longer is told so
_LATE: Final = 64  # requests with a match whose late answers are known, and as many whose second answers are


class State(Enum):
    """How far an exchange is."""

    QUEUED = 0
    """It waits for another one that has its class, or its value, to itself."""
    STARTED = 1
    """It may be sent, and is not: what comes now is no answer to it."""
    SENDING = 2
    """The transport has it, and may have to wait before it sends it."""
    SENT = 3
    """It was sent, or may have been."""
    OVERDUE = 4
    """Nobody awaits its answer any more, which has not come."""
    ENDED = 5


# Read for every request: a member of an enum is an attribute of its class that Python looks up by a descriptor
_QUEUED, _STARTED, _SENDING, _SENT, _ENDED = State.QUEUED, State.STARTED, State.SENDING, State.SENT, State.ENDED


class Fate(Enum):
    """What became of a message that was offered to the exchanges."""

    FREE = 0
    """It answers none of them."""
    ANSWER = 1
    """It is the answer to a request."""
    DROPPED = 2
    """It is the late answer to a request without a match: nothing else may have it."""
    LATE = 3
    """It is the late answer to a request with a match: it may still go to a handler."""


_ANSWER, _FREE = Fate.ANSWER, Fate.FREE


class Exchange:
    """One request without an id, and the futures of its turn to be sent and of its answer."""

    __slots__ = ("answer", "asked", "in_order", "question", "slots", "state", "turn")

    def __init__(self, question: Question, slots: tuple[Hashable, ...], loop: asyncio.AbstractEventLoop) -> None:
        self.question = question
        self.in_order = question.in_order
        self.slots = slots
        self.state: State = _STARTED
        self.asked = clocks.monotonic()
        self.answer: asyncio.Future[Any] = loop.create_future()
        self.turn: asyncio.Future[None] | None = None

    def fail(self, error: BaseException) -> None:
        """End the wait for a turn and for the answer by an error."""
        for future in (self.turn, self.answer):
            if future is not None and not future.done():
                future.set_exception(error)
                break


class Exchanges:
    """The exchanges with one peer, for one of its connections.

    ``changed`` is called when `is_active` may have changed; ``limit`` is how many may be open at once.
    """

    def __init__(
        self,
        node_id: NodeId,
        loop: asyncio.AbstractEventLoop,
        counters: Counters,
        limit: int,
        changed: Callable[[], object],
    ) -> None:
        self._node_id = node_id
        self._loop = loop
        self._counters = counters
        self._limit = limit
        self._changed = changed
        self._open: dict[Exchange, None] = {}  # those that somebody awaits, in order
        self._held: dict[Hashable, Exchange] = {}  # by slot: started, sent or overdue
        self._queued: dict[Hashable, OrderedDict[Exchange, None]] = {}  # by slot, in order
        self._fields: dict[type[Message], dict[str, int]] = {}  # how many exchanges held there match a class by a field
        self._by_function: dict[Exchange, None] = {}
        self._late: deque[Question] = deque(maxlen=_LATE)  # with a match, not answered in time
        # Answered by the field: a peer may answer twice. A function may be true of much, so those are not among them
        self._answered: deque[Question] = deque(maxlen=_LATE)
        self._asked: dict[type[Message], bool] = {}  # each class asked for: whether ever without a match
        self._out_of_step: set[type[Message]] = set()
        self.is_active = False
        """Whether a message may be the answer to a request, late or not."""

    def __len__(self) -> int:
        """Return how many requests wait for answers, or to be sent."""
        return len(self._open)

    # Our side ---------------------------------------------------------------------------------------

    def open(self, question: Question) -> Exchange:
        """Add a request; `turn` waits until it may be sent, and `close` ends it.

        Raises `OutOfStep` if the peer's answers do not keep to the order, `QuotaExceeded` (``open_requests``), and
        `EncodeError`.
        """
        if self._out_of_step:
            self._check_step(question)
        if len(self._open) >= self._limit:
            self._counters.exceeded["open_requests"] += 1
            raise QuotaExceeded(f"{self._limit} requests to this peer wait for replies already", limit="open_requests")
        exchange = Exchange(question, question.slots, self._loop)
        self._open[exchange] = None
        for slot in exchange.slots:
            if slot in self._held or slot in self._queued:
                break
        else:
            self._start(exchange)
            return exchange
        exchange.state = _QUEUED
        exchange.turn = self._loop.create_future()
        for slot in exchange.slots:
            self._queued.setdefault(slot, OrderedDict())[exchange] = None
        return exchange

    async def turn(self, exchange: Exchange) -> None:
        """Wait until a request may be sent. Raises `OutOfStep`, and `ConnectionClosed` if the peer disconnects."""
        turn, question = exchange.turn, exchange.question
        del exchange  # an error's traceback refers to this frame
        try:
            if turn is not None:
                await turn
        finally:
            del turn
        if self._out_of_step:
            self._check_step(question)

    def advance(self, exchange: Exchange, state: State) -> None:
        """Record how far the sending of a request is, unless it has ended."""
        before = exchange.state
        if before is _STARTED:
            in_order = exchange.in_order
            for cls in exchange.question.accepted:
                if in_order or cls not in self._asked:
                    self._asked[cls] = in_order
        elif before is not _SENDING and before is not _SENT:
            return
        exchange.state = state

    def close(self, exchange: Exchange) -> None:
        """End a request. One without a match that was sent and not answered stays as overdue."""
        self._open.pop(exchange, None)
        if not exchange.answer.cancel() and not exchange.answer.cancelled():
            exchange.answer.exception()  # marks it as retrieved: sending may have failed first
        state = exchange.state
        if state is _ENDED:
            return
        if state is _QUEUED:
            exchange.state = _ENDED
            self._leave_queues(exchange)
            for slot in exchange.slots:
                self._start_next(slot)
        elif state is _SENT and exchange.in_order:
            exchange.state = State.OVERDUE
        elif state is not State.OVERDUE:
            if state is _SENT:
                self._late.append(exchange.question)
            self._release(exchange)

    def too_late(self, exchange: Exchange, limit: float, waited: float) -> ReplyTimeout:
        """Return the error for a request without an answer after ``limit`` seconds.

        ``waited`` of them went by until it was known that the peer has no session.
        """
        asked, state = exchange.question, exchange.state
        if state is _QUEUED:
            return self._no_turn(exchange, limit)
        if state is _STARTED or state is _SENDING:
            why = f"{self._node_id} is slow to read what is sent to it"
            if state is _STARTED:
                why = f"still waiting for the hello of {self._node_id}, to see that it knows this even type; {_FORCE}"
            return ReplyTimeout(f"{asked.name} was not sent within {duration(limit)}: {why}", timeout=limit, sent=False)
        text = f"no {asked.wanted} from {self._node_id} within {duration(limit)} of {asked.name}"
        if waited >= _NOTABLE * limit:
            text += f", {duration(round(waited, 2))} of which it waited for the peer's hello; plain=True does not wait"
        return ReplyTimeout(text, timeout=limit)

    def _no_turn(self, exchange: Exchange, limit: float) -> ReplyTimeout:
        for slot in exchange.slots:
            before = self._held.get(slot)
            if before is not None and before.state is State.OVERDUE:
                asked = exchange.question
                text = (
                    f"{asked.name} was not sent: {before.question.name} has been sent to {self._node_id} before, its "
                    f"{before.question.wanted} has not come, and what comes next would be taken for the answer to it"
                )
                return OutOfStep(f"{text}; {_REMEDY}", timeout=limit)
        question = exchange.question
        why = "wait for the same answer" if question.field else f"wait for {question.wanted}; {_REMEDY}"
        text = f"{question.name} was not sent within {duration(limit)}: other requests to {self._node_id} {why}"
        return ReplyTimeout(text, timeout=limit, sent=False)

    def _check_step(self, question: Question) -> None:
        if not question.in_order:
            return
        for cls in question.accepted:
            if cls in self._out_of_step:
                text = (
                    f"{question.name} was not sent: {self._node_id} has sent a message of class {cls.__name__} that "
                    "answers nothing, so it cannot be told what its next one answers"
                )
                raise OutOfStep(f"{text}; {_REMEDY}", timeout=0.0)

    # The peer's side --------------------------------------------------------------------------------

    def receive(self, message: Message) -> tuple[Fate, float | None]:
        """Give a message to the request that it answers. Return what became of it, and when that request was opened."""
        cls = type(message)
        for field in self._fields.get(cls, ()):
            try:
                exchange = self._held.get((cls, field, getattr(message, field)))
            except TypeError:  # not hashable: a list, in a field for any value
                continue
            if exchange is not None and exchange.state is not _STARTED:
                return self._answer(exchange, message)
        unclear = False
        if self._by_function:
            for exchange in [*self._by_function]:
                if exchange.state is _STARTED:
                    continue
                try:
                    found = exchange.question.accepts(message)
                except BaseException as error:
                    unclear = True
                    exchange.fail(match_failure(error))
                    self._late.append(exchange.question)
                    self._release(exchange)
                    continue
                if found:
                    return self._answer(exchange, message)
        if self._late and _take(self._late, message):
            self._rest()
            return Fate.LATE, None
        exchange = None if unclear else self._held.get(cls)
        if exchange is None or exchange.state is _STARTED:
            return _FREE, None
        if self._answered and _take(self._answered, message):
            return Fate.LATE, None
        return self._answer(exchange, message)

    def _answer(self, exchange: Exchange, message: Message) -> tuple[Fate, float | None]:
        """Resolve a request; nobody may await it any more."""
        self._release(exchange)
        if not exchange.answer.done():
            exchange.answer.set_result(message)
            if exchange.question.field is not None:
                self._answered.append(exchange.question)
            return _ANSWER, exchange.asked
        if not exchange.in_order:
            return Fate.LATE, None
        self._counters.dropped["late_reply"] += 1
        return Fate.DROPPED, None

    def malformed(self, cls: type[Message], error: BaseException) -> None:
        """Fail the request without a match that waits for a class of which a malformed message has come."""
        exchange = self._held.get(cls)
        if exchange is None or exchange.state is _STARTED:
            return
        self._release(exchange)
        if exchange.answer.done():
            self._counters.dropped["late_reply"] += 1
        else:
            exchange.answer.set_exception(without_own_frame(error))

    def unhandled(self, message: Message, fate: Fate) -> str:
        """Count a message that neither a request nor a handler takes. Return what to warn of, once; else empty."""
        cls = type(message)
        in_order = self._asked.get(cls)
        if in_order is None:
            return ""
        self._counters.dropped["late_reply"] += 1
        if not in_order or fate is Fate.LATE or cls in self._out_of_step:
            return ""
        self._out_of_step.add(cls)
        return (
            f"no request waits for this {cls.__name__}, the peer may have answered one twice; further requests for it "
            f"are not sent on this connection, as nothing tells what its next one answers; {_REMEDY}"
        )

    def end(self, reason: str) -> None:
        """Fail each request with `ConnectionClosed`, and forget all about the connection."""
        for exchange in self._open:
            exchange.fail(ConnectionClosed(reason))
            exchange.state = _ENDED
        for table in (self._open, self._held, self._queued, self._fields, self._by_function, self._asked):
            table.clear()
        for questions in (self._late, self._answered):
            questions.clear()
        self._rest()

    # Slots ------------------------------------------------------------------------------------------

    def _start(self, exchange: Exchange) -> None:
        exchange.state = _STARTED
        for slot in exchange.slots:
            self._held[slot] = exchange
        question = exchange.question
        if question.match is not None:
            self._by_function[exchange] = None
        elif question.field is not None:
            for cls in question.accepted:
                fields = self._fields.setdefault(cls, {})
                fields[question.field] = fields.get(question.field, 0) + 1
        if not self.is_active:
            self.is_active = True
            self._changed()

    def _release(self, exchange: Exchange) -> None:
        """End a started exchange: what it had to itself is for the next."""
        exchange.state = _ENDED
        for slot in exchange.slots:
            del self._held[slot]
        question = exchange.question
        if question.match is not None:
            del self._by_function[exchange]
        elif question.field is not None:
            for cls in question.accepted:
                fields = self._fields[cls]
                fields[question.field] -= 1
                if not fields[question.field]:
                    del fields[question.field]
        if self._queued:
            for slot in exchange.slots:
                self._start_next(slot)
        self._rest()

    def _rest(self) -> None:
        """Let messages pass by from now on, if none may be an answer any more."""
        if not (self._held or self._by_function or self._late):
            self.is_active = False
            self._changed()

    def _start_next(self, slot: Hashable) -> None:
        """Start the first exchange that waits for a slot, if it is first for all of its slots and they are free."""
        queued = self._queued.get(slot)
        if not queued:
            return
        exchange = next(iter(queued))
        if any(own in self._held or next(iter(self._queued[own])) is not exchange for own in exchange.slots):
            return
        self._leave_queues(exchange)
        self._start(exchange)
        if exchange.turn is not None and not exchange.turn.done():
            exchange.turn.set_result(None)

    def _leave_queues(self, exchange: Exchange) -> None:
        for slot in exchange.slots:
            queued = self._queued[slot]
            del queued[exchange]
            if not queued:
                del self._queued[slot]


def _take(questions: deque[Question], message: Message) -> bool:
    """Remove the first question that a message answers; return whether there is one."""
    for number, question in enumerate(questions):
        try:
            found = question.accepts(message)
        except BaseException as error:  # raised before, by the request that awaited the answer
            match_failure(error)
            continue
        if found:
            del questions[number]
            return True
    return False


_REMEDY: Final = (
    "match= tells answers apart, by a field or a function: request(..., match=) or @message(..., match=); a new "
    "connection begins anew"
)
