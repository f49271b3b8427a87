"""One peer's queue of messages for handlers, and our requests that await the peer's replies."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from oddwire.app.context import Context, Peer
from oddwire.errors import ConnectionClosed
from oddwire.schema import Message
from oddwire.session.peer.peer_session import PeerSession
from oddwire.transports.base import PeerInfo

if TYPE_CHECKING:
    from oddwire.app.dispatch.background import OwnTasks
    from oddwire.app.dispatch.connection_hooks import Hook, PendingHooks
    from oddwire.app.dispatch.peer_things import PeerThings

__all__ = [
    "HIGH_WATER",
    "HIGH_WATER_ASKING",
    "LONG",
    "LOW_WATER",
    "MESSAGE_WEIGHT",
    "Answered",
    "Call",
    "PeerQueue",
    "Run",
    "Waiter",
]

Run = Callable[[Context, Any], Coroutine[Any, Any, Message | None]]
Answered = Callable[[Message, bool, Run | None], Run | None]  # message, whether a request takes it, handler
Call = tuple[asyncio.Future[dict[str, Any]], float, type[Message]]  # its answer, when it was sent, the class of both
Waiter = tuple[asyncio.Future[Any], float]  # the future of a request's reply, and when the request was sent

# A queue counts the bytes of its messages, and in addition per message: the least size of its object.
MESSAGE_WEIGHT: Final = 256
HIGH_WATER: Final = 1 << 20
LOW_WATER: Final = 1 << 18
# A queue longer than this counts in the memory budget of all peers; while that is full, this is also the limit.
LONG: Final = 1 << 16
# With a request under way the peer is read on up to here, because the reply comes behind the queued messages.
HIGH_WATER_ASKING: Final = 1 << 24


class PeerQueue:
    """One peer: its queued messages, their worker and tasks, and our requests that await replies."""

    __slots__ = (
        "_concurrent",
        "_slot",
        "_tracing",
        "_urgent",
        "abandoned",
        "answers",
        "awaited_replies",
        "calls",
        "contexts",
        "counted",
        "detached",
        "held",
        "hooks",
        "hung_up",
        "info",
        "large",
        "mark",
        "may_ask_urgently",
        "needs_slow_path",
        "own_tasks",
        "paused",
        "peer",
        "pending_hooks",
        "replies",
        "requested",
        "session",
        "small",
        "things",
        "throttle",
        "waiters",
        "waiting",
        "wake",
        "worker",
    )

    def __init__(self, peer: Peer, info: PeerInfo, owners: int, tracing: bool) -> None:
        self.peer = peer
        self.info: PeerInfo | None = info  # None once the peer has disconnected, while its messages are still handled
        self.session: PeerSession | None = None  # the peer's session, while it is connected
        self.waiting: deque[tuple[Run, int, Any, int]] = deque()  # handler, owner, argument, weight
        self.held = 0
        self.mark = LONG  # once `held` exceeds this, `Backpressure.full` is called
        self.counted = 0  # bytes of a long queue in the memory budget of all peers
        self.large = 0  # bytes of large messages, queued or being handled
        self.requested = 0  # bytes of large requests, and of large replies that wait to be read
        self.replies = 0  # bytes of large replies, as sent
        self.small = 0  # bytes of all other requests
        self.paused = False
        self.hung_up = False
        self.abandoned = False  # the queued messages of the disconnected peer are not handled any more
        self._tracing = tracing
        self.needs_slow_path = tracing  # there are tracers, waiters, pending hooks or answers: not the fast path
        self.answers: Answered | None = None  # settles what is sent again until the peer answers; returns the handler
        self.pending_hooks: PendingHooks | None = None  # set while on_connect hooks of its connection have not ended
        self.may_ask_urgently = False  # hooks are pending, or an urgent request is handled: our requests may be urgent
        self._urgent = 0
        self.things: PeerThings | None = None  # what is provided for its connection, or was for the last one
        self.hooks: dict[int, Hook] = {}  # the last hook that has not ended, by owner
        self.waiters: dict[type[Message], deque[Waiter]] | None = None
        self.calls: dict[str, Call] | None = None  # our JSON-RPC calls that await answers, by id
        self.awaited_replies = 0  # our requests with ids that await replies
        self.contexts: list[Context | None] = [None] * owners
        self.own_tasks: dict[str, OwnTasks] | None = None  # those of the peer's connection, by extension
        self.throttle: asyncio.TimerHandle | None = None  # set while the peer is throttled, whatever room its queue has
        self._concurrent = 0  # how many concurrent handlers run
        self.detached: set[asyncio.Task[None]] = set()  # their tasks
        self._slot: asyncio.Future[None] | None = None  # set while the worker waits for a concurrent handler to end
        self.wake: asyncio.Future[None] | None = None  # set while the worker sleeps
        self.worker: asyncio.Task[None] | None = None

    def drop_messages(self) -> list[int]:
        """Remove the queued messages, and return the weight of each; hooks, which have no owner, stay."""
        kept = [entry for entry in self.waiting if entry[1] == 0]
        dropped = [entry[3] for entry in self.waiting if entry[1] != 0]
        self.waiting.clear()
        self.waiting.extend(kept)
        self.held -= sum(dropped)
        return dropped

    def set_pending_hooks(self, hooks: PendingHooks | None) -> None:
        """Set the on_connect hooks for which the connection's messages wait; None ends that."""
        self.pending_hooks = hooks
        self.add_urgent(0)
        self._look()

    def add_urgent(self, urgent: int) -> None:
        """Add to the number of urgent requests being handled; ``urgent`` may be negative or 0."""
        self._urgent += urgent
        self.may_ask_urgently = self._urgent > 0 or self.pending_hooks is not None

    def _look(self) -> None:
        self.needs_slow_path = (
            self._tracing or self.waiters is not None or self.pending_hooks is not None or self.answers is not None
        )

    def set_answers(self, answers: Answered | None) -> None:
        """Set what hears of each message because one may be awaited that settles another; None ends that."""
        self.answers = answers
        self._look()

    def ask(self, reply: type[Message], waiter: Waiter) -> None:
        """Add a request that waits for the next ``reply``, behind those that wait for one already."""
        if self.waiters is None:
            self.waiters = {}
            self.needs_slow_path = True
        self.waiters.setdefault(reply, deque()).append(waiter)

    def leave(self, reply: type[Message], waiter: Waiter) -> None:
        """Remove a request that has ended."""
        if self.waiters is None:
            return
        waiting = self.waiters.get(reply)
        if waiting is not None and waiter in waiting:
            waiting.remove(waiter)
        if not waiting:
            self.waiters.pop(reply, None)
        if not self.waiters:
            self.waiters = None
            self._look()

    def answer(self, message: Message) -> float | None:
        """Resolve the first request that waits for the message's class. Return when it was sent, None without one."""
        waiting = self.waiters.get(type(message)) if self.waiters else None
        while waiting:
            future, asked = waiting.popleft()
            if not future.done():
                future.set_result(message)
                return asked
        return None

    def request_begun(self) -> None:
        """Count one of our requests with an id, which awaits its reply."""
        self.awaited_replies += 1

    def request_ended(self) -> None:
        """End the count of `request_begun`."""
        self.awaited_replies -= 1

    async def begin_concurrent(self, most: int) -> None:
        """Wait until fewer than ``most`` concurrent handlers run, and count one more."""
        while self._concurrent >= most:
            self._slot = asyncio.get_running_loop().create_future()
            await self._slot
        self._concurrent += 1

    def resume_concurrent(self) -> None:
        """Count one more concurrent handler, which has been counted before, without waiting."""
        self._concurrent += 1

    def end_concurrent(self) -> None:
        """End the count of `begin_concurrent`, and wake the worker that waits for it."""
        self._concurrent -= 1
        if self._slot is not None and not self._slot.done():
            self._slot.set_result(None)

    def fail_requests(self, reason: str) -> None:
        """Fail each request that waits by class, and each JSON-RPC call, with `ConnectionClosed`."""
        calls, self.calls = self.calls, None
        for answer, _, _ in (calls or {}).values():
            if not answer.done():
                answer.set_exception(ConnectionClosed(reason))
        for waiting in (self.waiters or {}).values():
            for future, _ in waiting:
                if not future.done():
                    future.set_exception(ConnectionClosed(reason))

    def cancel_throttle(self) -> None:
        """Cancel the timer of a throttled peer."""
        if self.throttle is not None:
            self.throttle.cancel()
            self.throttle = None

    @property
    def is_asking(self) -> bool:
        """Whether one of our requests awaits a reply from this peer."""
        return bool(self.waiters or self.awaited_replies)

    @property
    def is_full(self) -> bool:
        """Whether the peer should be paused; the limit is higher while a request awaits a reply."""
        return self.held > (HIGH_WATER_ASKING if self.waiters or self.awaited_replies else HIGH_WATER)

    @property
    def is_long(self) -> bool:
        """Whether the peer should be paused while the memory budget of all peers is full."""
        return self.held > (HIGH_WATER if self.waiters or self.awaited_replies else LONG)

    @property
    def has_room(self) -> bool:
        """Whether a paused peer may be read again."""
        if self.throttle is not None:
            return False
        return self.held <= (HIGH_WATER_ASKING // 2 if self.waiters or self.awaited_replies else LOW_WATER)
