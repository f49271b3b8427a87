"""One peer's queue of messages for handlers, and what else waits for its messages."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final

from oddwire.app.context import Context, Peer
from oddwire.app.dispatch.exchanges import Exchanges
from oddwire.app.dispatch.listeners import Listener, Listeners
from oddwire.app.insight.counts import end_dropped
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
    "Aside",
    "Call",
    "PeerQueue",
    "Run",
]

Run = Callable[[Context, Any], Coroutine[Any, Any, Message | None]]
Answered = Callable[[Message, bool, Run | None], Run | None]  # message, whether a request takes it, handler
Call = tuple[asyncio.Future[dict[str, Any]], float, type[Message]]  # its answer, when it was sent, the class of both

# A queue counts the bytes of its messages, and in addition per message: the least size of its object.
MESSAGE_WEIGHT: Final = 256
HIGH_WATER: Final = 1 << 20
LOW_WATER: Final = 1 << 18
# A queue longer than this counts in the memory budget of all peers; while that is full, this is also the limit.
LONG: Final = 1 << 16
# With a request under way the peer is read on up to here, because the reply comes behind the queued messages.
HIGH_WATER_ASKING: Final = 1 << 24


class Aside:
    """A message that waits for on_connect hooks, outside of the queue; ``then`` is called when it is in it."""

    __slots__ = ("then",)

    def __init__(self) -> None:
        self.then: list[Callable[[], object]] = []


class PeerQueue:
    """One peer: its queued messages, their worker and tasks, and who waits for its messages otherwise."""

    __slots__ = (
        "_concurrent",
        "_slot",
        "_tracing",
        "_urgent",
        "abandoned",
        "answers",
        "aside",
        "awaited_replies",
        "calls",
        "contexts",
        "counted",
        "detached",
        "exchanges",
        "held",
        "hooks",
        "hung_up",
        "info",
        "large",
        "listeners",
        "mark",
        "may_ask_urgently",
        "needs_slow_path",
        "own_tasks",
        "paused",
        "peer",
        "pending_hooks",
        "replies",
        "requested",
        "resting",
        "serving",
        "session",
        "since",
        "small",
        "things",
        "throttle",
        "waiting",
        "wake",
        "worker",
    )

    def __init__(self, peer: Peer, info: PeerInfo, owners: int, tracing: bool) -> None:
        self.peer = peer
        self.info: PeerInfo | None = info  # None once the peer has disconnected, while its messages are still handled
        self.since = 0.0  # when it connected, by `oddwire.clocks.monotonic`
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
        self.needs_slow_path = tracing  # see `look`
        self.aside: set[Aside] | None = None  # messages that wait for on_connect hooks, if there were any
        self.answers: Answered | None = None  # settles what is sent again until the peer answers; returns the handler
        self.pending_hooks: PendingHooks | None = None  # set while on_connect hooks of its connection have not ended
        self.may_ask_urgently = False  # hooks are pending, or an urgent request is handled: our requests may be urgent
        self._urgent = 0
        self.things: PeerThings | None = None  # what is provided for its connection, or was for the last one
        self.hooks: dict[int, Hook] = {}  # the last hook that has not ended, by owner
        self.exchanges: Exchanges | None = None  # our requests without ids on this connection, if there were any
        self.listeners: Listeners | None = None  # those who wait for messages of the peer outside of handlers
        self.calls: dict[str, Call] | None = None  # our JSON-RPC calls that await answers, by id
        self.awaited_replies = 0  # our requests and other waits that need the peer to be read on
        self.contexts: list[Context | None] = [None] * owners
        self.own_tasks: dict[str, OwnTasks] | None = None  # those of the peer's connection, by extension
        self.throttle: asyncio.TimerHandle | None = None  # set while the peer is throttled, whatever room its queue has
        self.resting: asyncio.Future[None] | None = None  # set while the worker waits for the rate of a handler
        self._concurrent = 0  # how many concurrent handlers run
        self.detached: set[asyncio.Task[None]] = set()  # their tasks
        self.serving: set[asyncio.Task[Any]] | None = None  # tasks of the connection's JSON-RPC requests
        self._slot: asyncio.Future[None] | None = None  # set while the worker waits for a concurrent handler to end
        self.wake: asyncio.Future[None] | None = None  # set while the worker sleeps
        self.worker: asyncio.Task[None] | None = None

    def drop_messages(self) -> list[int]:
        """Remove the queued messages, and return the weight of each; hooks, which have no owner, stay."""
        kept = [entry for entry in self.waiting if entry[1] == 0]
        dropped = [entry[3] for entry in self.waiting if entry[1] != 0]
        for run, owner, _, _ in self.waiting:
            if owner:
                end_dropped(run)
        self.waiting.clear()
        self.waiting.extend(kept)
        self.held -= sum(dropped)
        return dropped

    def set_tracing(self, tracing: bool) -> None:
        """Set whether messages are traced or counted from now on."""
        self._tracing = tracing
        self.look()

    def set_pending_hooks(self, hooks: PendingHooks | None) -> None:
        """Set the on_connect hooks for which the connection's messages wait; None ends that."""
        self.pending_hooks = hooks
        self.add_urgent(0)
        self.look()

    def add_urgent(self, urgent: int) -> None:
        """Add to the number of urgent requests being handled; ``urgent`` may be negative or 0."""
        self._urgent += urgent
        self.may_ask_urgently = self._urgent > 0 or self.pending_hooks is not None

    def set_answers(self, answers: Answered | None) -> None:
        """Set what is called with each message, because one may settle what is sent again; None ends that."""
        self.answers = answers
        self.look()

    def look(self) -> None:
        """Find out anew whether messages need the slow path, after anything that decides it has changed."""
        self.needs_slow_path = (
            self._tracing
            or self.pending_hooks is not None
            or (self.exchanges is not None and self.exchanges.is_active)
            or self.listeners is not None
            or self.answers is not None
        )

    def listen(self, accepted: Sequence[type[Message]], listener: Listener) -> None:
        """Pass the peer's messages of some classes to a listener, for as long as it is connected."""
        if self.listeners is None:
            self.listeners = Listeners()
        self.listeners.add(accepted, listener)
        self.look()

    def unlisten(self, accepted: Sequence[type[Message]], listener: Listener) -> None:
        """Undo `listen`."""
        if self.listeners is None:
            return
        self.listeners.remove(accepted, listener)
        if not self.listeners:
            self.listeners = None
            self.look()

    def request_begun(self) -> None:
        """Count one of our requests, or another wait for a message of the peer."""
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
        """Fail each request without a session's id, and each other wait for messages, with `ConnectionClosed`."""
        calls, self.calls = self.calls, None
        for answer, _, _ in (calls or {}).values():
            if not answer.done():
                answer.set_exception(ConnectionClosed(reason))
        exchanges, self.exchanges = self.exchanges, None
        if exchanges is not None:
            exchanges.end(reason)
        listeners, self.listeners = self.listeners, None
        if listeners is not None:
            listeners.end(reason)
        self.look()

    def cancel_serving(self) -> None:
        """Cancel the peer's JSON-RPC requests, whose answers have nobody to go to."""
        serving, self.serving = self.serving, None
        for task in serving or ():
            task.cancel("its peer has disconnected")

    def cancel_throttle(self) -> None:
        """Cancel the timer of a throttled peer."""
        if self.throttle is not None:
            self.throttle.cancel()
            self.throttle = None
        self.end_rest()

    async def rest(self, until: float) -> None:
        """Wait, in the worker, until a time of the loop, or until `end_rest`, or the end of the connection."""
        loop = asyncio.get_running_loop()
        if self.info is None or until <= loop.time():
            return
        self.resting = loop.create_future()
        timer = loop.call_at(until, self.end_rest)
        try:
            await self.resting
        finally:
            timer.cancel()
            self.resting = None

    def end_rest(self) -> None:
        """Let the worker go on, if it waits."""
        if self.resting is not None and not self.resting.done():
            self.resting.set_result(None)

    @property
    def is_asking(self) -> bool:
        """Whether one of our requests awaits a reply from this peer."""
        return self.awaited_replies > 0

    @property
    def is_full(self) -> bool:
        """Whether the peer should be paused; the limit is higher while a request awaits a reply."""
        return self.held > (HIGH_WATER_ASKING if self.awaited_replies else HIGH_WATER)

    @property
    def is_long(self) -> bool:
        """Whether the peer should be paused while the memory budget of all peers is full."""
        return self.held > (HIGH_WATER if self.awaited_replies else LONG)

    @property
    def has_room(self) -> bool:
        """Whether a paused peer may be read again."""
        if self.throttle is not None:
            return False
        return self.held <= (HIGH_WATER_ASKING // 2 if self.awaited_replies else LOW_WATER)
