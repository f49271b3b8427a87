"""Connect and disconnect hooks, and the messages and hooks that wait for them.

The hooks of one extension for one peer run one after the other, connection by connection. Those of different extensions
do not wait for each other, and a peer's messages for an extension wait for the on_connect of that extension alone. So a
hook that hangs blocks only its own extension, and is logged.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from oddwire.app.context import Context
from oddwire.app.dispatch.end_hooks import log_stuck
from oddwire.app.dispatch.peer_queue import MESSAGE_WEIGHT, PeerQueue
from oddwire.app.dispatch.peer_things import PeerThings
from oddwire.app.extension import Extension
from oddwire.app.plugins.manager import HookCall
from oddwire.log_limits import get_logger
from oddwire.session.reliable.receipt import WAITING

if TYPE_CHECKING:
    from oddwire.app.dispatch.background import OwnTasks
    from oddwire.app.dispatch.core import Core
    from oddwire.app.dispatch.queue_workers import QueueWorkers

__all__ = ["ConnectionHooks", "Excuse", "Hook", "PendingHooks", "counting_request", "hook_of", "is_urgent", "urgently"]

logger = get_logger("oddwire.app")

_CLOSING: Final = 1.0  # seconds for closing the things that a cancelled hook has left open
_UNWINDING: Final = 2.0  # seconds that a cancelled closing has for its cleanup

_current: ContextVar[Hook | None] = ContextVar("oddwire_hook", default=None)
_urgent: ContextVar[PeerQueue | None] = ContextVar("oddwire_urgent", default=None)


class Excuse(Enum):
    """Why a message need not wait for a hook that waits for the peer: the two could wait for each other for ever."""

    NONE = 0
    DELIVERY = 1
    """A request or a reliable message: the delivery that the hook waits for may wait for this message at the peer."""
    URGENT = 2
    """An urgent request: the peer's on_connect waits for the reply, or its handler of our on_connect's request."""


class Hook:
    """One plugin's connect or disconnect hook for one connection: planned, then due, then run, then ended."""

    __slots__ = (
        "awaited_replies",
        "before",
        "call",
        "delivering",
        "due",
        "left",
        "next",
        "owner",
        "parameters",
        "pending_hooks",
        "queue",
        "skipped",
        "things",
    )

    def __init__(
        self, queue: PeerQueue, owner: int, call: HookCall, parameters: Mapping[str, Any], before: Hook | None
    ) -> None:
        self.queue = queue
        self.owner = owner
        self.call = call
        self.parameters = parameters
        self.before = before  # the same plugin's previous hook for the same peer
        self.next: Hook | None = None
        self.pending_hooks: PendingHooks | None = None
        self.things: PeerThings | None = None  # of its connection, if its owner provides or takes any
        self.due = False
        self.skipped = False
        self.awaited_replies = 0  # requests sent by the hook that wait for replies
        self.delivering = 0  # reliable messages whose delivery the hook waits for
        self.left: OwnTasks | None = None  # tasks of the ended connection, for which on_disconnect waits
        if before is not None:
            before.next = self

    @contextmanager
    def asks(self) -> Iterator[None]:
        """Count a request to the peer for whose reply the hook waits, while the ``with`` block runs."""
        self.awaited_replies += 1
        try:
            if self.pending_hooks is not None:
                self.pending_hooks.excuse()
            yield
        finally:
            self.awaited_replies -= 1

    @contextmanager
    def waits(self) -> Iterator[None]:
        """Count a delivery for which the hook waits, while the ``with`` block runs."""
        self.delivering += 1
        try:
            if self.pending_hooks is not None:
                self.pending_hooks.excuse()
            yield
        finally:
            self.delivering -= 1

    def excuses(self, excuse: Excuse) -> bool:
        """Return whether a message with this excuse need not wait for the hook."""
        if excuse is Excuse.NONE:
            return False
        return self.delivering > 0 or (excuse is Excuse.URGENT and self.awaited_replies > 0)


@contextmanager
def urgently(queue: PeerQueue) -> Iterator[None]:
    """Handle an urgent request: the requests of its handler to the peer are urgent too, as the reply waits for them."""
    queue.add_urgent(1)
    token = _urgent.set(queue)
    try:
        yield
    finally:
        _urgent.reset(token)
        queue.add_urgent(-1)


def counting_request(queue: PeerQueue) -> AbstractContextManager[None]:
    """Return a context manager that counts a request of the running hook, if any, to the peer; see `Hook.asks`."""
    hook = hook_of(queue)
    return nullcontext() if hook is None else hook.asks()


def is_urgent(queue: PeerQueue) -> bool:
    """Return whether an on_connect, of ours or of the peer's, waits for the running code's requests to the peer."""
    return _urgent.get() is queue or hook_of(queue) is not None


def hook_of(queue: PeerQueue) -> Hook | None:
    """Return the on_connect hook of this peer that the running code is part of, if it has not ended."""
    hook = _current.get()
    return hook if hook is not None and hook.queue is queue and hook.pending_hooks is not None else None


class _Held(NamedTuple):
    owner: int
    excuse: Excuse
    release: Callable[[], object]


class _NoHook(HookCall):
    """Placeholder for the missing hook of a plugin that has things, or jobs, of a connection."""

    __slots__ = ()

    def __init__(self, plugin: str, hook: str) -> None:
        self.plugin = plugin
        self.hook = hook

    @property
    def is_async(self) -> bool:
        return True

    async def finish(self, **parameters: Any) -> None:
        """Return at once: there is no hook to await."""


class PendingHooks:
    """The on_connect hooks of one connection that have not ended, by owner, and what waits for them, in order."""

    __slots__ = ("_excused", "_for_all", "_held", "hooks")

    def __init__(self, hooks: Mapping[int, Hook], for_all: frozenset[int]) -> None:
        self.hooks = dict(hooks)
        self._for_all = for_all
        self._held: deque[_Held] = deque()
        self._excused = False  # whether anything that waits has an excuse

    def holds(self, owner: int, excuse: Excuse = Excuse.NONE) -> bool:
        """Return whether a message for an owner, with this excuse, has to wait for a hook."""
        pending = self.hooks
        if owner in pending and not pending[owner].excuses(excuse):
            return True
        return any(number in pending and not pending[number].excuses(excuse) for number in self._for_all)

    def hold(self, owner: int, release: Callable[[], object], excuse: Excuse = Excuse.NONE) -> None:
        """Queue ``release``, to be called as soon as no hook holds the owner's messages with this excuse any more."""
        self._held.append(_Held(owner, excuse, release))
        self._excused = self._excused or excuse is not Excuse.NONE

    def ended(self, hook: Hook) -> None:
        """Remove a hook that has ended, and release what waited only for this hook."""
        del self.hooks[hook.owner]
        self._let_go()

    def excuse(self) -> None:
        """Release messages whose excuse applies to a hook that now waits for the peer."""
        if self._excused:
            self._let_go()

    def _let_go(self) -> None:
        """Call the ``release`` of everything that need not wait any more, in the order in which it was held."""
        kept: deque[_Held] = deque()
        held, self._held = self._held, kept
        self._excused = False
        for item in held:
            if self.holds(item.owner, item.excuse):
                self.hold(item.owner, item.release, item.excuse)
            else:
                item.release()


class ConnectionHooks:
    """Calls ``peer_connected`` and ``peer_disconnected`` hooks, each plugin's in the order of the events."""

    def __init__(
        self, core: Core, workers: QueueWorkers, on_connect: Sequence[HookCall], on_disconnect: Sequence[HookCall]
    ) -> None:
        self._core = core
        self._app = core.app
        self._background = core.background
        self._enforcer = core.enforcer
        self._loop = core.loop
        self._tasks = core.tasks
        self._workers = workers
        owners = core.tables.owners
        numbers = {owner.name: number for number, owner in enumerate(owners, 1)}
        self._on_connect = [(numbers[call.plugin], call) for call in on_connect]
        self._on_disconnect = [(numbers[call.plugin], call) for call in on_disconnect]
        self._plugins = {number: owner.plugin for number, owner in enumerate(owners, 1)}
        injector = core.tables.injector
        wanted = {} if injector is None else injector.peer_things
        self._makers = {numbers[name]: things for name, things in wanted.items()}
        self._core = core
        self._things: set[PeerThings] = set()  # of connections whose things are not all closed
        working = {number for number, owner in enumerate(owners, 1) if any(job.per_peer for job in owner.jobs)}
        for hooks, name in ((self._on_connect, "peer_connected"), (self._on_disconnect, "peer_disconnected")):
            missing = (self._makers.keys() | working) - {number for number, _ in hooks}
            hooks.extend((number, _NoHook(owners[number - 1].name, name)) for number in sorted(missing))
        handling = {route.owner for route in core.tables.incoming.values()}
        # All messages wait for the hook of a plugin, not an `Extension`, that handles no messages itself
        self._for_all = frozenset(
            number
            for number, call in self._on_connect
            if number not in handling and type(call) is HookCall and not isinstance(self._plugins[number], Extension)
        )

    def connected(self, queue: PeerQueue) -> None:
        """Schedule the on_connect hooks for a new connection, after the messages of the old one."""
        if not self._on_connect:
            return
        parameters = {"app": self._app, "peer": queue.peer}
        if self._makers:
            queue.things = PeerThings(self._core, queue, self._makers)
            self._things.add(queue.things)
        hooks = [self._plan(queue, number, call, parameters) for number, call in self._on_connect]
        pending = PendingHooks({hook.owner: hook for hook in hooks}, self._for_all)
        for hook in hooks:
            hook.pending_hooks = pending
        queue.set_pending_hooks(pending)
        self._enqueue(queue, hooks)

    def disconnected(self, queue: PeerQueue, reason: str) -> None:
        """Schedule the on_disconnect hooks of a connection, each plugin's after its messages have been handled."""
        parameters = {"app": self._app, "peer": queue.peer, "reason": reason}
        hooks = [self._plan(queue, number, call, parameters) for number, call in self._on_disconnect]
        own_tasks, queue.own_tasks = queue.own_tasks, None
        if own_tasks is not None:
            for own in own_tasks.values():
                own.end()
            for hook in hooks:
                hook.left = own_tasks.get(hook.call.plugin)
        pending = queue.pending_hooks
        if pending is None:
            self._enqueue(queue, hooks)
            return
        self._enqueue(queue, [hook for hook in hooks if not pending.holds(hook.owner)])
        for hook in hooks:
            if pending.holds(hook.owner):
                pending.hold(hook.owner, functools.partial(self._enqueue, queue, [hook]))

    async def until(self, queue: PeerQueue, owner: int) -> None:
        """Wait until no on_connect hook holds back an owner's reliable messages."""
        pending = queue.pending_hooks
        while pending is not None and pending.holds(owner, Excuse.DELIVERY):
            free: asyncio.Future[None] = self._loop.create_future()
            pending.hold(owner, functools.partial(_settle, free), Excuse.DELIVERY)
            await free
            pending = queue.pending_hooks  # the peer may have reconnected meanwhile

    def _plan(self, queue: PeerQueue, owner: int, call: HookCall, parameters: Mapping[str, Any]) -> Hook:
        hook = queue.hooks[owner] = Hook(queue, owner, call, parameters, queue.hooks.get(owner))
        hook.things = queue.things if owner in self._makers else None
        return hook

    def _enqueue(self, queue: PeerQueue, hooks: Sequence[Hook]) -> None:
        if hooks:
            self._workers.enqueue(queue, self._turn, 0, hooks, MESSAGE_WEIGHT)

    async def _turn(self, _: Context, hooks: Sequence[Hook]) -> None:
        """Start hooks that have reached the head of the queue, in order, without waiting for those that are async."""
        first = True
        for hook in hooks:
            hook.due = True
            if hook.before is None:
                first = self._begin(hook, first) and first

    def _begin(self, hook: Hook, inline: bool = True) -> bool:
        """Start a hook; return whether it has ended. With ``inline``, one that is not async runs without a task."""
        if hook.pending_hooks is not None and self._tasks.ending:
            hook.skipped = True  # too late for on_connect, and without on_connect there is no on_disconnect
        waits = hook.left is not None and not hook.left.is_over
        if not waits and self._is_nothing(hook):
            self._end(hook)
            return True
        result: Any = None
        if inline and not waits and hook.things is None and not hook.call.is_async:
            try:
                result = hook.call(**hook.parameters)
            except BaseException as error:
                self._failed(hook, error)
            if not hasattr(result, "__await__"):
                self._end(hook)
                return True
        task = self._tasks.spawn(self._run(hook, result))
        task.add_done_callback(lambda _: self._end(hook))  # also called for a task cancelled before it begins
        return False

    def _is_nothing(self, hook: Hook) -> bool:
        plugin = self._plugins[hook.owner]
        if hook.things is not None:
            return hook.skipped
        return hook.skipped or (isinstance(plugin, Extension) and not plugin.has_hook(hook.call.hook))

    async def _run(self, hook: Hook, result: Any) -> None:
        _current.set(hook)
        WAITING.set(hook.waits)
        me = asyncio.current_task()
        try:
            if hook.left is not None:
                await hook.left.wait(self._background.grace)
                if self._is_nothing(hook):
                    return
            if hook.things is not None:
                await self._run_with_things(hook, hook.things)
            else:
                await (hook.call.finish(**hook.parameters) if result is None else result)
        except BaseException as error:
            self._failed(hook, error, me)
        finally:
            del me  # the exception that ends a task refers to this frame

    async def _run_with_things(self, hook: Hook, things: PeerThings) -> None:
        """Create the connection's provided things before an on_connect, or close them after an on_disconnect."""
        if hook.pending_hooks is not None:
            await things.make(hook.owner)
            await hook.call.finish(**hook.parameters)
            return
        if hook.owner not in things.served:
            return  # without on_connect there is no on_disconnect
        try:
            await hook.call.finish(**hook.parameters)
        finally:
            me = asyncio.current_task()
            is_late = me is not None and me.cancelling() > 0  # no second cancellation would end a slow close
            async with self._closing(things) if is_late else nullcontext():
                await things.release(hook.owner)

    @asynccontextmanager
    async def _closing(self, things: PeerThings) -> AsyncIterator[None]:
        limit = asyncio.timeout(_CLOSING)
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
        if limit.expired():
            _log_late(things)

    async def finish(self) -> None:
        """Close, and drop, the provided things that cancelled hooks have left open, those of all connections at once.

        They have a second, then they are cancelled, and two more to end.
        """
        left, self._things = self._things, set()
        tasks = {self._loop.create_task(things.close()): things for things in left}
        late = {*tasks}
        try:
            if tasks:
                _, late = await asyncio.wait(tasks, timeout=_CLOSING)
            for task in late:
                _log_late(tasks[task], task)
        finally:
            for task in late:
                task.cancel("the application is closing")
            if late:
                _, stuck = await asyncio.wait(late, timeout=_UNWINDING)
                for task in stuck:
                    log_stuck(task)

    def abandon(self) -> None:
        """Drop the things of connections without closing them."""
        self._things.clear()

    def _failed(self, hook: Hook, error: BaseException, task: asyncio.Task[Any] | None = None) -> None:
        context = Context(self._app, hook.call.plugin, hook.queue.peer)
        what = None if hook.things is None else hook.things.failed.pop(hook.owner, None)
        if what is None and isinstance(self._plugins[hook.owner], Extension):
            what = "on_connect" if hook.pending_hooks is not None else "on_disconnect"
        try:
            self._enforcer.failed(context, None, error, self._tasks.ending, task, what=what or hook.call.hook)
        finally:
            del error, task

    def _end(self, hook: Hook) -> None:
        queue = hook.queue
        if queue.hooks.get(hook.owner) is hook:
            del queue.hooks[hook.owner]
        pending, hook.pending_hooks = hook.pending_hooks, None
        if hook.things is not None and pending is None:
            hook.things.left.discard(hook.owner)
            if not hook.things.left:
                self._things.discard(hook.things)
                if queue.things is hook.things:
                    queue.things = None
        if pending is not None:
            is_now = queue.info is not None and queue.pending_hooks is pending  # not of an earlier connection
            is_served = hook.things is None or hook.owner in hook.things.served
            if is_now and is_served and not hook.skipped and not self._core.closing:
                self._background.start_peer_jobs(queue, hook.call.plugin)
            pending.ended(hook)
            if queue.pending_hooks is pending and not pending.hooks:
                queue.set_pending_hooks(None)
            if is_now and self._core.resender is not None:
                self._core.resender.opened(queue)
        after = hook.next
        if after is not None:
            after.before = None
            after.skipped = hook.skipped and pending is not None
            if after.due and self._tasks.cancelling:
                self._enqueue(queue, [after])
            elif after.due:
                self._begin(after)
        if queue.info is None and not queue.hooks:
            self._workers.wake(queue)  # the queue's worker may end now

    def describe(self, hook: Hook) -> tuple[str, str]:
        """Return the description of a hook, and of what waits for its end, for the log."""
        connecting = hook.pending_hooks is not None
        waits = "what this peer sends it waits" if connecting else "its next on_connect for this peer waits"
        name = hook.call.hook
        doing = None if hook.things is None else hook.things.doing.get(hook.owner)
        if doing is not None:
            name = doing
        elif isinstance(self._plugins[hook.owner], Extension):
            name = "on_connect" if connecting else "on_disconnect"
        elif hook.owner in self._for_all and connecting:
            waits = "all that this peer sends waits"
        return name, f"{waits} for it"


def _log_late(things: PeerThings, task: asyncio.Task[None] | None = None) -> None:
    """Log that things of a connection are not waited for any longer: which, and where if their ``task`` still waits."""
    from oddwire.app.unfinished import spot_of  # imported late: rarely needed

    what = things.late or "closing of what was provided"
    if task is None or (spot := spot_of(task)) is None:
        logger.warning("%s, for %s, is cancelled: its time has expired", what, things.peer)
    else:
        logger.warning("%s, for %s, is cancelled: its time has expired; it waits at %s", what, things.peer, spot)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
