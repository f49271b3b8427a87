"""What waits for the handlers of one peer's messages, and our requests that wait for its replies."""

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

__all__ = ["HIGH_WATER", "HIGH_WATER_ASKING", "LONG", "LOW_WATER", "MESSAGE_WEIGHT", "PeerQueue", "Run", "Waiter"]

Run = Callable[[Context, Any], Coroutine[Any, Any, Message | None]]
Waiter = tuple[asyncio.Future[Any], float]  # what a request waits for, and when it was made

# A queue counts the bytes of what waits, and for each message a bit more: what its object takes at the least.
MESSAGE_WEIGHT: Final = 256
HIGH_WATER: Final = 1 << 20
LOW_WATER: Final = 1 << 18
# Of more than this, what waits counts for all peers together; once there is no room, it is also the most.
LONG: Final = 1 << 16
# With a request under way the queue reads on, up to here: the reply is behind what waits.
HIGH_WATER_ASKING: Final = 1 << 24


class PeerQueue:
    """One peer: what waits, who works on it, who waits for a reply."""

    __slots__ = (
        "_concurrent",
        "_slot",
        "_tracing",
        "_urgent",
        "abandoned",
        "awaited_replies",
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
        self.info: PeerInfo | None = info  # None once the peer is gone, while the rest is being handled
        self.session: PeerSession | None = None  # its part of the session, while it is connected
        self.waiting: deque[tuple[Run, int, Any, int]] = deque()  # what to run, its owner, with what, its weight
        self.held = 0
        self.mark = LONG  # what `held` has to exceed for somebody to look
        self.counted = 0  # bytes of a long queue that count for all peers
        self.large = 0  # bytes of large messages, waiting or handled
        self.requested = 0  # those of large requests, and of large replies that wait
        self.replies = 0  # bytes of such replies, as sent
        self.small = 0  # those of all other requests
        self.paused = False
        self.hung_up = False
        self.abandoned = False  # what it left behind is not handled any more
        self._tracing = tracing
        self.needs_slow_path = tracing  # there are tracers, waiters or pending hooks: not the fast path
        self.pending_hooks: PendingHooks | None = None  # set while on_connect hooks of its connection have not ended
        self.may_ask_urgently = False  # hooks are pending, or an urgent request is handled: what is asked may be urgent
        self._urgent = 0
        self.things: PeerThings | None = None  # what is provided for its connection, or was for the last one
        self.hooks: dict[int, Hook] = {}  # the last one that has not ended, by owner
        self.waiters: dict[type[Message], deque[Waiter]] | None = None
        self.awaited_replies = 0  # requests of ours with ids that wait for replies
        self.contexts: list[Context | None] = [None] * owners
        self.own_tasks: dict[str, OwnTasks] | None = None  # of its connection, by extension
        self.throttle: asyncio.TimerHandle | None = None  # set while the peer is read later, whatever room there is
        self._concurrent = 0  # tasks of concurrent handlers
        self.detached: set[asyncio.Task[None]] = set()  # and these
        self._slot: asyncio.Future[None] | None = None  # set while the worker waits for one of them to end
        self.wake: asyncio.Future[None] | None = None  # set while the worker sleeps
        self.worker: asyncio.Task[None] | None = None

    def drop_messages(self) -> list[int]:
        """Forget the messages that wait, and return what each weighed; hooks, which have no owner, stay."""
        kept = [entry for entry in self.waiting if entry[1] == 0]
        dropped = [entry[3] for entry in self.waiting if entry[1] != 0]
        self.waiting.clear()
        self.waiting.extend(kept)
        self.held -= sum(dropped)
        return dropped

    def set_pending_hooks(self, hooks: PendingHooks | None) -> None:
        """Have messages wait for the on_connect hooks of a connection, or no more."""
        self.pending_hooks = hooks
        self.add_urgent(0)
        self._look()

    def add_urgent(self, urgent: int) -> None:
        """Begin to handle so many urgent requests more."""
        self._urgent += urgent
        self.may_ask_urgently = self._urgent > 0 or self.pending_hooks is not None

    def _look(self) -> None:
        self.needs_slow_path = self._tracing or self.waiters is not None or self.pending_hooks is not None

    def ask(self, reply: type[Message], waiter: Waiter) -> None:
        """Let a request wait for the next ``reply``, behind those that do already."""
        if self.waiters is None:
            self.waiters = {}
            self.needs_slow_path = True
        self.waiters.setdefault(reply, deque()).append(waiter)

    def leave(self, reply: type[Message], waiter: Waiter) -> None:
        """Take a request that has ended out."""
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
        """Hand a message to the first request that waits for its class; return when that was made, None if none."""
        waiting = self.waiters.get(type(message)) if self.waiters else None
        while waiting:
            future, asked = waiting.popleft()
            if not future.done():
                future.set_result(message)
                return asked
        return None

    def request_begun(self) -> None:
        """Count a request of ours with an id, which waits for its reply."""
        self.awaited_replies += 1

    def request_ended(self) -> None:
        """Count it no more."""
        self.awaited_replies -= 1

    async def begin_concurrent(self, most: int) -> None:
        """Count the task of a concurrent handler, once there are fewer than ``most`` of them."""
        while self._concurrent >= most:
            self._slot = asyncio.get_running_loop().create_future()
            await self._slot
        self._concurrent += 1

    def end_concurrent(self) -> None:
        """Count it no more, and let the worker go on that waits for that."""
        self._concurrent -= 1
        if self._slot is not None and not self._slot.done():
            self._slot.set_result(None)

    def give_up(self, reason: str) -> None:
        """Fail every request under way."""
        for waiting in (self.waiters or {}).values():
            for future, _ in waiting:
                if not future.done():
                    future.set_exception(ConnectionClosed(reason))

    def cancel_throttle(self) -> None:
        """Stop the timer of a peer that is read later."""
        if self.throttle is not None:
            self.throttle.cancel()
            self.throttle = None

    @property
    def is_asking(self) -> bool:
        """Whether a request of ours waits for what comes."""
        return bool(self.waiters or self.awaited_replies)

    @property
    def is_full(self) -> bool:
        """Whether no more should come, unless a request waits for what is behind."""
        return self.held > (HIGH_WATER_ASKING if self.waiters or self.awaited_replies else HIGH_WATER)

    @property
    def is_long(self) -> bool:
        """Whether no more should come while there is no room for what peers send."""
        return self.held > (HIGH_WATER if self.waiters or self.awaited_replies else LONG)

    @property
    def has_room(self) -> bool:
        """Whether more may come again."""
        if self.throttle is not None:
            return False
        return self.held <= (HIGH_WATER_ASKING // 2 if self.waiters or self.awaited_replies else LOW_WATER)
