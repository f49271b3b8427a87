"""Background work: extensions' jobs and spawned tasks, each owned by a connection or by the application.

At the end of its owner a task is cancelled, and waited for. An exception of one does not end anything else.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import CodeType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from oddwire.app.context import AppContext, Context
from oddwire.app.dispatch.end_hooks import LEAST, log_stuck
from oddwire.app.dispatch.loop_watch import LOOP_WATCH, Owners
from oddwire.durations import seconds_of
from oddwire.errors import ExtensionError, LocalProtocolError, PeerNotConnected
from oddwire.exit_exceptions import must_pass, spelled
from oddwire.log_limits import get_logger

if TYPE_CHECKING:
    from oddwire.app.application import Application
    from oddwire.app.declarations.jobs import Job
    from oddwire.app.declarations.options import Options
    from oddwire.app.dispatch.failures import Failures
    from oddwire.app.dispatch.peer_queue import PeerQueue
    from oddwire.app.plugins.manager import Contribution
    from oddwire.proto.keys import NodeId

__all__ = ["Background", "OwnTasks"]

logger = get_logger("oddwire.app")

T = TypeVar("T")

_FIRST_PAUSE: Final = 1.0  # seconds until a task that has raised is restarted
_LONGEST_PAUSE: Final = 60.0  # seconds: the pause doubles each time, up to this
_STEADY: Final = 60.0  # seconds of a run after which the pauses start from the first again


class OwnTasks:
    """The tasks of one extension that belong to one connection, or to the application: jobs and spawned tasks."""

    __slots__ = ("_jobs", "_running", "_spawned", "ended", "jobs_ended")

    def __init__(self, running: set[asyncio.Task[Any]]) -> None:
        self._running = running  # all tasks, of every owner
        self._jobs: set[asyncio.Task[Any]] = set()
        self._spawned: set[asyncio.Task[Any]] = set()
        self.jobs_ended = False
        self.ended = False

    def add_job(self, task: asyncio.Task[Any]) -> None:
        """Add a job's task, until it is done."""
        self._add(task, self._jobs)

    def add_spawned(self, task: asyncio.Task[Any]) -> None:
        """Add a spawned task, until it is done."""
        self._add(task, self._spawned)

    def _add(self, task: asyncio.Task[Any], tasks: set[asyncio.Task[Any]]) -> None:
        if task.done():  # an event loop may run a task's first step eagerly
            return
        for each in (tasks, self._running):
            each.add(task)
            task.add_done_callback(each.discard)

    @property
    def is_over(self) -> bool:
        """Whether none of the tasks is running."""
        return not (self._jobs or self._spawned)

    def end_jobs(self) -> None:
        """Cancel the jobs; no more are started."""
        if not self.jobs_ended:
            self.jobs_ended = True
            for task in (*self._jobs,):
                task.cancel("its owner ends")

    def end(self) -> None:
        """Cancel all tasks; no more are started."""
        self.end_jobs()
        if not self.ended:
            self.ended = True
            for task in (*self._spawned,):
                task.cancel("its owner ends")

    async def wait(self, seconds: float, *, jobs: bool = False, cut: asyncio.Future[None] | None = None) -> None:
        """Wait ``seconds``, or until ``cut``, for all tasks, or ``jobs`` alone; log and drop those that run on."""
        tasks = self._jobs if jobs else self._jobs | self._spawned
        tasks = {*tasks} - {asyncio.current_task()}
        if not tasks:
            return
        everyone: asyncio.Future[Any] = asyncio.gather(*tasks, return_exceptions=True)
        ends = [everyone] if cut is None else [everyone, cut]
        await asyncio.wait(ends, timeout=max(LEAST, seconds), return_when=asyncio.FIRST_COMPLETED)
        if cut is not None and cut.done():
            await asyncio.wait([everyone], timeout=LEAST)
        stuck = [task for task in tasks if not task.done()]
        for task in stuck:
            for each in (self._jobs, self._spawned, self._running):
                each.discard(task)
            log_stuck(task)


class Background:
    """The background work of one application. ``grace`` is the time in seconds that cancelled tasks have to end.

    Once ``cut`` is done, those of the application have no more of it.
    ``arm`` is called when a run of a periodic job begins, for the watch of handlers.
    """

    def __init__(
        self,
        app: Application,
        owners: Sequence[Contribution],
        failures: Failures,
        grace: float,
        cut: asyncio.Future[None],
    ) -> None:
        self.arm: Callable[[], object] = lambda: None
        self.running: set[asyncio.Task[Any]] = set()
        """Every running task; the event loop refers to tasks weakly."""
        self.queues: Mapping[NodeId, PeerQueue] = {}
        """The queues of all peers, set before the transport opens."""
        self.grace = grace
        self._app = app
        self._failures = failures
        self._cut = cut
        self._loop = asyncio.get_running_loop()
        self._base = contextvars.copy_context()  # not the context variables of a task's creator
        self._of_app = {owner.name: [job for job in owner.jobs if not job.per_peer] for owner in owners}
        self._of_peers = {owner.name: jobs for owner in owners if (jobs := [job for job in owner.jobs if job.per_peer])}
        self._pauses: dict[int, float] = {}  # the last known period of each periodic job, by its id
        self._own: dict[str, OwnTasks] = {}
        self._closed = False
        self._has_plugins = len(owners) > 1  # the first are oddwire's own transports and codecs
        self._owners: Owners | None = None  # set while the loop is watched

    def check(self, options: Options) -> None:
        """Raise `ExtensionError` if the option of a job's period has a value that is no duration.

        From now on such values are refused where a dynamic option is set.
        """
        for extension, jobs in (*self._of_app.items(), *self._of_peers.items()):
            for job in jobs:
                if not job.is_periodic:
                    continue
                try:
                    self._pauses[id(job)] = job.pause(options)
                except ValueError as error:
                    raise ExtensionError(f"{extension!r}: {error}") from None
                if isinstance(job.every, str):
                    options.watch(job.every, job.read)

    def watch_loop(self) -> None:
        """Watch the event loop for code of the application's plugins that blocks it, until `end_watch`."""
        if self._has_plugins and self._owners is None:
            self._owners = functools.partial(_owners_of, self._app)
            LOOP_WATCH.enter(self._owners)

    def end_watch(self) -> None:
        """Stop watching the event loop."""
        if self._owners is not None:
            LOOP_WATCH.leave(self._owners)
            self._owners = None

    # Tasks of the application -------------------------------------------------------------------------

    def begin(self, extension: str) -> None:
        """Start those jobs of an extension that are not ``per_peer``."""
        context = AppContext(self._app, extension)
        for job in self._of_app.get(extension, ()):
            self._begin(self._owned(extension), job, context)

    async def end_jobs(self, until: float) -> None:
        """Cancel the application's jobs, and wait for them until the loop time ``until``."""
        for own in self._own.values():
            own.end_jobs()
        for own in self._own.values():
            await own.wait(until - self._loop.time(), jobs=True, cut=self._cut)

    async def aclose(self, seconds: float) -> None:
        """Cancel all tasks of the application, and wait for them up to ``seconds`` in all."""
        self._closed = True
        for own in self._own.values():
            own.end()
        until = self._loop.time() + seconds
        for own in self._own.values():
            await own.wait(until - self._loop.time(), cut=self._cut)

    def _owned(self, extension: str) -> OwnTasks:
        own = self._own.get(extension)
        if own is None:
            own = self._own[extension] = OwnTasks(self.running)
        return own

    def spawn(self, context: AppContext, work: Coroutine[Any, Any, T], name: str | None) -> asyncio.Task[T]:
        """Run a task that belongs to the connection of the context's peer, or to the application if there is none.

        Raises `TypeError` if ``work`` is no coroutine, `PeerNotConnected`, and `LocalProtocolError` once the
        application's tasks have been ended.
        """
        if not asyncio.iscoroutine(work):
            raise TypeError(f"spawn() should be given a coroutine, work() say, not {work!r:.200}")
        own: OwnTasks | None = None
        if not isinstance(context, Context):
            own = None if self._closed else self._owned(context.extension)
            error: Exception = LocalProtocolError("the application is closing: no task can be spawned any more")
        else:
            queue = self.queues.get(context.peer.node_id)
            if queue is not None and queue.info is not None:
                own = self.of_peer(queue, context.extension)
            error = PeerNotConnected(
                f"{context.peer} is not connected, so nothing can belong to its connection: "
                "context.app.context(context.extension).spawn() belongs to the application",
                node_id=str(context.peer.node_id),
            )
        if own is None or own.ended:
            work.close()
            try:
                raise error
            finally:
                del error  # its traceback has this frame
        what = f"task {getattr(work, '__name__', 'of spawn()')}"
        task = self._loop.create_task(
            self._spawned(what, own, context, work), name=name or what, context=self._base.copy()
        )
        own.add_spawned(task)
        task.add_done_callback(lambda task: _over(task, work))
        return task

    async def _spawned(self, what: str, own: OwnTasks, context: AppContext, work: Coroutine[Any, Any, T]) -> T:
        me = asyncio.current_task()
        try:
            return await work
        except BaseException as error:
            if must_pass(error, me) or (own.ended and isinstance(error, asyncio.CancelledError)):
                raise
            self._failures.report(what, context, error)
            if isinstance(error, Exception):
                raise
            raise RuntimeError(f"{what} raised {spelled(error)}") from error  # a BaseException would end the program
        finally:
            del me  # a task that ends by an exception keeps this frame

    # Tasks of connections -----------------------------------------------------------------------------

    def of_peer(self, queue: PeerQueue, extension: str) -> OwnTasks:
        """Return the tasks of an extension that belong to a peer's connection."""
        if queue.own_tasks is None:
            queue.own_tasks = {}
        own = queue.own_tasks.get(extension)
        if own is None:
            own = queue.own_tasks[extension] = OwnTasks(self.running)
        return own

    def start_peer_jobs(self, queue: PeerQueue, extension: str) -> None:
        """Start an extension's ``per_peer`` jobs for a connection, after its on_connect."""
        for job in self._of_peers.get(extension, ()):
            context = self._app.resources.context(self._app, extension, queue.peer)
            self._begin(self.of_peer(queue, extension), job, context)

    # Jobs ---------------------------------------------------------------------------------------------

    def _begin(self, own: OwnTasks, job: Job, context: AppContext) -> None:
        if own.jobs_ended:
            return
        if job.scope == "cluster" and self._app.cluster_jobs is not None:
            from oddwire.app.dispatch.cluster_jobs import run_alone  # for workers of a cluster

            begin = functools.partial(self._begin_alone, job, context)
            end = functools.partial(OwnTasks.wait, seconds=self.grace, cut=self._cut)
            work = run_alone(self._app.cluster_jobs, context.extension, job.name, begin, end)
            own.add_job(self._loop.create_task(work, name=job.title, context=self._base.copy()))
        else:
            self._begin_own(own, job, context)

    def _begin_own(self, own: OwnTasks, job: Job, context: AppContext) -> asyncio.Task[None]:
        work = self._repeat(own, job, context) if job.is_periodic else self._keep_up(own, job, context)
        task = self._loop.create_task(work, name=job.title, context=self._base.copy())
        own.add_job(task)
        return task

    def _begin_alone(self, job: Job, context: AppContext) -> tuple[OwnTasks, asyncio.Task[None]]:
        """Start a job that is this application's for a while, whose end is that of its own tasks."""
        own = OwnTasks(self.running)
        return own, self._begin_own(own, job, context)

    async def _repeat(self, own: OwnTasks, job: Job, context: AppContext) -> None:
        """Run a periodic job until its owner ends: its period is measured between the starts of runs."""
        begun, due = self._loop.time(), job.at_start
        while not _has_ended(own):
            if due:
                begun = self._loop.time()
                self.arm()
                await self._run(own, job, context)
                if _has_ended(own):  # whatever the run made of its cancellation
                    return
            due = True
            try:
                self._pauses[id(job)] = job.pause(self._app.options)
            except ValueError as error:  # the option's value, an object, has changed: the last duration stays
                self._failures.report(job.title, context, error)
            jitter = random.random() * seconds_of(job.jitter, 0.0)  # noqa: S311 - need not be unpredictable
            await asyncio.sleep(max(0.0, begun + self._pauses[id(job)] + jitter - self._loop.time()))

    async def _keep_up(self, own: OwnTasks, job: Job, context: AppContext) -> None:
        """Run a task, and restart it if it raises and is to be restarted."""
        begun, pause = 0.0, 0.0

        def then() -> str:
            nonlocal pause
            pause = min(2 * pause, _LONGEST_PAUSE) if self._loop.time() - begun < _STEADY else 0.0
            pause = pause or _FIRST_PAUSE
            return f"; it is restarted after {pause:.0f} s" if job.restart else "; it is not restarted"

        while True:
            begun = self._loop.time()
            if await self._run(own, job, context, then) or not job.restart or own.jobs_ended:
                return
            await asyncio.sleep(pause)

    async def _run(self, own: OwnTasks, job: Job, context: AppContext, then: Callable[[], str] = lambda: "") -> bool:
        """Run a job's function once; return whether it ended without an exception."""
        me = asyncio.current_task()
        try:
            await self._app.resources.bound(context.extension, job.function, 1)(context)
        except BaseException as error:
            if own.jobs_ended and isinstance(error, asyncio.CancelledError):
                raise
            if not isinstance(error, asyncio.CancelledError) and must_pass(error, me):
                raise
            self._failures.report(job.title, context, error, then=then())
            return False
        finally:
            if me is not None and me.cancelling() and not own.jobs_ended:
                await _uncancel(own, me)
            del me
        return True


def _owners_of(app: Application) -> dict[CodeType, str]:
    from oddwire.app.unfinished import owners_of  # seldom needed

    return owners_of(app.plugins)


def _over(task: asyncio.Task[Any], work: Coroutine[Any, Any, Any]) -> None:
    """Keep asyncio from warning of an exception that was reported, or of a coroutine that never started."""
    work.close()
    if not task.cancelled():
        task.exception()


def _has_ended(own: OwnTasks) -> bool:
    """Return whether jobs are over: a function, as it changes while they run."""
    return own.jobs_ended


async def _uncancel(own: OwnTasks, task: asyncio.Task[Any]) -> None:
    """Undo a cancellation of the current task by the author's code, or another's: it must not cancel later runs."""
    while task.cancelling():
        task.uncancel()
    try:
        await asyncio.sleep(0)  # before Python 3.13 one that nobody has awaited comes out here all the same
    except asyncio.CancelledError:
        if own.jobs_ended:
            raise
