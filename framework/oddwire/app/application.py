"""`Application`: assembles extensions and a transport, and runs them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cached_property
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from oddwire import clocks
from oddwire.app.application_arguments import check_arguments, check_provide, make_transport
from oddwire.app.context import STARTING, AppContext, HostNode, Peer
from oddwire.app.dispatch.resources import Resources
from oddwire.app.extension import Extension
from oddwire.app.plugins.loaded_plugins import LoadedPlugins
from oddwire.app.plugins.manager import PluginManager
from oddwire.codecs.registry import Registry
from oddwire.errors import ExtensionError, LocalProtocolError, OddwireError
from oddwire.exit_exceptions import must_pass, spelled
from oddwire.log_limits import get_logger
from oddwire.printable import printable
from oddwire.proto.addresses import NodeUri
from oddwire.proto.keys import NodeId
from oddwire.transports.base import Manifest, Transport
from oddwire.transports.host import HostTransport

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from oddwire.app.context import Messenger
    from oddwire.app.declarations.rpc import RpcMethod
    from oddwire.app.dispatch.background import Background
    from oddwire.app.dispatch.cluster_jobs import ClusterJobs
    from oddwire.app.dispatch.dispatcher import Dispatcher
    from oddwire.app.dispatch.early_messenger import EarlyMessenger
    from oddwire.app.dispatch.end_hooks import EndHooks
    from oddwire.app.dispatch.failures import Failures
    from oddwire.app.insight.frame_log import FrameLog
    from oddwire.app.insight.insight import Insight
    from oddwire.app.insight.metrics import Metrics
    from oddwire.session.limits import Counters, Limits
    from oddwire.session.store.commit_log import RemoteLog
    from oddwire.session.store.extension_store import ExtensionStore

__all__ = ["Application", "reason_of"]

logger = get_logger("oddwire.app")
_frames = get_logger("oddwire.session.frames")

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LONGEST: Final = 1e8  # seconds, three years: within the timers of all event loops
_SAME: Final = 0.05  # seconds within which a second signal is of the same Ctrl-C


class _State(Enum):
    BUILT = "is not started"
    STARTING = "is starting"
    RUNNING = "is running"
    CLOSING = "is closing"
    CLOSED = "is closed"


_NOT_STARTED: Final = "the application is not started: 'async with app:' or 'await app.start()' starts it"


class Application:
    """Runs extensions over one transport.

    ``extensions`` are `Extension` objects, other plugins, or texts: names of installed extensions and paths of ``.py``
    files. ``transport`` is an unopened `Transport`, or the name of a registered or installed one, created with
    ``transport_options``. ``options`` are values of the extensions' options by name. ``plugins`` is a `PluginManager`,
    which may have plugins already. ``store`` is the path of the database for reliable messages and the extensions'
    stores, for this application alone, or ``":memory:"``; or a store whose commits are in a log elsewhere. ``limits``
    are the resources that each peer may use. Without ``session`` nothing of the session layer is sent to peers: only
    plain messages work. ``grace`` is the time in seconds that handlers have to finish when the application closes.
    ``assembly`` replaces ``extensions``, ``options``, ``plugins``, ``provide`` and ``session``, if they were assembled
    before. ``program`` is the number, u64, by which peers recognize this program after a restart; no other program of
    the node may have it. None is a random number. ``provide`` are values by type, passed to every function with a
    parameter of that type, instead of the provider's value: fakes, for tests. With ``metrics`` messages and handlers
    are counted from the start on; see `metrics`.

    Everything is checked here, before anything runs: raises the `DefinitionError` that names both sides. An application
    starts once, with ``async with app:`` or `start` and `aclose`.
    """

    def __init__(
        self,
        *extensions: object,
        transport: Transport | str,
        transport_options: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        plugins: PluginManager | None = None,
        store: str | PathLike[str] | RemoteLog | None = None,
        limits: Limits | None = None,
        session: bool = True,
        grace: float = 5.0,
        assembly: LoadedPlugins | None = None,
        program: int | None = None,
        provide: Mapping[Any, Any] | None = None,
        metrics: bool = False,
    ) -> None:
        check_arguments(
            transport, transport_options, options, plugins, store, limits, session, grace, assembly, program, metrics
        )
        check_provide(provide)
        if assembly is not None:
            if extensions or options or provide or plugins is not None:
                text = "an assembly already has extensions, plugins, options and providers; give none beside it"
                raise ExtensionError(text)
            self.plugins = assembly.plugins
        else:
            self.plugins = plugins if plugins is not None else PluginManager()
            for extension in extensions:
                self.plugins.add(extension)
        if isinstance(transport, str):
            transport = make_transport(self.plugins, transport, transport_options or {})
        elif transport_options is not None:
            raise ExtensionError("transport_options are for a transport given by name")
        self.transport: Transport = transport
        for contribution in self.plugins.contributions:
            get_logger(f"oddwire.extension.{contribution.name}")  # limits this logger, however the extension obtains it
        if assembly is None:
            assembly = LoadedPlugins(self.plugins, options, session, provide)
        self._assembly = assembly
        self._tables = assembly.tables
        self._methods = assembly.methods
        self._methods.app = self
        self._options = assembly.options
        self._manifest = assembly.manifest
        self._limits = limits
        self._counts = metrics
        self._has_session = assembly.session
        self.program = int.from_bytes(os.urandom(8), "big") if program is None else program
        self.resources = Resources(self._tables, transport, store, limits, assembly.session)
        self._node = HostNode(transport)
        self._grace = min(grace, _LONGEST)
        self._state = _State.BUILT
        self._started_at = 0.0
        self._dispatcher: Dispatcher | None = None
        self._early: EarlyMessenger | None = None
        self._background: Background | None = None
        self._failures: Failures | None = None
        self._end_hooks: EndHooks | None = None
        self._started: set[str] = set()
        self._ready: set[str] = set()
        self._starter: asyncio.Task[Any] | None = None  # runs hooks of the start
        self._closing: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()
        self._failed = False  # to start
        self.host_stopped: str | None = None
        """Why the host node had the application stop, in words; None if it did not."""
        self.on_refusal: Callable[[BaseException], object] = lambda _: None
        """Called with the error of a failed start, before the host node is notified: that may end the process."""
        self.cluster_jobs: ClusterJobs | None = None
        """Who sees to it that jobs of scope ``"cluster"`` run once; set before the start by a cluster's worker."""

    # Running ----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Get the options from the host node, if any; run the startup hooks; open the transport; run the ready hooks.

        Raises `ExtensionError` for an option's value, a hook's exception (`ExtensionError` for one that only the event
        loop or a signal should raise), or the transport's `TransportError`. Cancelled or failed, everything that was
        started is shut down again, the host node is notified, and the application is closed.
        """
        if self._state is not _State.BUILT:
            raise LocalProtocolError(f"an application starts once; this one {self._state.value}: make another one")
        self._assembly.hold()
        self._state, self._started_at = _State.STARTING, clocks.monotonic()
        calls = self.plugins.calls
        silent = {call.plugin for call in calls("shutdown")} - {call.plugin for call in calls("startup")}
        opening, me = False, asyncio.current_task()
        self._starter = me
        try:
            from oddwire.app.dispatch.background import Background
            from oddwire.app.dispatch.end_hooks import EndHooks
            from oddwire.app.dispatch.failures import Failures

            self._failures = Failures(self, calls("handler_failed"))
            hooks = self._end_hooks = EndHooks(self, self._failures)
            self._background = Background(self, self.plugins.contributions, self._failures, self._grace, hooks.cut_off)
            host = self.transport if isinstance(self.transport, HostTransport) else None
            self._options.read({} if host is None else await host.configure(self._manifest))
            self._background.check(self._options)
            self._background.watch_loop()
            access = await self.resources.prepare()
            await self.resources.make_things(self)
            self._started |= silent
            for call in calls("startup"):
                await call.finish(app=self)
                self._started.add(call.plugin)
                if self._state is not _State.STARTING:
                    raise LocalProtocolError("the application was closed while it started")
            from oddwire.app.dispatch.core import Core  # imported late: the host has the manifest sooner
            from oddwire.app.dispatch.dispatcher import Dispatcher

            frame_log: FrameLog | None = None
            if self._has_session and _frames.isEnabledFor(logging.DEBUG):
                from oddwire.app.insight.frame_log import FrameLog  # imported late: for who debugs

                frame_log = FrameLog(self.transport, self._tables.registry.title_of)
            core = Core(
                self,
                self._tables,
                self.transport,
                self.resources,
                self._failures,
                self._background,
                access=access,
                on_loss=calls("delivery_failed"),
                tracers=calls("message_traced"),
                limits=self._limits,
            )
            self._dispatcher = Dispatcher(
                core,
                on_connect=calls("peer_connected"),
                on_disconnect=calls("peer_disconnected"),
                session=self._has_session,
            )
            if self._counts:
                core.count_messages()
            if self._early is not None:
                self._early.messenger = self._dispatcher.messenger
            self.resources.start(self._dispatcher.use_delivery, core)
            opening = True
            sink = self._dispatcher.metered(self._limits)
            await self.transport.open(self._manifest, sink if frame_log is None else frame_log.around(sink))
            await self._get_ready(self._background)
            if self._state is _State.STARTING:
                self._state = _State.RUNNING
            self._starter = None
        except BaseException as error:
            self._failed, self._starter = True, None
            strange = ExtensionError(f"an extension raised {spelled(error)}") if _is_of_a_hook(error, me) else None
            del me
            if not opening:
                self.on_refusal(strange or error)
                if isinstance(self.transport, HostTransport):
                    self.transport.refuse(reason_of(strange or error))
            if self._closing is None:
                self._closing = asyncio.create_task(self._close(grace=0.0))
            try:
                await self._closed(self._closing)
            except Exception as failure:  # the caller has to know why it did not start
                logger.warning("errors while closing what had started: %s", spelled(failure))
            if strange is not None:
                raise strange from error
            raise

    async def _get_ready(self, background: Background) -> None:
        """Run the plugins' ready hooks, after the transport has opened, and start each plugin's jobs after its hook."""
        calls = self.plugins.calls("ready")
        silent = {call.plugin for call in self.plugins.calls("stopping")} - {call.plugin for call in calls}
        self._ready |= silent
        waiting = {call.plugin for call in calls}
        for owner in self.plugins.contributions:
            if owner.name not in waiting:
                background.begin(owner.name)
        for call in calls:
            await call.finish(app=self)
            if self._state is not _State.STARTING:
                raise LocalProtocolError(f"the application {self._state.value}: it was closed while it started")
            self._ready.add(call.plugin)
            background.begin(call.plugin)

    async def aclose(self) -> None:
        """Run stopping hooks, let handlers finish, close the transport, run disconnect hooks, run shutdown hooks.

        Idempotent. Stopping hooks and handlers have ``grace`` seconds together; disconnect hooks have as many again,
        and so have shutdown hooks together with the closing of what is provided. Cancelled, it cancels them all, and
        still cleans up. Raises the first error of a shutdown hook, or of closing, at the end, and `LocalProtocolError`
        if called by code that it would wait for, such as a handler, or by a hook of the start: call `stop` there.
        Called by a hook of the end, which it waits for, it returns at once.
        """
        if self._state is _State.BUILT:
            self._state = _State.CLOSED
            return
        me = asyncio.current_task()
        if self._end_hooks is not None and self._end_hooks.is_running():
            return  # called by a hook of the end, or a task of its own, for which it may wait: closing already
        if self._is_working_on(me):
            raise LocalProtocolError("aclose would wait for the handler that called it: call stop() instead")
        if me is not None and me is self._starter:
            raise LocalProtocolError("aclose would wait for the start that called it: raise, or call stop(), instead")
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(self._grace))
        if self._closing is me:
            return  # called by the transport
        await self._closed(self._closing)

    async def cut_off(self) -> None:
        """End as `aclose` does, but at once: nothing more is stored, handlers are cancelled, without a grace.

        For a program that may not go on, as another has taken its place. A start that is under way has to be cancelled
        instead. Cancelled, it ends all the same. Raises as `aclose` does.
        """
        await self.resources.cut_off()
        if self._closing is None:
            if self._state is _State.BUILT:
                self._state = _State.CLOSED
                return
            self._closing = asyncio.get_running_loop().create_task(self._close(grace=0.0))
        else:
            self._hurry()
        await self._closed(self._closing)

    def _is_working_on(self, task: asyncio.Task[Any] | None) -> bool:
        handled = self._dispatcher is not None and task in self._dispatcher.tasks
        own = self._background is not None and task in self._background.running
        reporting = self._failures is not None and self._failures.is_working_on(task)
        return handled or own or reporting or self._methods.is_working_on(task)

    async def _closed(self, closing: asyncio.Task[None]) -> None:
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            self._hurry()
            await asyncio.wait([closing])
            raise

    def _hurry(self) -> None:
        """Have what the closing waits for end now."""
        if self._dispatcher is not None:
            self._dispatcher.tasks.end_grace()
        if self._failures is not None:
            self._failures.end_grace()
        if self._end_hooks is not None:
            self._end_hooks.cut()

    async def _close(self, grace: float) -> None:
        self._state = _State.CLOSING
        self._stopped.set()
        if "insight" in vars(self):
            self.insight.close()
        loop, background = asyncio.get_running_loop(), self._background
        until = loop.time() + self._grace
        try:
            if self._dispatcher is not None and background is not None and self._end_hooks is not None:
                await self._stop_work(self._end_hooks, background, until)
                left = 0.0 if grace == 0.0 else max(0.0, until - loop.time())
                await self._dispatcher.aclose(left, self._leave, grace)
            else:
                await self._leave()
        finally:
            try:
                if self._failures is not None:
                    await self._failures.aclose(self._grace)
            finally:
                try:
                    if self._end_hooks is not None:
                        await self._shut_down(self._end_hooks, loop.time() + self._grace)
                finally:
                    self._state = _State.CLOSED
                    self._assembly.release()
                    if self._background is not None:
                        self._background.end_watch()
                    await self.resources.aclose()

    async def _abandon(self) -> None:
        """End as the process would, for `oddwire.testing`: no hook is called, no peer told, nothing committed.

        A transport without an ``abort`` is closed as ever. Raises `LocalProtocolError` while the application starts.
        """
        if self._state is _State.STARTING:
            raise LocalProtocolError(f"the application {self._state.value}: await its start first")
        if self._state is not _State.RUNNING or self._dispatcher is None or self._closing is not None:
            await self.aclose()
            return
        self._state = _State.CLOSING
        self._stopped.set()
        if self._failures is not None:
            self._failures.muted = True
        self._dispatcher.remove_peers("the application was killed")
        abort: Callable[[], object] | None = getattr(self.transport, "abort", None)
        if abort is not None:
            abort()
        self._closing = asyncio.get_running_loop().create_task(self._drop(self._dispatcher))
        await self._closed(self._closing)

    async def _drop(self, dispatcher: Dispatcher) -> None:
        """End what runs, once it reaches neither peers nor the store."""
        if not hasattr(self.transport, "abort"):
            await self.transport.aclose()
        await self.resources.abandon()
        await self.transport.aclose()
        await dispatcher.abandon()
        if self._background is not None:
            await self._background.aclose(0.0)
            self._background.end_watch()
        if self._failures is not None:
            await self._failures.aclose(0.0)
        self._state = _State.CLOSED
        self._assembly.release()

    async def _stop_work(self, hooks: EndHooks, background: Background, until: float) -> None:
        """End the jobs of plugins whose ready hooks have run, and run their stopping hooks, last loaded first."""
        stopping = {call.plugin: call for call in self.plugins.calls("stopping")}
        for owner in self.plugins.contributions:
            if isinstance(owner.plugin, Extension) and not owner.plugin.has_hook("stopping"):
                self._ready.discard(owner.name)  # no hook: do not create a task that does nothing
        await background.end_jobs(until)
        for name in reversed(stopping):
            if name in self._ready:
                await hooks.stop(stopping[name], until)
            self._ready.discard(name)

    async def _leave(self) -> None:
        """End the spawned tasks, and close the transport."""
        try:
            if self._background is not None:
                await self._background.aclose(self._grace)
        finally:
            await self.transport.aclose()

    async def _shut_down(self, hooks: EndHooks, until: float) -> None:
        """Run the shutdown hooks of plugins that have started, last loaded first, and close what is provided."""
        calls = [call for call in reversed(self.plugins.calls("shutdown")) if call.plugin in self._started]
        self._started.clear()
        errors = await hooks.finish(calls, self.resources.things_to_close, until)
        try:
            if errors and isinstance(errors[0], Exception):
                raise errors[0]
            if errors:
                raise ExtensionError(f"a shutdown hook raised {spelled(errors[0])}") from errors[0]
        finally:
            errors.clear()  # a stored error refers to this frame

    def _report(self, what: str, context: AppContext, error: BaseException, *, report: bool) -> None:
        if self._failures is not None:
            self._failures.report(what, context, error, report=report)

    async def __aenter__(self) -> Application:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def stop(self) -> None:
        """End `run_until_stopped`. Returns at once, so handlers and signal handlers may call it."""
        self._stopped.set()

    async def run_until_stopped(self, *, signals: bool = True) -> None:
        """Start unless started, run until `stop`, SIGINT or SIGTERM, then close. 50 ms later, signals are not caught.

        Stopped while it starts, the start is cancelled. Without ``signals`` no signal handlers are installed. Raises
        `LocalProtocolError` if the application is closed, and in a handler, which it would wait for.
        """
        if self._state is _State.CLOSED:
            raise LocalProtocolError(f"an application starts once; this one {self._state.value}")
        if self._is_working_on(asyncio.current_task()):
            raise LocalProtocolError("run_until_stopped would wait for the handler that called it, and it runs already")
        loop = asyncio.get_running_loop()
        caught: list[signal.Signals] = []

        def signalled() -> None:
            loop.call_later(_SAME, release)
            self.stop()

        def release() -> None:
            while caught:
                loop.remove_signal_handler(caught.pop())

        for number in _SIGNALS if signals else ():
            try:
                loop.add_signal_handler(number, signalled)
            except (NotImplementedError, RuntimeError, ValueError):
                continue  # Windows, or not the main thread: the caller stops us
            caught.append(number)
        try:
            if self._state is _State.BUILT:
                await self._start_unless_stopped()
            await self._stopped.wait()
        finally:
            release()
            await self.aclose()

    async def _start_unless_stopped(self) -> None:
        starting = asyncio.create_task(self.start())
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
            was_stopped = not starting.done() and not self._failed
            if was_stopped:
                starting.cancel("the application was stopped")
            await asyncio.wait([starting])
        except asyncio.CancelledError:
            starting.cancel()
            await asyncio.wait([starting])
            raise
        finally:
            stopped.cancel()
        if not (was_stopped and starting.cancelled()):
            starting.result()

    # Peers and the rest of the world ----------------------------------------------------------------

    def context(self, extension: Extension | str) -> AppContext:
        """Return a context without a peer, for an extension's code outside of handlers: its store, logger, options.

        Raises `ExtensionError` for an extension that is not loaded.
        """
        return AppContext(self, self._tables.owner_of(extension).name)

    def _spawn(self, context: AppContext, work: Coroutine[Any, Any, T], name: str | None) -> asyncio.Task[T]:
        if self._background is None or self._state is _State.CLOSED:
            if asyncio.iscoroutine(work):
                work.close()
            raise LocalProtocolError(_NOT_STARTED if self._background is None else "the application is closed")
        return self._background.spawn(context, work, name)

    def peer(self, node_id: NodeId | bytes | str) -> Peer:
        """Return the handle of a node, connected or not. Raises `ValueError` for an invalid node id.

        While the application starts, in ``on_startup``, only what concerns the store works: `Peer.deliver`,
        `Peer.send` with ``again``, `Peer.settle` and `Peer.pending`. Raises `LocalProtocolError`
        before that. That of our own node refuses whatever it is asked for.
        """
        node_id = NodeId(node_id)
        starting = self._dispatcher is None and self._state is _State.STARTING
        messenger: Messenger | None = None if starting else self._running().messenger
        if node_id == self.transport.node_id:
            from oddwire.app.dispatch.own_node import own_peer  # a mistake

            return own_peer(self._tables, node_id)
        if messenger is None:
            if self._early is None:
                from oddwire.app.dispatch.early_messenger import EarlyMessenger  # few deliver that early

                self._early = EarlyMessenger(self.resources, self._tables)
            messenger = self._early
        return Peer(messenger, node_id)

    @property
    def peers(self) -> list[Peer]:
        """The peers connected now, in the order in which they connected.

        Raises `LocalProtocolError` before the application has opened its transport.
        """
        return self._running().peers()

    async def connect(self, uri: str) -> Peer:
        """Connect to the node of a URI, in the transport's own form, and return its handle.

        Raises `TransportError` if the transport does not dial, the errors of the transport's own ``connect``, and
        `LocalProtocolError` before the application has opened the transport, or while it closes. Raises `TypeError` for
        a ``uri`` that is no text. Cancelling it gives up the dial; a connection that is there already stays.
        """
        self._running()
        if self._state in (_State.CLOSING, _State.CLOSED):
            raise LocalProtocolError(f"the application {self._state.value}: it does not connect any more")
        if not isinstance(uri, (str, NodeUri)):
            raise TypeError(f"connect should be given a URI, node_id@host:port, not {uri!r:.200}")
        return self.peer((await self.transport.connect(uri)).node_id)

    async def disconnect(self, node_id: NodeId | bytes | str, reason: str = "") -> None:
        """Disconnect a peer, where the transport can; without a connection to it, do nothing.

        ``reason`` says why, for the log and for hooks. Raises as the transport's own ``disconnect`` does, `ValueError`
        for what is no node id, and `LocalProtocolError` before the transport opens.
        """
        self._running()
        await self.transport.disconnect(NodeId(node_id), reason)

    async def call(self, method: str, /, *arguments: Any, **parameters: Any) -> Any:
        """Call an extension's RPC method, with parameters converted as those of the host node are; return its result.

        Raises `ExtensionError` for an unknown method, `NodeRefused` (code -32602) for parameters that do not fit, the
        method's own exceptions, and `LocalProtocolError` before the transport opens and once the application is closed.
        Cancelling it cancels the method.
        """
        self._running()
        if self._state is _State.CLOSED:
            raise LocalProtocolError("the application is closed")
        return await self._methods.call(method, arguments, parameters)

    @property
    def rpc_methods(self) -> Mapping[str, RpcMethod]:
        """The extensions' RPC methods by name, as their callers see them: without the parameters that are provided."""
        return self._methods.table

    @property
    def node(self) -> HostNode:
        """The node the application runs inside; its calls raise `TransportError` if there is none."""
        return self._node

    @property
    def options(self) -> Mapping[str, Any]:
        """The values of the extensions' options by name, available from the start on, before the startup hooks run.

        A dynamic option has a new value as soon as it is set. Raises `LocalProtocolError` before the start.
        """
        return self._options

    def store(self, extension: str) -> ExtensionStore:
        """Return an extension's own store, as `Context.store` does. Raises `LocalProtocolError` without a store."""
        return self.resources.store(extension)

    @property
    def counters(self) -> Counters:
        """How often limits were enforced: the application's, and those of all extensions, added up."""
        return self._running().counters()

    def counters_of(self, extension: Extension | str) -> Counters:
        """Return how often an extension's own limits were enforced. Raises `ExtensionError` if it is not loaded."""
        return self._running().counters(self._tables.owner_of(extension).name)

    def metrics(self) -> Metrics:
        """Return a snapshot of what the application holds and has counted; docs/insight.md describes it.

        Messages and handlers are counted with ``Application(metrics=True)``, or once somebody has asked for
        ``oddwire-stats``; till then these rows are empty. Raises `LocalProtocolError` before the transport opens.
        """
        return self.insight.metrics()

    @cached_property
    def insight(self) -> Insight:
        """Who asks for the application's metrics and events while it runs."""
        from oddwire.app.insight.insight import Insight  # few ask

        return Insight(self, lambda: self._started_at)

    @property
    def node_id(self) -> NodeId | None:
        """Our own node id, once the transport is open; None if the transport has none."""
        return self.transport.node_id

    @property
    def uris(self) -> tuple[str, ...]:
        """The URIs at which peers can connect to us, in the transport's own form."""
        return tuple(self.transport.uris)

    @property
    def registry(self) -> Registry:
        """The registry of all message classes of the application, frozen."""
        return self._tables.registry

    @property
    def manifest(self) -> Manifest:
        """The description of the application for its transport: message types, features, RPC methods, options."""
        return self._manifest

    def _running(self) -> Dispatcher:
        if self._dispatcher is None:
            reasons = {_State.BUILT: _NOT_STARTED, _State.STARTING: STARTING}
            raise LocalProtocolError(reasons.get(self._state, f"the application {self._state.value}"))
        return self._dispatcher


def reason_of(error: BaseException) -> str:
    """Return in one line why an application cannot start."""
    if isinstance(error, asyncio.CancelledError):
        return "stopped before it had started"
    return printable(str(error) if isinstance(error, OddwireError) else spelled(error))


def _is_of_a_hook(error: BaseException, task: asyncio.Task[Any] | None) -> bool:
    """Return whether a hook has raised an exception that only the event loop, or a signal, should raise."""
    return isinstance(error, asyncio.CancelledError | GeneratorExit | KeyboardInterrupt) and not must_pass(error, task)
